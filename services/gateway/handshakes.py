"""TLS handshakes of the public port: counted and ended like the connections they become.

The loop's own way, `create_server(ssl=...)`, tells nobody of a client before it is through its
handshake: an address could hold any number of them, each for as long as one may take.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from services.gateway.client import ClientConnection

if TYPE_CHECKING:
    from services.gateway.server import StrictServer

_GOODBYE_S = 2.0
"""How long a client may take to agree that its connection is closed."""


class Handshake(asyncio.Protocol):
    """A client from its first packet until it is through the handshake, or is not."""

    is_idle = True
    """It has asked for nothing yet."""

    def __init__(self, server: "StrictServer", context: ssl.SSLContext) -> None:
        """Have `server` serve the client over TLS of this context."""
        self._server = server
        self._context = context
        self._address: str | None = None
        self._sock: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the client's address has as many connections as it may have."""
        server = self._server
        # Not isinstance: uvloop's transports are none of asyncio's classes.
        accepted = cast("asyncio.Transport", transport)
        address = server.client_of(transport)
        try:
            # On a second handle: TLS that is begun on this transport may miss what came already.
            sock = socket.socket(fileno=os.dup(accepted.get_extra_info("socket").fileno()))
            if address is None or server.count(address):
                self._address = address
                server.greeting.add(self)
                self._sock = sock
                self._task = asyncio.create_task(self._greet())
                self._task.add_done_callback(lambda _: self._end())
            else:
                sock.close()
        except OSError:
            server.note("descriptors")
        finally:
            accepted.abort()

    async def _greet(self) -> None:
        loop = asyncio.get_running_loop()
        sock, self._sock = cast("socket.socket", self._sock), None
        with suppress(OSError):  # it is no TLS, or none this port speaks, or took too long
            await loop.connect_accepted_socket(
                lambda: _Secured(self._server, loop, self._end),
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._server.header_limit_s,
                ssl_shutdown_timeout=_GOODBYE_S,
            )

    def _end(self) -> None:
        self._server.greeting.discard(self)
        if self._address is not None:
            self._server.uncount(self._address)
            self._address = None

    def close(self) -> None:
        """End it: the client has asked for nothing yet."""
        self.abort()

    def abort(self) -> None:
        """End it at once."""
        if self._task is not None:
            self._task.cancel()
        if self._sock is not None:  # what was to take it had no turn yet
            self._sock.close()


class _Secured(ClientConnection):
    """A connection that was a handshake until it is made: counted once, as one or the other."""

    __slots__ = ("_end_handshake",)

    def __init__(
        self,
        server: "StrictServer",
        loop: asyncio.AbstractEventLoop,
        end_handshake: Callable[[], None],
    ) -> None:
        super().__init__(server, loop)
        self._end_handshake = end_handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._end_handshake()
        super().connection_made(transport)
