"""keys and the database are gone for a while, under load, and the data plane does not notice."""

import asyncio
import os
import sys
import time

import pytest

from tests.chaos.cluster import KEYS, POLICIES, cluster
from tests.chaos.links import Balancer
from tests.chaos.load import Load, Tally
from tests.parts import free_port, until

OUTAGE_S = float(os.environ.get("GRANTGATE_TEST_OUTAGE_S", "4"))


async def outage(up, key):
    """Without keys and the database every policy is replaced; for a moment a new one is alone."""
    gone = (*KEYS, "mongo")
    await asyncio.gather(*(up.servers[name].kill() for name in gone))
    over = time.monotonic() + OUTAGE_S
    first, *others = POLICIES
    await up.servers[first].terminate()
    ready_s = await started_and_ready(up, first)
    await asyncio.gather(*(up.servers[name].terminate() for name in others))
    refused = await up.call("/key/block", {"key": key})
    assert refused.status == 503
    assert refused.body["error"]["message"]
    assert (await up.chat(key)).status == 200
    await started_and_ready(up, *others)
    await asyncio.sleep(max(0.0, over - time.monotonic()))
    for name in ("mongo", *KEYS):
        await up.servers[name].start()
    await until(up.ready, "everything", 60)
    return ready_s


async def started_and_ready(up, *policies):
    """Start these; the seconds until they are ready."""
    began = time.monotonic()
    await asyncio.gather(*(up.servers[name].start() for name in policies))

    async def are_ready():
        return all([await up.get(up.internal(name) + "/readyz") == 200 for name in policies])

    await until(are_ready, "policies that started without them", 30)
    return time.monotonic() - began


@pytest.mark.timeout(120 + 2 * OUTAGE_S)
async def test_no_request_fails_while_keys_and_the_database_are_gone(tmp_path, record_property):
    shared = free_port()
    settings = {"GRANTGATE_DRAIN_S": "30"}
    tally, found = Tally(), []
    async with cluster(tmp_path, settings=settings, gateway_port=shared) as up:
        balancer = Balancer(up.keys_port, [up.ports[name] for name in KEYS])
        async with balancer.running():
            made = await up.call("/key/generate", {"models": ["gpt-4"]})
            key = made.body["key"]

            async def through():
                found.append(await outage(up, key))

            began = time.monotonic()
            await Load(up.url, key, tally, writes=False).run(through)
            took = time.monotonic() - began
            blocked = await up.call("/key/block", {"key": key})
            assert blocked.status == 200
            assert (await up.chat(key)).status == 401
    figures = (
        f"{OUTAGE_S:.0f} s without keys and the database: {tally.served} requests "
        f"({tally.served / took:.0f}/s), {tally.streams} streams, slowest {tally.slowest_s:.2f} s, "
        f"{tally.again} connected again; a new policy was ready after {found[0]:.1f} s"
    )
    record_property("figures", figures)
    sys.stderr.write(figures + "\n")
    assert tally.failed == []
    assert tally.cut == []
    assert tally.again == 0
    assert tally.served > OUTAGE_S
