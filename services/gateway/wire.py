"""One HTTP/1.1 connection to an upstream: a request out, an answer in, byte for byte.

A connection goes back to its pool only after an answer that ended as it said it would.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from services.gateway.answer import Answer, Broken
from services.gateway.exchange import Exchange

READ_AT_ONCE = 64 * 1024
"""Bytes taken from a socket in one go."""


class Connection(asyncio.BufferedProtocol):
    """One connection, for one exchange at a time. Made by `pool`."""

    __slots__ = (
        "_buffer",
        "_drained",
        "_exchange",
        "_is_ended",
        "_loop",
        "_on_idle",
        "_paused",
        "_transport",
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
        self._exchange: Exchange | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_ended = False
        self._paused = False
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and not self._is_ended

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
        if self._is_ended:
            return
        exchange = self._exchange
        if exchange is not None and exchange.is_open:
            exchange.received(self._buffer[:nbytes])
        else:
            self.discard()

    def eof_received(self) -> bool:
        """The upstream will send no more; close too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits: cleanly only where the end of the connection ends the body."""
        exchange = self._exchange
        if exchange is not None and exchange.is_open and not self._is_ended:
            # What we ended is the end of no body.
            exchange.ended(cleanly=exc is None)
        self._is_ended = True
        self._transport = None
        self._wake_sender()

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
        exchange = self._exchange = Exchange(
            self._loop, self, first_byte_s=first_byte_s, idle_s=idle_s, total_s=total_s
        )
        head = exchange.head
        try:
            if len(pieces) == 1:
                transport.write(pieces[0])
                exchange.is_sent = True
            else:
                exchange.is_sent = await self._send(pieces, head)
            await head
        except BaseException:
            if head.done() and not head.cancelled():
                head.exception()  # seen: the caller hears of what came first
            self.discard()
            raise
        return exchange.answer()

    async def _send(self, pieces: Sequence[bytes | memoryview], head: asyncio.Future[None]) -> bool:
        """Write piece by piece, no faster than the upstream takes them; whether all were."""
        head.add_done_callback(self._wake_sender)
        for piece in pieces:
            if self._transport is None or head.done():
                return False  # it answered before it had read everything, or is gone
            self._transport.write(piece)
            if self._drained is not None:
                await self._drained
        return True

    def _wake_sender(self, _: object = None) -> None:
        """Have whoever waits for the upstream to take more look again."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # The exchange's side.

    def pause(self) -> None:
        """Read no further for now."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def release(self, exchange: Exchange, *, keeps_alive: bool) -> None:
        """Give the connection back to its pool, or end it; once for each exchange."""
        if self._exchange is not exchange:
            return
        reusable = keeps_alive and not self._paused and self.is_usable
        if reusable and self._transport is not None:
            reusable = self._transport.get_write_buffer_size() == 0
        if not reusable:
            self.discard()
        self._exchange = None
        self._on_idle(self, reusable)

    def discard(self) -> None:
        """End the connection at once."""
        self._is_ended = True
        if self._exchange is not None:
            self._exchange.abandon(Broken("the connection was closed"))
        if self._transport is not None:
            self._transport.abort()
