"""The public port: its connections, their limits, and how they end when it stops."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from services.gateway.client import ClientConnection
from services.gateway.handshakes import Handshake
from services.gateway.load import Note
from services.gateway.request_reader import Incoming
from services.gateway.streaming import Streamed
from services.gateway.whole import Whole
from shared.addresses import same_client
from shared.http import IDLE_GRACE_S, KEEPALIVE_S, UNREADABLE_PER_S
from shared.limiter import Limiter
from shared.listening import named, stop_accepting

log = structlog.get_logger()

HEADER_TIMEOUT_S = 10.0
"""How long a request may take from its first byte until its headers are complete."""

STALL_TIMEOUT_S = 60.0
"""How long a client may take nothing of what it was sent."""

_LOOK_S = 0.02
_LAST_S = 0.5
"""How long what was cut off has for its own ends."""

_BACKLOG = 1024

Handler = Callable[[Incoming], Awaitable[Whole | Streamed]]


class StrictServer:
    """Makes connections, and lets them end in peace when it stops."""

    def __init__(
        self,
        handler: Handler,
        *,
        header_limit_s: float = HEADER_TIMEOUT_S,
        stall_s: float = STALL_TIMEOUT_S,
        idle_s: float = KEEPALIVE_S,
        most_per_address: int = 0,
        note: Note = lambda _: None,
    ) -> None:
        """Serve every request with `handler`, which is cancelled when its client leaves.

        A client that takes nothing for `stall_s` is cut off, one that asks for nothing for
        `idle_s` is let go. An address has `most_per_address`
        connections; 0 sets no limit.
        """
        self._loop = asyncio.get_running_loop()
        self._most_per_address = most_per_address
        self._by_client: dict[str, int] = {}
        self._look_s = min(1.0, header_limit_s / 4, stall_s / 4, idle_s / 4)
        self._looking: asyncio.TimerHandle | None = None
        self.handler = handler
        self.header_limit_s = header_limit_s
        self.stall_s = stall_s
        self.idle_s = idle_s
        self.note = note
        self.unreadable = Limiter(UNREADABLE_PER_S)
        self.connections: set[ClientConnection] = set()
        self.greeting: set[Handshake] = set()
        """Clients that are not through their TLS handshake."""
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

    def __call__(self) -> ClientConnection:
        """Make the protocol of a new connection."""
        return ClientConnection(self, self._loop)

    def look_after(self) -> None:
        """End what has taken too long, now and then, until `cut_off`."""
        self._looking = self._loop.call_later(self._look_s, self.look_after)
        now = self._loop.time()
        for connection in tuple(self.connections):
            connection.look(now)

    async def drain(self, limit_s: float) -> None:
        """Let what is in flight end, for at most `limit_s`; each answer is its connection's last.

        An idle connection is closed only after a while, because its client may be sending. So is
        a TLS handshake that has begun.
        """
        self.is_draining = True
        begin = self._loop.time()
        idle_since: dict[ClientConnection | Handshake, float] = {}
        while (now := self._loop.time()) < begin + limit_s:
            if not self.connections and not self.greeting:
                return
            for connection in self._unended():
                if not connection.is_idle:
                    idle_since.pop(connection, None)
                elif now - idle_since.setdefault(connection, now) >= IDLE_GRACE_S:
                    connection.close()
            await asyncio.sleep(_LOOK_S)

    def _unended(self) -> list[ClientConnection | Handshake]:
        return [*self.connections, *self.greeting]

    async def cut_off(self) -> None:
        """End every connection that is left, and what was done for it."""
        if self._looking is not None:
            self._looking.cancel()
        tasks = [each.task for each in self.connections if each.task is not None]
        for connection in self._unended():
            connection.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_S)


@asynccontextmanager
async def public_port(
    server: StrictServer,
    host: str,
    port: int,
    *,
    drain_s: float,
    drain_delay_s: float = 0.0,
    tls: ssl.SSLContext | None = None,
    on_stopping: Callable[[], None] = lambda: None,
) -> AsyncIterator[int]:
    """Serve on host:port, shared with other processes; the value is the port.

    On the way out: `on_stopping`, `drain_delay_s` seconds of going on while load balancers take
    note, no new connections, what is in flight ends or is cut off after `drain_s` seconds.
    Raises ConfigError when the port is not to be had.
    """
    with named(host, port):
        listener = await asyncio.get_running_loop().create_server(
            server if tls is None else lambda: Handshake(server, tls),
            host,
            port,
            reuse_port=True,
            backlog=_BACKLOG,
        )
    server.look_after()
    try:
        bound: int = listener.sockets[0].getsockname()[1]
        log.info("listening", what="public", host=host, port=bound, tls=tls is not None)
        try:
            yield bound
        finally:
            on_stopping()
            server.is_draining = True
            await asyncio.sleep(drain_delay_s)
            await stop_accepting(listener)
            await server.drain(drain_s)
    finally:
        await server.cut_off()
