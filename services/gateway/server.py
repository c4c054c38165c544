"""The public port below the handler: strict where aiohttp's low-level server is not.

Malformed requests are answered without a word of them in a log, headers have a time limit, and
a stop lets what is in flight finish.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from services.gateway.load import Note
from shared.addresses import same_client
from shared.http import IDLE_GRACE_S, UNREADABLE_PER_S, QuietConnection
from shared.limiter import Limiter
from shared.listening import stop_accepting

log = structlog.get_logger()

HEADER_TIMEOUT_S = 10.0
"""How long a request may take from its first byte until its headers are complete."""

STALL_TIMEOUT_S = 60.0
"""How long a client may take nothing of what it was sent."""

_LINGER_S = 2.0
"""How long a refused body is still read, so that the refusal is read before the connection ends."""

_LOOK_S = 0.02
_BACKLOG = 1024
_BAD_VERSION = web.RequestKey("bad_version", bool)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class StrictConnection(QuietConnection):
    """One client connection."""

    __slots__ = (
        "_client",
        "_header_limit_s",
        "_header_timer",
        "_requests_at_timer",
        "_server",
        "_stall_timer",
        "_wire",
    )

    def __init__(
        self, server: "StrictServer", loop: asyncio.AbstractEventLoop, *, header_limit_s: float
    ) -> None:
        """Belong to `server`; `header_limit_s` bounds the reading of one header."""
        super().__init__(server, loop=loop, lingering_time=_LINGER_S, unreadable=server.unreadable)
        self._server = server
        self._client: str | None = None
        self._wire: asyncio.Transport | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._header_limit_s = header_limit_s
        self._header_timer: asyncio.TimerHandle | None = None
        self._requests_at_timer = 0

    @property
    def is_leaving(self) -> bool:
        """Whether what is answered now is the last on this connection."""
        return isinstance(self._manager, StrictServer) and self._manager.is_draining

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered or waits to be."""
        return self._current_request is None and not self._messages

    def data_received(self, data: bytes) -> None:
        """Parse; when that leaves a header begun but incomplete, its time starts to run."""
        super().data_received(data)
        if not self.is_idle or self._force_close:
            return
        if self._header_timer is not None and self._requests_at_timer != self._request_count:
            # It runs for the header of a request that came, and was answered, meanwhile.
            self._header_timer.cancel()
            self._header_timer = None
        if self._header_timer is None:
            self._requests_at_timer = self._request_count
            self._header_timer = self._loop.call_later(self._header_limit_s, self._end_slow_header)

    def _end_slow_header(self) -> None:
        self._header_timer = None
        if self.is_idle and self._request_count == self._requests_at_timer:
            self.force_close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the client, unless its address has as many connections as it may have."""
        super().connection_made(transport)
        self._wire = self.transport
        self._client = self._server.client_of(transport)
        if self._client is not None and not self._server.count(self._client):
            self._client = None
            self.force_close()

    def pause_writing(self) -> None:
        """Wait for a client that does not take its answer, but not for ever."""
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        """Go on; what is left of an answer that was the last has to be taken too."""
        super().resume_writing()
        self._forget_stall()
        if self._wire is not None and self._wire.is_closing():
            self._watch_stall()

    async def start(self) -> None:
        """Serve until the last answer was given, and see that it is taken."""
        try:
            await super().start()
        finally:
            if self._stall_timer is None:
                self._watch_stall()

    def _watch_stall(self) -> None:
        if self._wire is not None and (left := self._wire.get_write_buffer_size()):
            self._stall_timer = self._loop.call_later(
                self._server.stall_s, self._end_stalled, self._wire, left
            )

    def _end_stalled(self, wire: asyncio.Transport, before: int) -> None:
        self._stall_timer = None
        if wire.get_write_buffer_size() < before:
            self._watch_stall()
        else:
            self._server.note("client_stall")
            wire.abort()

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the timers and the count with the connection."""
        if self._header_timer is not None:
            self._header_timer.cancel()
        self._wire = None
        self._forget_stall()
        if self._client is not None:
            self._server.uncount(self._client)
            self._client = None
        super().connection_lost(exc)


