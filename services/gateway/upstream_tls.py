"""TLS towards upstreams: certificates and names always checked, sessions continued.

Ours and not uvloop's, whose buffers hold 800 KiB for each connection that nobody reads from: here
a connection keeps what one read of its socket brought, at most.
"""

import asyncio
import ssl
from typing import Any, cast


class UpstreamTls:
    """Whom upstreams' certificates have to come from, and the sessions that can be continued.

    A connection to a name that was proven before offers that session (RFC 8446, 2.2; RFC 5077):
    its server need not sign again, nor send certificates. One that does not know it any more
    makes a whole handshake of it, with all its checks.
    """

    def __init__(self, cafile: str | None = None) -> None:
        """Trust the authorities in `cafile`, else the system's. OSError when it is unusable."""
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cafile is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile)
        self._sessions: dict[str, ssl.SSLSession] = {}

    def begin(self, name: str, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """The client's side of a connection to whoever proves to be `name`."""
        session = self._sessions.get(name)
        return self._context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)

    def keep(self, name: str, connection: ssl.SSLObject) -> None:
        """Have the next connection continue this one's session, once its ticket has come."""
        session = connection.session
        if session is not None and session.has_ticket:
            self._sessions[name] = session


class Secured(asyncio.BufferedProtocol, asyncio.Transport):
    """The protocol of a TCP connection, and the transport of the one that speaks over its TLS.

    That one is told of the connection once the handshake is through, which `ready` waits for.
    When TLS ended without its close_notify, anybody on the way may have ended it: then
    `connection_lost` gets an error.
    """

    __slots__ = (
        "_above",
        "_below",
        "_buffer",
        "_has_ended",
        "_incoming",
        "_is_below_paused",
        "_is_kept",
        "_is_paused",
        "_is_up",
        "_loop",
        "_name",
        "_outgoing",
        "_problem",
        "_tls",
        "_trust",
        "ready",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        trust: UpstreamTls,
        name: str,
        buffer: memoryview,
        above: asyncio.BufferedProtocol,
    ) -> None:
        """`buffer` is the one that `above` reads from, and is used for nothing in between."""
        super().__init__()
        self._loop = loop
        self._trust = trust
        self._name = name
        self._buffer = buffer
        self._above = above
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = trust.begin(name, self._incoming, self._outgoing)
        self._below: asyncio.Transport | None = None
        self._problem: Exception | None = ConnectionResetError("TLS was cut off")
        self._is_kept = False
        self._is_up = False
        self._is_paused = False
        self._is_below_paused = False
        self._has_ended = False
        self.ready: asyncio.Future[None] = loop.create_future()

    # The TCP transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._below = cast("asyncio.Transport", transport)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came, and pass on what it says."""
        self._incoming.write(self._buffer[:nbytes])
        if self._is_up:
            self._read()
        else:
            self._shake_hands()

    def eof_received(self) -> bool:
        """No more will come; what has come is still to be read."""
        self._incoming.write_eof()
        self._has_ended = True
        if self._is_up:
            self._read()
        return self._is_up

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the one above, or who waits for the handshake."""
        self._below = None
        if self._is_up:
            self._above.connection_lost(exc or self._problem)
        elif not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("the handshake was cut off"))

    def pause_writing(self) -> None:
        """The upstream takes no more for now."""
        if self._is_up:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        if self._is_up:
            self._above.resume_writing()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as problem:
            self._flush()  # the alert that says why
            if not self.ready.done():
                self.ready.set_exception(problem)
            self.close()
            return
        self._flush()
        if self.ready.done():
            self.abort()  # nobody waits any more
            return
        self._is_up = True
        self.ready.set_result(None)
        self._above.connection_made(self)
        self._read()

    def _read(self) -> None:
        """Give the one above what can be read, until it wants no more."""
        incoming, tls, above = self._incoming, self._tls, self._above
        while not self._is_paused and self._below is not None:
            # Asked first, because an exception for each read would cost more than the read.
            if not (self._has_ended or incoming.pending or tls.pending()):
                break
            try:
                # typeshed has it return bytes also where it reads into a buffer.
                size = cast("int", tls.read(len(self._buffer), cast("Any", self._buffer)))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as problem:
                self._problem = problem
                self._flush()
                self.abort()
                return
            if not size:
                self._problem = None  # close_notify
                self.close()
                return
            if not self._is_kept:
                self._is_kept = True
                self._trust.keep(self._name, tls)
            above.buffer_updated(size)
        self._flush()  # a key update, say
        if self._is_below_paused and not self._is_paused and self._below is not None:
            self._is_below_paused = False
            self._below.resume_reading()

    def _flush(self) -> None:
        if self._outgoing.pending and self._below is not None:
            self._below.write(self._outgoing.read())

    # The transport of the one above.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        if self._below is None or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as problem:
            self._problem = problem
            self.abort()
        else:
            self._flush()

    def pause_reading(self) -> None:
        """Pass on nothing more for now, and take nothing more."""
        self._is_paused = True
        if self._below is not None and not self._is_below_paused:
            self._is_below_paused = True
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on: first with what is here."""
        self._is_paused = False
        self._loop.call_soon(self._read)

    def is_closing(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._below is None or self._below.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not sent."""
        return 0 if self._below is None else self._below.get_write_buffer_size()

    def close(self) -> None:
        """End it when everything was sent."""
        if self._below is not None:
            self._below.close()

    def abort(self) -> None:
        """End it at once; nobody waits for it any more."""
        self.ready.cancel()
        if self._below is not None:
            self._below.abort()
