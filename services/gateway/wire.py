"""One HTTP/1.1 connection to an upstream: a request out, an answer in, byte for byte.

A connection goes back to its pool only after an answer that ended as it said it would.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from services.gateway.answer import Answer, Broken
from services.gateway.answer_reader import AnswerReader

READ_AT_ONCE = 32 * 1024
"""Bytes taken from a socket in one go: what a stream may be ahead of what is known of it."""

_HIGH = 32 * 1024
"""Bytes of body waiting for a slow client above which the upstream is not read any further."""


class Connection(asyncio.BufferedProtocol):
    """One connection, for one exchange at a time. Made by `pool`."""

    __slots__ = (
        "_buffer",
        "_deadline",
        "_drained",
        "_failure",
        "_head",
        "_idle_s",
        "_is_open",
        "_loop",
        "_on_idle",
        "_paused",
        "_reader",
        "_request_sent",
        "_timer",
        "_transport",
        "_waiter",
        "_waiting_since",
        "idle_since",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffer: memoryview,
        on_idle: Callable[["Connection", bool], None],
    ) -> None:
        """`on_idle` gets the connection back, and whether it may be used again.

        All connections of a loop may read into one `buffer`: between its being filled and
        `buffer_updated`, which copies what is kept, the loop runs nothing else.
        """
        self._loop = loop
        self._buffer = buffer
        self._on_idle = on_idle
        self._transport: asyncio.Transport | None = None
        self._drained: asyncio.Future[None] | None = None
        self._failure: Broken | TimeoutError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        self._reset(0.0)
        self._is_open = False

    def _reset(self, idle_s: float) -> None:
        """Be ready for an exchange. `_is_open` while its answer has not come to its end."""
        self._reader = AnswerReader()
        self._is_open = True
        self._head: asyncio.Future[Answer] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since = 0.0
        self._idle_s = idle_s
        self._paused = False
        self._request_sent = False

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._failure is None

    @property
    def has_arrived(self) -> bool:
        """Whether the answer is complete, read or not."""
        return not self._is_open

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # Not isinstance: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read on; bytes nobody asked for end the connection."""
        if self._failure is not None:
            return
        if not self._is_open:
            self._fail("bytes outside an answer")
            return
        reader = self._reader
        reader.feed(self._buffer[:nbytes])
        if reader.problem:
            self._fail(reader.problem)
            return
        if reader.has_head:
            self._progress()

    def _progress(self) -> None:
        """Tell who waits what has come: the head, more of the body, the end."""
        reader, head = self._reader, self._head
        if head is not None and not head.done():
            self._stop_timer()
            head.set_result(Answer(self, reader.status, reader.headers, reader.content_length))
            self._wake_sender()
        if reader.is_complete:
            self._is_open = False
            self._stop_timers()
        elif reader.size > _HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The upstream will send no more; close too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits: cleanly only where the end of the connection ends the body."""
        if self._is_open and self._failure is None:  # What we ended is the end of no body.
            if exc is None and not self._was_cut():
                self._reader.end()
            if self._reader.is_complete:
                self._progress()
            else:
                self._fail("the connection ended")
        elif self._failure is None:
            self._failure = Broken("the connection ended")
        self._transport = None
        self._wake_sender()
        self._stop_timers()

    def _was_cut(self) -> bool:
        """Whether TLS ended without its close_notify: anybody on the way may have ended it."""
        transport = self._transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        if tls is None:
            return False
        try:
            return bool(tls.read(1))
        except ssl.SSLZeroReturnError:
            return False
        except (ssl.SSLError, ValueError):
            return True

    def pause_writing(self) -> None:
        """The upstream takes no more for now."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        self._wake_sender()
        self._drained = None

    # The relay's side.

    async def exchange(
        self,
        pieces: Sequence[bytes | memoryview],
        *,
        first_byte_s: float,
        idle_s: float,
        total_s: float | None = None,
    ) -> Answer:
        """Send a request, give its answer's head. Raises Broken, TimeoutError.

        `pieces` are the request's bytes in order. A cancelled caller ends the connection.
        `total_s` is until the last byte has arrived; an answer that takes longer is a timeout.
        """
        transport = self._transport
        if transport is None or not self.is_usable:
            raise Broken("the connection ended", untouched=True)  # noqa: EM101, TRY003
        self._reset(idle_s)
        self._head = self._loop.create_future()
        self._timer = self._loop.call_later(first_byte_s, self._late)
        if total_s is not None:
            self._deadline = self._loop.call_later(total_s, self._late_in_all)
        try:
            if len(pieces) == 1:
                transport.write(pieces[0])
                self._request_sent = True
            else:
                await self._send(pieces)
            return await self._head
        except BaseException:
            if self._head.done() and not self._head.cancelled():
                self._head.exception()  # seen: the caller hears of what came first
            self.discard()
            raise

    async def _send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write piece by piece, no faster than the upstream takes them."""
        for piece in pieces:
            if self._transport is None or self._head is None or self._head.done():
                return  # it answered before it had read everything, or is gone
            self._transport.write(piece)
            if self._drained is not None:
                await self._drained
        self._request_sent = True

    async def chunk(self) -> bytes:
        """What has arrived of the body, in one piece; waits for more. See Answer.chunk."""
        reader = self._reader
        while not reader.chunks:
            if not self._is_open:
                return b""
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            self._waiting_since = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_later(self._idle_s, self._check_idle)
            await self._waiter
        data = reader.take()
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    def finish(self) -> None:
        """Give the connection back to its pool, or end it."""
        self._stop_timers()
        reader = self._reader
        reusable = reader.keeps_alive and self._request_sent and not self._paused
        reusable = reusable and self.is_usable
        if reusable and self._transport is not None:
            reusable = self._transport.get_write_buffer_size() == 0
        if not reusable:
            self.discard()
        self._on_idle(self, reusable)

    def discard(self) -> None:
        """End the connection at once."""
        self._stop_timers()
        if self._failure is None:
            self._failure = Broken("the connection was closed")
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, why: str) -> None:
        """End the exchange with `why`, and the connection."""
        self._end_with(Broken(why))

    def _end_with(self, problem: Broken | TimeoutError) -> None:
        if self._failure is None:
            self._failure = problem
        head = self._head
        if head is not None and not head.done():
            head.set_exception(self._failure)
            self._wake_sender()
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _late(self) -> None:
        """No answer began in time."""
        self._timer = None
        head = self._head
        if head is not None and not head.done():
            head.set_exception(TimeoutError())
            self._wake_sender()

    def _late_in_all(self) -> None:
        """The answer did not end in time."""
        self._deadline = None
        self._end_with(TimeoutError("the answer took too long in all"))

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

    def _wake_sender(self) -> None:
        """Have whoever waits for the upstream to take more look again."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

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