class StrictServer(web.Server):
    """Makes strict connections, and lets them end in peace when it stops."""

    def __init__(
        self,
        handler: Handler,
        *,
        header_limit_s: float = HEADER_TIMEOUT_S,
        stall_s: float = STALL_TIMEOUT_S,
        most_per_address: int = 0,
        note: Note = lambda _: None,
    ) -> None:
        """Serve every request with `handler`, which is cancelled when its client leaves.

        A client that takes nothing for `stall_s` is cut off. An address has `most_per_address`
        connections; 0 sets no limit.
        """
        super().__init__(handler, request_factory=_make_request, handler_cancellation=True)
        self._header_limit_s = header_limit_s
        self._most_per_address = most_per_address
        self._by_client: dict[str, int] = {}
        self.stall_s = stall_s
        self.note = note
        self.unreadable = Limiter(UNREADABLE_PER_S)
        self.is_draining = False

    def client_of(self, transport: asyncio.BaseTransport) -> str | None:
        """Who connects, when connections are counted."""
        if not self._most_per_address:
            return None
        peer = transport.get_extra_info("peername")
        return same_client(peer[0]) if isinstance(peer, tuple) else None

    def count(self, client: str) -> bool:
        """Count a connection of a client; False, and not counted, when it has enough."""
        count = self._by_client.get(client, 0)
        if count >= self._most_per_address:
            self.note("connections_per_address")
            return False
        self._by_client[client] = count + 1
        return True

    def uncount(self, client: str) -> None:
        """A counted connection is gone."""
        count = self._by_client[client] - 1
        if count:
            self._by_client[client] = count
        else:
            del self._by_client[client]

    def __call__(self) -> StrictConnection:
        """Make the protocol of a new connection."""
        return StrictConnection(self, self._loop, header_limit_s=self._header_limit_s)

    async def drain(self, limit_s: float) -> None:
        """Let what is in flight end, for at most `limit_s`; each answer is its connection's last.

        An idle connection is closed only after a while, because its client may be sending.
        """
        self.is_draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + limit_s
        idle_since: dict[web.RequestHandler, float] = {}
        while self.connections and (now := loop.time()) < end:
            for connection in self.connections:
                if not (isinstance(connection, StrictConnection) and connection.is_idle):
                    idle_since.pop(connection, None)
                elif now - idle_since.setdefault(connection, now) >= IDLE_GRACE_S:
                    connection.force_close()
            await asyncio.sleep(_LOOK_S)


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """A request whose version is one that can be answered in; `has_bad_version` tells of others."""
    loop = asyncio.get_running_loop()
    if isinstance(protocol, StrictConnection) and protocol.is_leaving:
        message = message._replace(should_close=True)
    if message.version in (HttpVersion11, HttpVersion10):
        return web.BaseRequest(message, payload, protocol, writer, task, loop)
    # The status line repeats the request's version, and "HTTP/2.0 505" is no answer at all.
    message = message._replace(version=HttpVersion11, should_close=True)
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, state={_BAD_VERSION: True}
    )


def has_bad_version(request: web.BaseRequest) -> bool:
    """Whether the request line named a version that is not spoken here."""
    return _BAD_VERSION in request


@asynccontextmanager
async def public_port(
    server: StrictServer,
    host: str,
    port: int,
    *,
    drain_s: float,
    drain_delay_s: float = 0.0,
    on_stopping: Callable[[], None] = lambda: None,
) -> AsyncIterator[int]:
    """Serve on host:port, shared with other processes; the value is the port.

    On the way out: `on_stopping`, `drain_delay_s` seconds of going on while load balancers take
    note, no new connections, what is in flight ends or is cut off after `drain_s` seconds.
    """
    runner = web.ServerRunner(server, shutdown_timeout=0.5)
    await runner.setup()
    try:
        listener = await asyncio.get_running_loop().create_server(
            server, host, port, reuse_port=True, backlog=_BACKLOG
        )
        bound: int = listener.sockets[0].getsockname()[1]
        log.info("listening", what="public", host=host, port=bound)
        try:
            yield bound
        finally:
            on_stopping()
            server.is_draining = True
            await asyncio.sleep(drain_delay_s)
            await stop_accepting(listener)
            await server.drain(drain_s)
    finally:
        await runner.cleanup()
