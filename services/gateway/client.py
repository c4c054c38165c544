"""One client's connection: requests in, one after the other, and their answers out.

Time limits are looked after by the server's one timer, so a request costs none.
"""

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING, cast

import structlog

from services.gateway.request_reader import Incoming, RequestReader
from services.gateway.streaming import Streamed
from services.gateway.whole import Whole
from shared.http import error_body, where

if TYPE_CHECKING:
    from services.gateway.server import StrictServer

log = structlog.get_logger()

_LINGER_S = 2.0
"""How long a refused body is still taken, so that the refusal is read before the end."""

_HIGH = 64 * 1024
"""Bytes of a body nobody has asked for yet above which the client has to wait."""

_WAITING = 4
"""Requests that wait for the one being answered above which the client has to wait."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientConnection(asyncio.Protocol):
    """A connection of the public port."""

    __slots__ = (
        "_address",
        "_begun_at",
        "_drained",
        "_is_ending",
        "_is_header",
        "_left",
        "_loop",
        "_paused",
        "_reader",
        "_server",
        "_stuck_at",
        "_transport",
        "task",
    )

    def __init__(self, server: "StrictServer", loop: asyncio.AbstractEventLoop) -> None:
        """Belong to `server`."""
        self._server = server
        self._loop = loop
        self._reader = RequestReader()
        self._transport: asyncio.Transport | None = None
        self._address: str | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._is_ending = False
        # Since when it is idle, or a header is coming, or it lingers.
        self._begun_at = loop.time()
        self._is_header = False
        # Since when the client has taken nothing, and how much it has to take; None: it does.
        self._stuck_at: float | None = None
        self._left = 0
        self.task: asyncio.Task[None] | None = None
        """What answers a request, None while it waits for one."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered or waits to be."""
        return self.task is None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the client, unless its address has as many connections as it may have."""
        # Not isinstance: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        address = self._server.client_of(transport)
        if address is None:
            return
        if self._server.count(address):
            self._address = address
        else:
            self._end()

    def data_received(self, data: bytes) -> None:
        """Read on; a request is answered as soon as its head is here."""
        if self._is_ending:
            return
        reader = self._reader
        reader.feed(data)
        if self.task is None:
            self._next()
            return
        body = reader.latest
        if len(reader.waiting) >= _WAITING or (body and not body.is_wanted and body.size > _HIGH):
            self._pause()

    def _pause(self) -> None:
        """Take nothing more for now."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Take what the client sends, as fast as it comes."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The client will send no more: it has left."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was done for the client."""
        del exc
        self._transport = None
        self._is_ending = True
        self._server.connections.discard(self)
        if self._address is not None:
            self._server.uncount(self._address)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        """Wait for a client that does not take its answer, but not for ever."""
        self._drained = self._loop.create_future()
        self._watch()

    def resume_writing(self) -> None:
        """Go on."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        self._stuck_at = None
        if self._is_ending:
            self._watch()

    def _watch(self) -> None:
        """See that the client takes what is left."""
        transport = self._transport
        self._left = 0 if transport is None else transport.get_write_buffer_size()
        self._stuck_at = self._loop.time() if self._left else None

    # The answer's side.

    def write(self, data: bytes) -> bool:
        """Send bytes; False when more should wait for `drain`. Nothing when the client is gone."""
        if self._transport is not None:
            self._transport.write(data)
        return self._drained is None

    async def drain(self) -> None:
        """Return when the client has taken enough of what it was sent."""
        if self._drained is not None:
            await self._drained

    def reset(self) -> None:
        """Have the connection end so that its end cannot be taken for the end of an answer."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _next(self) -> None:
        """Answer the next request, if there is one."""
        reader = self._reader
        if reader.waiting:
            request = reader.waiting.popleft()
            request.client = self
            self.task = self._loop.create_task(self._answer(request))
            return
        self.task = None
        if reader.problem:
            self._refuse(reader.problem)
        elif reader.is_over:
            self._end()
        elif not self._is_header:
            # What came is a header's begin: whole ones have been answered.
            self._is_header = True
            self._begun_at = self._loop.time()

    async def _answer(self, request: Incoming) -> None:
        """Have one request answered, and go on to the next."""
        answer: Whole | Streamed
        try:
            answer = await self._server.handler(request)
        except Exception as error:  # noqa: BLE001 - the last place that can answer
            log.error("request_failed", problem=type(error).__name__, where=where(error))  # noqa: TRY400
            if request.has_begun:
                self.abort()
                return
            answer = _plain(500, "Internal error.", "api_error")
        if isinstance(answer, Whole):
            answer.closes = answer.closes or not self.stays(request)
            is_head = request.method == "HEAD"
            self.write(answer.wire(is_old=request.is_old, is_head=is_head))
        if answer.closes:
            self._end(lingers=not request.is_complete)
            self.task = None
            return
        await self.drain()
        self.read_on()
        self._is_header = False
        self._begun_at = self._loop.time()
        if self._reader.waiting or self._reader.problem or self._reader.is_over:
            self._next()
        else:
            self.task = None

    def stays(self, request: Incoming) -> bool:
        """Whether the connection is to be used after an answer whose head is sent now.

        What the head said is kept: a client told nothing else may send its next request at once.
        """
        return request.keeps_alive and request.is_complete and not self._server.is_draining

    def _refuse(self, problem: str) -> None:
        """Answer what is no request, in words that hold nothing of it."""
        held_back = self._server.unreadable.let(time.monotonic())
        if held_back is not None:
            log.info("request_unreadable", status=400, problem=problem, suppressed=held_back)
        answer = _plain(400, "The request is not well-formed HTTP.", "invalid_request_error")
        self.write(answer.wire(is_old=False, is_head=False))
        self._end(lingers=True)

    def _end(self, *, lingers: bool = False) -> None:
        """Close the connection once everything was sent.

        `lingers` takes what the client still sends for a while: else the answer could be lost.
        """
        self._is_ending = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if lingers:
            if transport.can_write_eof():
                transport.write_eof()
            self._begun_at = self._loop.time()
            self.read_on()
        else:
            transport.close()
        self._watch()

    def close(self) -> None:
        """End an idle connection."""
        self._end()

    def abort(self) -> None:
        """End the connection at once; what was not sent is lost."""
        self._is_ending = True
        if self._transport is not None:
            self._transport.abort()

    def look(self, now: float) -> None:
        """End it if a limit of time has passed."""
        transport = self._transport
        if transport is None:
            return
        if self._stuck_at is not None:
            left = transport.get_write_buffer_size()
            if left < self._left:
                self._watch()
            elif now - self._stuck_at >= self._server.stall_s:
                self._server.note("client_stall")
                self.abort()
                return
        if self._is_ending:
            if not transport.is_closing() and now - self._begun_at >= _LINGER_S:
                transport.close()
        elif self.task is None:
            limit = self._server.header_limit_s if self._is_header else self._server.idle_s
            if now - self._begun_at >= limit:
                self._end()


def _plain(status: int, message: str, kind: str) -> Whole:
    """An error of which nothing is known but its status."""
    headers = [("server", "grantgate"), ("content-type", "application/json")]
    answer = Whole(status, headers, error_body(message, kind, None, status))
    answer.closes = True
    return answer
