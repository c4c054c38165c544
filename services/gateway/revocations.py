"""Ends streams whose caller may not have them any more: best effort, within about a second.

Every stream's question is asked again while it runs, of the same decision function that let it
in; so a key blocked, deleted, expired or moved, a team blocked and a list narrowed all end it.
Policy's reports of what it has applied say when. They are hints: what they lack, a look now and
then finds, and not knowing ends nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from prometheus_client import Counter, Gauge

from services.gateway.admission import Caller
from services.gateway.errors import PolicyUnavailable
from shared.changes import Unreadable
from shared.decisions import MAX_BATCH, Allow, Deny
from shared.replication import decode_member

log = structlog.get_logger()

RECHECK_S = 2.0
"""How often it is looked whether anything has changed when no report says so."""

_PAUSE_S = 0.02
"""At least between two looks, and as long as the last one took: changes come in crowds."""

_UNCHANGED_S = 5.0
"""When a stream is asked about although nothing has changed: a key may have expired."""

ENDED = Counter("grantgate_gateway_streams_revoked", "Streams ended by a revocation", ["reason"])
IN_FLIGHT = Gauge("grantgate_gateway_streams_in_flight", "Streams being passed on")

Ask = Callable[[Caller, str, str], Awaitable[Allow | Deny]]
_Asked = tuple[bytes, str, str]


class Stream:
    """One stream in flight. `denied` is why it was ended, None while it was not."""

    __slots__ = ("asked", "checked_at", "close", "denied", "revision")

    def __init__(
        self, asked: _Asked, revision: int, now: float, close: Callable[[], object]
    ) -> None:
        """Allowed as of `revision`, at `now`; `close` makes its reader notice."""
        self.asked = asked
        self.revision = revision
        self.checked_at = now
        self.close = close
        self.denied: Deny | None = None


class Revocations:
    """The streams in flight, and the one task that asks about them."""

    def __init__(
        self,
        ask: Ask,
        revision: Callable[[], Awaitable[int]],
        *,
        clock: Callable[[], float],
        recheck_s: float = RECHECK_S,
    ) -> None:
        """`ask` decides anew, `revision` says what policy is as of; both raise PolicyUnavailable.

        `clock` is a monotonic one, in seconds.
        """
        self._ask = ask
        self._revision = revision
        self._clock = clock
        self._recheck_s = recheck_s
        self._streams: set[Stream] = set()
        self._reported = 0
        self._news = asyncio.Event()

    def heard(self, _: str, __: str, data: bytes | None) -> None:
        """Take a replica's report of what it has applied; each that arrives is worth a look.

        The first may come before the replica that is asked has applied it too; the last does not.
        """
        try:
            revision = decode_member(data or b"").rev
        except Unreadable:
            return
        self._reported = max(self._reported, revision)
        if self._streams:
            self._news.set()

    @contextmanager
    def watched(
        self, caller: Caller, model: str, route: str, revision: int, close: Callable[[], object]
    ) -> Iterator[Stream]:
        """Have the stream passed on within the block ended by `close` once it is denied."""
        stream = Stream((caller.key, model, route), revision, self._clock(), close)
        self._streams.add(stream)
        IN_FLIGHT.set(len(self._streams))
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            IN_FLIGHT.set(len(self._streams))

    async def run(self) -> None:
        """Ask again and again until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._recheck_s):
                    await self._news.wait()
            except TimeoutError:
                if not self._streams:
                    continue
                with suppress(PolicyUnavailable):
                    await self._look(await self._revision())
                continue
            self._news.clear()
            began = self._clock()
            await self._look(self._reported)
            await asyncio.sleep(max(_PAUSE_S, self._clock() - began))

    async def _look(self, revision: int) -> None:
        """Ask about the streams that `revision` may have changed, or that ran long enough."""
        now = self._clock()
        due: dict[_Asked, list[Stream]] = {}
        for stream in self._streams:
            if stream.revision < revision or now - stream.checked_at >= _UNCHANGED_S:
                due.setdefault(stream.asked, []).append(stream)
        questions = list(due.items())
        for start in range(0, len(questions), MAX_BATCH):
            part = questions[start : start + MAX_BATCH]
            await asyncio.gather(*(self._recheck(asked, on) for asked, on in part))

    async def _recheck(self, asked: _Asked, streams: list[Stream]) -> None:
        key, model, route = asked
        try:
            answer = await self._ask(Caller(key, 0), model, route)
        except PolicyUnavailable:
            return
        for stream in streams:
            stream.revision = max(stream.revision, answer.revision)
            stream.checked_at = self._clock()
            if isinstance(answer, Deny) and stream in self._streams:
                self._streams.discard(stream)
                stream.denied = answer
                ENDED.labels(answer.reason.value).inc()
                stream.close()
