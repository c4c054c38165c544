"""Clients that go on while parts are stopped, and a tally of what they saw."""

import asyncio
import os
import time
from dataclasses import dataclass, field

import aiohttp

from tests.chaos.cluster import MASTER_KEY, bearer

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
    """Clients of one address: requests at a rate, streams one after another, writes if asked."""

    def __init__(self, url, key, tally, *, writes=True):
        self.url = url
        self.key = key
        self.tally = tally
        self.writes = writes
        self.stop = asyncio.Event()
        self.session = None

    async def run(self, until_done):
        connector = aiohttp.TCPConnector(limit=CLIENTS + STREAMS + 8)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self.session:
            tasks = [asyncio.ensure_future(self._requests(RATE / 10)) for _ in range(10)]
            tasks += [asyncio.ensure_future(self._streams()) for _ in range(STREAMS)]
            tasks += [asyncio.ensure_future(self._writes())] if self.writes else []
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
