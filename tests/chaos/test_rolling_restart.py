"""Every replica of every service is restarted under load, one by one, and nobody notices."""

import asyncio
import os
import signal
import sys
import time

import pytest

from tests.chaos.cluster import GATEWAYS, KEYS, POLICIES, cluster
from tests.chaos.links import Balancer
from tests.chaos.load import Load, Tally
from tests.parts import free_port, until, workers

WORKERS = int(os.environ.get("GRANTGATE_TEST_WORKERS", "1"))


async def replace_workers(up, name):
    """Have the workers of a policy or gateway replaced, which stays."""
    server = up.servers[name]
    before = set(workers(server).values())

    def is_replaced():
        now = workers(server).values()
        return len(now) == WORKERS and before.isdisjoint(now)

    server.signal(signal.SIGUSR2)
    await until(is_replaced, f"the workers of {name} to be replaced", 60)


async def restart_all(up):
    for name in (*POLICIES, *KEYS, *GATEWAYS):
        server = up.servers[name]
        if WORKERS > 1 and name not in KEYS:
            await replace_workers(up, name)
            continue
        server.process.terminate()
        async with asyncio.timeout(40):
            assert await server.process.wait() == 0, f"{name} ended badly"
        await server.start()
        await until(up.ready, f"all to be ready after the restart of {name}", 30)


@pytest.mark.timeout(150)
async def test_a_rolling_restart_under_load_loses_nothing(tmp_path, record_property):
    shared = free_port()
    settings = {"GRANTGATE_DRAIN_S": "30", "GRANTGATE_WORKERS": str(WORKERS)}
    async with cluster(tmp_path, settings=settings, gateway_port=shared) as up:
        balancer = Balancer(up.keys_port, [up.ports[name] for name in KEYS])
        async with balancer.running():
            made = await up.call("/key/generate", {"models": ["gpt-4"]})
            tally = Tally()
            load = Load(f"http://127.0.0.1:{shared}", made.body["key"], tally)
            began = time.monotonic()
            await load.run(lambda: restart_all(up))
            took = time.monotonic() - began
            lost = [
                key for status, key in tally.changes if status == 200 and await is_lost(up, key)
            ]
    unwritten = [status for status, _ in tally.changes if status not in (200, 202)]
    figures = (
        f"{tally.served} requests ({tally.served / took:.0f}/s), {tally.again} connected again, "
        f"slowest {tally.slowest_s:.2f} s, {tally.streams} streams, {len(tally.changes)} writes, "
        f"{len(unwritten)} of them not done {unwritten[:3]}, in {took:.0f} s"
    )
    record_property("figures", figures)
    sys.stderr.write(figures + "\n")
    assert tally.failed == []
    assert tally.cut == []
    assert lost == []
    assert unwritten == []


async def is_lost(up, key):
    return (await up.call("/key/info", {"key": key}, method="GET")).status != 200
