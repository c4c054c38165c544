"""An answer whose body is all here, sent in one write.

aiohttp's Response builds a case-insensitive multidict, a stream writer and several small writes
for it: a fifth of a short request's processor time, for nothing a finished body needs.
"""

from http import HTTPStatus

from aiohttp import HttpVersion10, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_NO_BODY = frozenset({204, 304})


class Whole(web.StreamResponse):
    """A response that is a status, headers and a body.

    Header values hold no CR or LF: ours are made here, an upstream's have passed llhttp, a
    caller's request id its pattern.
    """

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        """Take what is to be sent; Content-Length, Connection and Date are added."""
        # Not super().__init__(): its multidict is what this class does without.
        self._status = status
        self._whole_headers = headers
        self._whole_body = body
        self._closes = False
        self._stays = False

    def __repr__(self) -> str:
        """Show the status alone."""
        return f"Whole({self._status})"

    def __bool__(self) -> bool:
        """Be true: a StreamResponse is a mapping, and this one's is empty."""
        return True

    @property
    def status(self) -> int:
        """HTTP's status."""
        return self._status

    @property
    def prepared(self) -> bool:
        """Whether anything has been sent: not before all of it is."""
        return False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays, once this was sent."""
        return self._stays

    def force_close(self) -> None:
        """Have the connection end after this answer."""
        self._closes = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything; waits when the client does not take what it was sent before."""
        self._stays = request.keep_alive and not self._closes
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        transport.write(self._wire(request))
        if request.protocol.writing_paused:
            await request.protocol._drain_helper()  # noqa: SLF001 - StreamWriter.drain is this call
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` sent the end too."""

    def _wire(self, request: web.BaseRequest) -> bytes:
        is_old = request.version == HttpVersion10
        reason = _REASONS.get(self._status, "")
        lines = [f"HTTP/1.{0 if is_old else 1} {self._status} {reason}"]
        lines += [f"{name}: {value}" for name, value in self._whole_headers]
        lines.append(f"date: {rfc822_formatted_time()}")
        if self._status not in _NO_BODY:
            lines.append(f"content-length: {len(self._whole_body)}")
        if not self._stays:
            lines.append("connection: close")
        elif is_old:
            lines.append("connection: keep-alive")
        head = "\r\n".join(lines) + "\r\n\r\n"
        body = b"" if request.method == "HEAD" or self._status in _NO_BODY else self._whole_body
        return head.encode("latin-1") + body
