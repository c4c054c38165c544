"""Reads HTTP/1.1 requests out of a connection's bytes, strictly; no I/O.

llhttp parses; what it lets through is bounded here, and judged by `headers.check_framing`.
"""

import asyncio
from collections import deque
from typing import Protocol

import httptools

MAX_HEAD = 64 * 1024
"""Bytes of a request before its body."""

MAX_LINE = 8190
"""Bytes of a target, or of one header: what Apache, and aiohttp, allow."""

MAX_HEADERS = 128
MAX_WAITING = 64
"""Requests that may have come before the first of them was answered."""

_SPOKEN = ("1.1", "1.0")


class Client(Protocol):
    """The connection a request came on, as whoever answers it uses it."""

    def write(self, data: bytes) -> bool:
        """Send bytes; False when more should wait for `drain`. Nothing when the client is gone."""
        ...

    async def drain(self) -> None:
        """Return when the client has taken enough of what it was sent."""
        ...

    def read_on(self) -> None:
        """Take the rest of the body, whose reader bounds it."""
        ...

    def stays(self, request: "Incoming") -> bool:
        """Whether the connection is to be used after an answer whose head is sent now."""
        ...

    def abort(self) -> None:
        """End the connection at once; what was not sent is lost."""
        ...

    def reset(self) -> None:
        """Have the connection end so that its end cannot be taken for the end of an answer."""
        ...


class Incoming:
    """A request whose head has come. `pieces` are what has come of its body, `size` their bytes.

    `is_broken`: the rest of the body will not come, or is malformed. `is_wanted`: somebody reads
    it. `has_begun`: an answer was begun.
    """

    __slots__ = (
        "_waiter",
        "client",
        "content_length",
        "has_begun",
        "has_body",
        "headers",
        "is_broken",
        "is_complete",
        "is_old",
        "is_spoken",
        "is_wanted",
        "keeps_alive",
        "method",
        "pieces",
        "size",
        "target",
    )

    client: Client

    def __init__(self, method: str, target: str, version: str, *, keeps_alive: bool) -> None:
        """Begin with the request line; `is_spoken` says whether its version is."""
        self.method = method
        self.target = target
        self.is_spoken = version in _SPOKEN
        self.is_old = version == "1.0"
        self.keeps_alive = keeps_alive and self.is_spoken
        self.headers: list[tuple[bytes, bytes]] = []
        self.content_length: int | None = None
        self.has_body = False
        self.pieces: list[bytes] = []
        self.size = 0
        self.is_complete = False
        self.is_broken = False
        self.is_wanted = False
        self.has_begun = False
        self._waiter: asyncio.Future[None] | None = None

    async def news(self) -> None:
        """Return when more of the body has come, or it has ended in one way or the other."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def take(self) -> bytes:
        """What has come of the body, in one piece."""
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def tell(self) -> None:
        """Have who waits for news look."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class RequestReader:
    """The requests of one connection. `waiting` are those whose head has come, in order.

    After a `problem`, or a request that asks for another protocol (`is_over`), nothing is read.
    """

    __slots__ = (
        "_head_bytes",
        "_headers",
        "_length",
        "_parser",
        "_silent_bytes",
        "_target",
        "is_chunked",
        "is_over",
        "latest",
        "problem",
        "waiting",
    )

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._parser = httptools.HttpRequestParser(self)
        self.waiting: deque[Incoming] = deque()
        self.latest: Incoming | None = None
        """The request whose body is coming, None between two."""
        self.problem = ""
        self.is_over = False
        self._silent_bytes = 0
        self.on_message_begin()

    def feed(self, data: bytes) -> None:
        """Read on."""
        if self.problem or self.is_over:
            return
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_over = True
        except httptools.HttpParserError as error:
            self._fail(type(error).__name__)
        else:
            # Since the last thing llhttp told of: one header or one chunk's extension.
            if self._silent_bytes > MAX_HEAD:
                self._fail("too long a line")

    def _fail(self, why: str) -> None:
        self.problem = self.problem or why
        if self.latest is not None:
            self.latest.is_broken = True
            self.latest.tell()
            self.latest = None

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        """Forget the head before."""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._length: int | None = None
        self.is_chunked = False

    def on_url(self, piece: bytes) -> None:
        """Keep a piece of the target."""
        self._target += piece
        if len(self._target) > MAX_LINE:
            self._fail("too long a target")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is dropped."""
        self._silent_bytes = 0
        size = len(name) + len(value)
        self._head_bytes += size
        if size > MAX_LINE or self._head_bytes > MAX_HEAD:
            self._fail("too large a head")
            return
        if self.latest is not None or self.problem:
            return
        self._headers.append((name, value))
        if len(self._headers) > MAX_HEADERS:
            self._fail("too many headers")
            return
        lowered = len(name) in (14, 17) and name.lower()
        if lowered == b"content-length":
            # llhttp has seen that it is one number, and the only one.
            self._length = int(value)
        elif lowered == b"transfer-encoding":
            self.is_chunked = True

    def on_headers_complete(self) -> None:
        """A request may be answered from here on."""
        if self.problem:
            return
        if len(self.waiting) >= MAX_WAITING:
            self._fail("too many requests at once")
            return
        if self.is_chunked and self._parser.get_http_version() == "1.0":
            # RFC 9112, 6.1: its framing is to be taken for faulty.
            self._fail("chunks in HTTP/1.0")
            return
        parser = self._parser
        version = parser.get_http_version()
        request = Incoming(
            parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            version,
            # Where HTTP/1.0 says both `close` and `keep-alive`, llhttp takes the latter.
            keeps_alive=parser.should_keep_alive() and (version != "1.0" or not self._says_close()),
        )
        request.headers = self._headers
        request.content_length = self._length
        request.has_body = self.is_chunked or bool(self._length)
        self._silent_bytes = self._head_bytes = 0
        self.latest = request
        self.waiting.append(request)

    def _says_close(self) -> bool:
        return any(
            name.lower() == b"connection" and b"close" in value.lower()
            for name, value in self._headers
        )

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body until it is asked for."""
        self._silent_bytes = 0
        request = self.latest
        if request is not None:
            request.pieces.append(data)
            request.size += len(data)
            request.tell()

    def on_message_complete(self) -> None:
        """The body ended as it said it would."""
        self._silent_bytes = 0
        request, self.latest = self.latest, None
        if request is not None:
            request.is_complete = True
            request.tell()
