"""The log's home as simulated: what services.keys.store promises, with lost and late answers."""

import asyncio
from collections.abc import Callable
from typing import Any

from services.keys.errors import Unavailable
from services.keys.log import Entry, read_entry
from services.keys.records import KeyRecord
from services.keys.store import Taken
from shared.changes import GENESIS
from tests.sim.clockwork import Process, World

_TIMEOUT_S = 2.0


class Disk:
    """The log itself, and what is true as of each of its revisions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.entries: list[Entry] = []
        self.allowed: list[dict[bytes, bool]] = [{}]
        """For each revision from 0: which keys exist, and whether they may pass."""
        self.requests: dict[int, str] = {}
        self.had_stream = False

    @property
    def head(self) -> int:
        return len(self.entries)

    def chain(self, rev: int) -> bytes:
        return self.entries[rev - 1].chain if rev else GENESIS

    def append(self, entry: Entry) -> bool:
        """False when the revision is taken."""
        if entry.rev <= self.head:
            return False
        if entry.rev != self.head + 1:
            self.world.fail(f"revision {entry.rev} was written after {self.head}")
            return False
        writes, origin = read_entry(entry, self.chain(self.head))
        now = dict(self.allowed[-1])
        for write in writes:
            if isinstance(write, KeyRecord):
                now[write.grant.id] = not write.grant.blocked
            else:
                now.pop(write.id, None)
        self.entries.append(entry)
        self.allowed.append(now)
        self.requests[entry.rev] = origin.request_id
        self.world.say("log", "holds", entry.rev, origin.request_id)
        return True


class LogStore:
    """One process's way to the log."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._world = disk.world
        self.loses_answers = 0.0
        """The chance that an operation is carried out, and its caller never hears of it."""
        self.loses_requests = 0.0
        self.late = 0.0
        """The chance that an operation is carried out after its caller has given up."""

    async def claim_first(self) -> bool:
        is_first, self._disk.had_stream = not self._disk.had_stream, True
        return is_first

    async def append(self, entry: Entry, described: dict[str, object]) -> None:
        del described
        if not await self._ask(lambda: self._disk.append(entry)):
            raise Taken

    async def after(self, rev: int, limit: int = 1000) -> list[Entry]:
        return await self._ask(lambda: self._disk.entries[rev : rev + limit])

    async def _ask(self, operation: Callable[[], Any]) -> Any:
        rng = self._world.rng
        future = self._process.loop.create_future()
        loses_answer = rng.random() < self.loses_answers
        delay = rng.random() * 0.003
        if rng.random() < self.late:
            delay = rng.uniform(_TIMEOUT_S, 3 * _TIMEOUT_S)

        def answer(found: Any) -> None:
            if not future.done():
                future.set_result(found)

        def carry_out() -> None:
            found = operation()
            if not loses_answer and not self._process.is_dead:
                self._world.after(rng.random() * 0.002, self._process.loop.call_soon, answer, found)

        if not self._process.is_dead and rng.random() >= self.loses_requests:
            self._world.after(delay, carry_out)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise Unavailable from None
