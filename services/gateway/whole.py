"""An answer whose body is all here, sent in one write."""

from http import HTTPStatus

from aiohttp.helpers import rfc822_formatted_time

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_NO_BODY = frozenset({204, 304})
_CLOSE = "connection: close\r\n"

Headers = list[tuple[str, str]]


class Whole:
    """A status, headers and a body. `closes`: the connection is to end after it.

    Header values hold no CR or LF: ours are made here, an upstream's have passed llhttp, a
    caller's request id its pattern.
    """

    __slots__ = ("body", "closes", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Take what is to be sent; Content-Length, Connection and Date are added."""
        self.status = status
        self.headers = headers
        self.body = body
        self.closes = False

    def __repr__(self) -> str:
        """Show the status alone."""
        return f"Whole({self.status})"

    def wire(self, *, is_old: bool, is_head: bool) -> bytes:
        """The bytes to send; `is_old` answers HTTP/1.0."""
        stays = not self.closes
        if self.status in _NO_BODY:
            return head(self.status, self.headers, stays=stays, is_old=is_old)
        length = ("content-length", str(len(self.body)))
        begin = head(self.status, [*self.headers, length], stays=stays, is_old=is_old)
        return begin if is_head else begin + self.body


def head(status: int, headers: Headers, *, stays: bool, is_old: bool) -> bytes:
    """A status line and headers, with Date, and Connection where it has to be said."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    connection = ("connection: keep-alive\r\n" if is_old else "") if stays else _CLOSE
    return (
        f"HTTP/1.{0 if is_old else 1} {status} {_REASONS.get(status, '')}\r\n"
        f"{''.join(lines)}date: {rfc822_formatted_time()}\r\n{connection}\r\n"
    ).encode("latin-1")
