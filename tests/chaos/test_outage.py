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
    """Without keys and the database: one policy starts, and then answers alone."""
    gone = (*KEYS, "mongo")
    await asyncio.gather(*(up.servers[name].kill() for name in gone))
    over = time.monotonic() + OUTAGE_S
    first, *others = POLICIES
    await up.servers[first].terminate()
    began = time.monotonic()
    await up.servers[first].start()

    async def is_ready():
        return await up.get(up.internal(first) + "/readyz") == 200

    await until(is_ready, "a policy that started without them", 30)
    ready_s = time.monotonic() - began
    await asyncio.gather(*(up.servers[name].terminate() for name in others))
    refused = await up.call("/key/block", {"key": key})
    assert refused.status == 503
    assert refused.body["error"]["message"]
    await asyncio.sleep(max(0.0, over - time.monotonic()))
    await up.servers["mongo"].start()
    await asyncio.gather(*(up.servers[name].start() for name in (*KEYS, *others)))
    await until(up.ready, "everything", 60)
    return ready_s


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
