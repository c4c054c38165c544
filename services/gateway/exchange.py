"""One request's way out and back: its answer as it arrives, and the time it may take.

A piece of an answer's body goes to its sink within the call that brought it, and costs no task its
turn; only a sink that is full, and the end, wake who waits.
"""

import asyncio
from typing import Protocol

from services.gateway.answer import Answer, Broken, Sink
from services.gateway.answer_reader import AnswerReader

_HIGH = 32 * 1024
"""Bytes of body nobody has taken yet above which the upstream is not read any further."""


class Carrier(Protocol):
    """The connection that an exchange is on."""

    def pause(self) -> None:
        """Read no further for now."""
        ...

    def read_on(self) -> None:
        """Read again."""
        ...

    def discard(self) -> None:
        """End at once."""
        ...

    def release(self, exchange: "Exchange", *, keeps_alive: bool) -> None:
        """Have no more to do with an exchange; `keeps_alive` as its answer said."""
        ...


class Exchange:
    """One request and its answer. `head` is done once `answer` can be had, or never can.

    `is_open` while the answer has not come to its end; `is_sent`: all of the request is written.
    """

    __slots__ = (
        "_carrier",
        "_deadline",
        "_failure",
        "_idle_s",
        "_loop",
        "_reader",
        "_sink",
        "_timer",
        "_waiter",
        "_waiting_since",
        "head",
        "is_open",
        "is_sent",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        carrier: Carrier,
        *,
        first_byte_s: float,
        idle_s: float,
        total_s: float | None,
    ) -> None:
        """Begin to count the time."""
        self._loop = loop
        self._carrier = carrier
        self._reader = AnswerReader()
        self._idle_s = idle_s
        self._failure: Broken | TimeoutError | None = None
        self._sink: Sink | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = loop.call_later(first_byte_s, self._late)
        self._deadline: asyncio.TimerHandle | None = None
        if total_s is not None:
            self._deadline = loop.call_later(total_s, self._late_in_all)
        self.head: asyncio.Future[None] = loop.create_future()
        self.is_open = True
        self.is_sent = False

    @property
    def has_arrived(self) -> bool:
        """Whether the answer is complete, read or not."""
        return not self.is_open

    # The connection's side.

    def received(self, data: memoryview) -> None:
        """Read on; `data` is not kept."""
        reader = self._reader
        reader.feed(data)
        if reader.problem:
            self.fail(Broken(reader.problem))
        elif self._sink is not None and not reader.is_complete:
            self._pass_on(self._sink)
        elif reader.has_head:
            self._progress()

    def _pass_on(self, sink: Sink) -> None:
        """Give a sink that waits for it what has come of the body."""
        reader = self._reader
        if not reader.chunks:
            return
        self._waiting_since = self._loop.time()
        if not sink.write(reader.take()):
            self._sink = None
            self._carrier.pause()
            self._wake()

    def _progress(self) -> None:
        """Tell who waits what has come: the head, more of the body, the end."""
        reader = self._reader
        if not self.head.done():
            self._stop_timer()
            self.head.set_result(None)
        if reader.is_complete:
            self.is_open = False
            self._stop_timers()
        elif reader.size > _HIGH:
            self._carrier.pause()
        self._wake()

    def ended(self, *, cleanly: bool) -> None:
        """The connection is gone: if `cleanly`, that ends a body which has no other end."""
        if cleanly:
            self._reader.end()
        if self._reader.is_complete:
            self._progress()
        else:
            self.fail(Broken("the connection ended"))

    def fail(self, problem: Broken | TimeoutError) -> None:
        """End with `problem`, and the connection with it."""
        self.abandon(problem)
        if not self.head.done():
            self.head.set_exception(problem)
        self._carrier.discard()

    def abandon(self, problem: Broken | TimeoutError) -> None:
        """Expect nothing more; the first `problem` is the one that is told."""
        self._failure = self._failure or problem
        self._stop_timers()
        self._wake()

    # The side of who reads the answer.

    def answer(self) -> Answer:
        """What came, from its head on. Not kept here: it refers to this exchange."""
        reader = self._reader
        return Answer(self, reader.status, reader.headers, reader.content_length)

    async def chunk(self) -> bytes:
        """What has arrived of the body, in one piece; waits for more. See Answer.chunk."""
        reader = self._reader
        while not reader.chunks:
            if not self.is_open:
                return b""
            await self._news()
        data = reader.take()
        self._carrier.read_on()
        return data

    async def pass_to(self, sink: Sink) -> None:
        """Give `sink` the rest of the body. See Answer.pass_to."""
        reader = self._reader
        try:
            while True:
                if reader.chunks:
                    sink.write(reader.take())
                elif self.is_open:
                    self._sink = sink
                    self._carrier.read_on()
                    await self._news()
                    self._sink = None
                else:
                    return
                await sink.drain()
        finally:
            self._sink = None

    async def _news(self) -> None:
        """Return when more may have come. Raises what ended the exchange, and TimeoutError."""
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        self._waiting_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_s, self._check_idle)
        await self._waiter

    def finish(self) -> None:
        """Give the connection back to its pool, or end it."""
        self._stop_timers()
        self._carrier.release(self, keeps_alive=self._reader.keeps_alive and self.is_sent)

    # Time.

    def _late(self) -> None:
        """No answer began in time."""
        self._timer = None
        if not self.head.done():
            self.head.set_exception(TimeoutError())

    def _late_in_all(self) -> None:
        """The answer did not end in time."""
        self._deadline = None
        self.fail(TimeoutError("the answer took too long in all"))

    def _check_idle(self) -> None:
        """One timer for all waits of an answer: it asks how long the present one has lasted."""
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        left = self._waiting_since + self._idle_s - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_idle)
        else:
            waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_timers(self) -> None:
        self._stop_timer()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
