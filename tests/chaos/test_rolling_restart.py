"""Two replicas of every service are restarted under load, one by one, and nobody notices."""

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.chaos.cluster import GATEWAYS, KEYS, MASTER_KEY, POLICIES, bearer, cluster
from tests.chaos.links import Balancer
from tests.parts import free_port, until

RATE = int(os.environ.get("GRANTGATE_TEST_RATE", "120"))
STREAMS = int(os.environ.get("GRANTGATE_TEST_STREAMS", "30"))
STREAM_S = 3.0
CLIENTS = 40


@dataclass
class Tally:
    """What the clients saw."""

    served: int = 0
    again: int = 0
    failed: list = field(default_factory=list)
    streams: int = 0
    cut: list = field(default_factory=list)
    changes: list = field(default_factory=list)
    slowest_s: float = 0.0


class Load:
    """Clients of one address: requests at a rate, streams one after another, and writes."""

    def __init__(self, url, key, tally):
        self.url = url
        self.key = key
        self.tally = tally
        self.stop = asyncio.Event()
        self.session = None

    async def run(self, until_done):
        connector = aiohttp.TCPConnector(limit=CLIENTS + STREAMS + 8)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self.session:
            tasks = [asyncio.ensure_future(self._requests(RATE / 10)) for _ in range(10)]
            tasks += [asyncio.ensure_future(self._streams()) for _ in range(STREAMS)]
            tasks += [asyncio.ensure_future(self._writes())]
            try:
                await until_done()
            finally:
                self.stop.set()
                await asyncio.gather(*tasks)

    async def _requests(self, rate):
        while not self.stop.is_set():
            next_at = time.monotonic() + 1 / rate
            began = time.monotonic()
            try:
                await self._once()
            except (aiohttp.ClientError, TimeoutError) as error:
                self.tally.failed.append(repr(error))
            self.tally.slowest_s = max(self.tally.slowest_s, time.monotonic() - began)
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def _post(self, path, body, key):
        """A call that is made again only where no connection was made, so nothing began."""
        while True:
            try:
                return await self.session.post(self.url + path, json=body, headers=bearer(key))
            except aiohttp.ClientConnectorError:
                self.tally.again += 1
                await asyncio.sleep(0.02)

    async def _once(self):
        body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}
        async with await self._post("/v1/chat/completions", body, self.key) as answer:
            text = await answer.text()
            if answer.status == 200:
                self.tally.served += 1
            else:
                self.tally.failed.append(f"{answer.status} {text[:80]}")

    async def _streams(self):
        said = " ".join(["word"] * int(STREAM_S / 0.25))
        body = {"model": "gpt-4", "stream": True, "messages": [{"role": "user", "content": said}]}
        while not self.stop.is_set():
            try:
                async with await self._post("/v1/chat/completions", body, self.key) as answer:
                    text = await answer.text()
                    if not text.endswith("data: [DONE]\n\n"):
                        self.tally.cut.append(f"{answer.status} {text[-120:]}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self.tally.cut.append(repr(error))
            self.tally.streams += 1

    async def _writes(self):
        while not self.stop.is_set():
            try:
                async with await self._post("/key/generate", {}, MASTER_KEY) as answer:
                    body = await answer.json()
                    self.tally.changes.append((answer.status, body.get("key")))
            except (aiohttp.ClientError, TimeoutError) as error:
                self.tally.changes.append((repr(error), None))
            await asyncio.sleep(0.05)


async def restart_all(up):
    for name in (*POLICIES[:2], *KEYS, *GATEWAYS):
        server = up.servers[name]
        server.process.terminate()
        async with asyncio.timeout(40):
            assert await server.process.wait() == 0, f"{name} ended badly"
        await server.start()
        await until(up.ready, f"all to be ready after the restart of {name}", 30)


@pytest.mark.timeout(150)
async def test_a_rolling_restart_under_load_loses_nothing(tmp_path, record_property):
    shared = free_port()
    settings = {"GRANTGATE_DRAIN_S": "30"}
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
