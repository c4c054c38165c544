"""A lean NATS connection for questions and answers: core messages, callbacks at once, no queues.

Every request crosses it twice, so it does what that needs and no more: nats-py's general client
puts each message through two queues and two tasks. JetStream and everything else stays with it.
Delivery is core NATS's: at most once. What could not be sent is dropped; deadlines are the
caller's.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import cast
from urllib.parse import urlsplit

import structlog

from shared.nkey import Proof, greeting

log = structlog.get_logger()

Callback = Callable[[str, str, bytes | None], None]
"""Gets a message's subject, its reply subject and its data; None says nobody is subscribed."""

_RETRY_S = 0.25
_CONNECT_TIMEOUT_S = 2.0
_PING_EVERY_S = 5.0
_MAX_UNANSWERED_PINGS = 2
_MAX_LINE = 64 * 1024
_NO_RESPONDERS = b"NATS/1.0 503"


class _Violation(Exception):
    """The server sent what is not NATS's protocol."""


class _Link(asyncio.Protocol):
    """One connection, from the server's INFO to its end."""

    def __init__(self, deliver: Callable[[int, str, str, bytes | None], None]) -> None:
        loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.info: asyncio.Future[dict[str, object]] = loop.create_future()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.unanswered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop(type(exc).__name__ if exc else "the server closed the connection")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        try:
            used = self._read(buffer)
        except (_Violation, ValueError, IndexError):
            self.stop("the server does not speak NATS")
            return
        self._buffer = buffer[used:]

    def _read(self, buffer: bytes) -> int:
        """Take every complete message out of `buffer`; how far that went."""
        at = 0
        while (line_end := buffer.find(b"\r\n", at)) >= 0:
            line = buffer[at:line_end]
            after = line_end + 2
            is_plain = line[:4] == b"MSG "
            if is_plain or line[:5] == b"HMSG ":
                words = line.split()
                size = int(words[-1])
                if len(buffer) < after + size + 2:
                    return at
                head = 0 if is_plain else int(words[-2])
                self._message(words, buffer[after : after + size], head, 4 if is_plain else 5)
                after += size + 2
            else:
                self._control(line)
            at = after
        if len(buffer) - at > _MAX_LINE and b"\r\n" not in buffer[at:]:
            raise _Violation
        return at

    def _message(self, words: list[bytes], body: bytes, head: int, least: int) -> None:
        subject, sid = words[1].decode(), int(words[2])
        reply = words[3].decode() if len(words) > least else ""
        nobody = head and body.startswith(_NO_RESPONDERS)
        self._deliver(sid, subject, reply, None if nobody else body[head:])

    def _control(self, line: bytes) -> None:
        if line == b"PING":
            self.write(b"PONG\r\n")
        elif line == b"PONG":
            self.unanswered = 0
            if not self.ready.done():
                self.ready.set_result(None)
        elif line.startswith(b"INFO "):
            if not self.info.done():
                self.info.set_result(json.loads(line[5:]))
        elif line.startswith(b"-ERR"):
            # The text names subjects, never data.
            log.warning("courier_error", error=line[5:200].decode("ascii", "replace"))
        elif line != b"+OK":
            raise _Violation

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def stop(self, why: str) -> None:
        for future in (self.info, self.ready):
            if not future.done():
                future.set_exception(ConnectionError(why))
                future.exception()  # seen: not every one of them is waited for
        if not self.ended.done():
            self.ended.set_result(why)
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


