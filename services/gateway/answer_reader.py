"""Reads one HTTP/1.1 answer out of bytes, strictly; pure.

llhttp parses; what it lets through and two readers could take differently is refused here.
"""

from collections import deque

import httptools

MAX_HEAD = 64 * 1024
"""Bytes of an answer before its body."""

MAX_HEADERS = 128

_FIRST_INTERIM = 100
_FIRST_FINAL = 200
_LAST = 599
_NO_BODY = frozenset({204, 304})
_SWITCHING = 101


class AnswerReader:
    """One answer, as far as it has come. `problem` says why it is none, "" while it may be one.

    `chunks` are the pieces of the body that nobody has taken yet, `size` their bytes.
    """

    __slots__ = (
        "_head_bytes",
        "_is_chunked",
        "_parser",
        "_waiting_bytes",
        "chunks",
        "content_length",
        "ends_with_connection",
        "has_head",
        "headers",
        "is_complete",
        "keeps_alive",
        "problem",
        "size",
        "status",
    )

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._waiting_bytes = 0
        self._is_chunked = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.content_length: int | None = None
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.has_head = False
        self.is_complete = False
        self.ends_with_connection = False
        self.keeps_alive = False
        self.problem = ""

    def feed(self, data: bytes | memoryview) -> None:
        """Read on, keeping copies alone; nothing is read after a problem."""
        if self.problem:
            return
        if self.is_complete:
            self.problem = "bytes outside an answer"
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.problem = self.problem or "an upgrade that was not asked for"
            return
        except httptools.HttpParserError:
            self.problem = self.problem or "an answer that is not HTTP"
            return
        if self.is_complete:
            # It refers to this object: one cycle less for every request.
            del self._parser
        elif not self.has_head:
            # What llhttp has not told of yet: one header may be all of it.
            self._waiting_bytes += len(data)
            if self._waiting_bytes > MAX_HEAD:
                self.problem = self.problem or "a head that is too large"

    def end(self) -> None:
        """The connection ended, which ends some bodies; of any other it is a problem."""
        if self.has_head and self.ends_with_connection and not self.problem:
            self.is_complete = True
        elif not self.is_complete:
            self.problem = self.problem or "the connection ended"

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        """A new answer; a second one after the final one was not asked for."""
        if self.is_complete:
            self.problem = "a second answer"

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is dropped."""
        if self.has_head or self.problem:
            return
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD:
            self.problem = "a head that is too large"
            return
        if len(self.headers) >= MAX_HEADERS:
            self.problem = "too many headers"
            return
        lowered = name.lower()
        if lowered == b"content-length":
            self.content_length = int(value)
        elif lowered == b"transfer-encoding" and value.strip().lower() != b"chunked":
            self.problem = "a transfer coding that is not chunked"
            return
        self.headers.append((lowered.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is there; an interim one is passed over."""
        if self.problem:
            return
        self.status = self._parser.get_status_code()
        if self.status < _FIRST_FINAL:
            if self.status == _SWITCHING:
                self.problem = "an upgrade that was not asked for"
            elif self.status < _FIRST_INTERIM:
                self.problem = "a status that is none"
            self.headers = []
            self.content_length = None
            return
        if self.status > _LAST:
            self.problem = "a status that is none"
            return
        self.has_head = True
        self._is_chunked = any(name == "transfer-encoding" for name, _ in self.headers)
        self.ends_with_connection = (
            self.content_length is None and not self._is_chunked and self.status not in _NO_BODY
        )

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body until it is asked for."""
        if self.is_complete or self.problem:
            return
        self.chunks.append(data)
        self.size += len(data)

    def on_message_complete(self) -> None:
        """The answer ended as it said it would, unless it was an interim one."""
        if self.has_head and not self.is_complete and not self.problem:
            # A length or coding where no body may be: its sender may send one yet, and the next
            # caller would read it as the head of an answer.
            is_odd = self.status in _NO_BODY and (self._is_chunked or bool(self.content_length))
            self.keeps_alive = (
                self._parser.should_keep_alive() and not self.ends_with_connection and not is_odd
            )
            self.is_complete = True

    def take(self) -> bytes:
        """What has arrived of the body, in one piece."""
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        self.size = 0
        return data