class Courier:
    """Subscribes, publishes, and reconnects for ever. Run `run` as a task."""

    def __init__(
        self,
        url: str,
        user: str,
        proof: Proof | None,
        on_connected: Callable[[bool], None] = lambda _: None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Speak to the server at `nats://host:port` (or `tls://`) as `user`.

        With `tls`, or a `tls://` URL, a server without TLS is told nothing.
        `on_connected` hears when the connection is up, and when it is over.
        """
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 4222
        self._wants_tls = parts.scheme == "tls" or tls is not None
        self._tls = tls
        self._user = user
        self._proof = proof
        self._on_connected = on_connected
        self._link: _Link | None = None
        self._next_sid = 1
        self._subscriptions: dict[int, tuple[str, str, Callback]] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the server has taken this connection and its subscriptions in."""
        link = self._link
        return link is not None and link.ready.done() and not link.ended.done()

    def subscribe(self, subject: str, callback: Callback, *, queue: str = "") -> int:
        """Have `callback` called with each message, also after reconnects; the value ends it."""
        sid = self._next_sid
        self._next_sid += 1
        self._subscriptions[sid] = (subject, queue, callback)
        if self._link is not None:
            self._link.write(_sub(sid, subject, queue))
        return sid

    def unsubscribe(self, sid: int) -> None:
        """End a subscription."""
        if self._subscriptions.pop(sid, None) is not None and self._link is not None:
            self._link.write(b"UNSUB %d\r\n" % sid)

    def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Send a message; without a connection it is dropped. Written at the loop turn's end."""
        if self._link is not None:
            head = (
                f"PUB {subject} {reply} {len(data)}\r\n"
                if reply
                else f"PUB {subject} {len(data)}\r\n"
            )
            self._link.write(b"%b%b\r\n" % (head.encode(), data))

    async def run(self) -> None:
        """Keep connected until cancelled."""
        said = ""
        while True:
            link = _Link(self._deliver)
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await self._connect(link)
                said = ""
                self._on_connected(True)
                await self._keep(link)
                log.warning("courier_disconnected", why=link.ended.result())
            except OSError as problem:
                why = type(problem).__name__
                if why != said:
                    said = why
                    log.warning("courier_unreachable", error=why)
            finally:
                self._link = None
                self._on_connected(False)
                if link.transport is not None:
                    link.transport.abort()
            await asyncio.sleep(_RETRY_S)

    async def _connect(self, link: _Link) -> None:
        """Shake hands and subscribe again. OSError (TimeoutError is one) when it cannot be."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: link, self._host, self._port)
        info = await link.info
        if self._wants_tls or info.get("tls_required"):
            await self._secure(loop, link)
        link.write(b"CONNECT " + self._greeting(str(info.get("nonce", ""))) + b"\r\n")
        # In one go with the loop: who subscribes from here on writes to this link itself.
        self._link = link
        for sid, (subject, queue, _) in self._subscriptions.items():
            link.write(_sub(sid, subject, queue))
        link.write(b"PING\r\n")
        await link.ready

    async def _secure(self, loop: asyncio.AbstractEventLoop, link: _Link) -> None:
        plain = link.transport
        if plain is None:
            raise ConnectionError
        context = self._tls or ssl.create_default_context()
        secured = await loop.start_tls(plain, link, context, server_hostname=self._host)
        if secured is None:
            raise ConnectionError
        link.transport = secured

    def _greeting(self, nonce: str) -> bytes:
        fields: dict[str, object] = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "1",
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "name": self._user,
        }
        return json.dumps(fields | greeting(self._user, self._proof, nonce)).encode()

    async def _keep(self, link: _Link) -> None:
        """Ping now and then; returns when the connection is over."""
        while not link.ended.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(_PING_EVERY_S):
                    await asyncio.shield(link.ended)
            if link.ended.done():
                return
            if link.unanswered >= _MAX_UNANSWERED_PINGS:
                link.stop("the server does not answer")
                return
            link.unanswered += 1
            link.write(b"PING\r\n")

    def _deliver(self, sid: int, subject: str, reply: str, data: bytes | None) -> None:
        found = self._subscriptions.get(sid)
        if found is not None:
            found[2](subject, reply, data)


def _sub(sid: int, subject: str, queue: str) -> bytes:
    return f"SUB {subject} {queue} {sid}\r\n".replace("  ", " ").encode()
