"""Passes an upstream's answer on, byte for byte, and breaks where it breaks.

After the first byte there is no error to answer with: a stream the upstream did not finish is
never finished cleanly.
"""

import asyncio
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import structlog

from services.gateway.answer import Answer, Broken
from services.gateway.answers import Stamp
from services.gateway.headers import for_client
from services.gateway.refusals import SHAPES, error_body
from services.gateway.relay import broken, timed_out
from services.gateway.request_reader import Incoming
from services.gateway.revocations import Stream
from services.gateway.whole import Headers, Whole, head

log = structlog.get_logger()

_AT_ONCE = 64 * 1024
"""Bytes of an answer that is read whole and sent in one piece."""

_FIRST_ERROR = 400
_MAX_ERROR = 1024 * 1024
"""Bytes of an upstream's error, as it came and decoded."""
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32

_LAST_WORDS_S = 1.0
"""How long a client may take to read why its stream was ended."""

Watch = Callable[[Callable[[], object]], AbstractContextManager[Stream]]
"""Has a stream ended, by the function given, when its caller may not have it any more."""


class _Cause(NamedTuple):
    """Why a stream has no end, as the error event tells it."""

    status: int
    kind: str
    message: str


_BROKE = _Cause(502, "upstream_error", "The upstream provider broke off its answer.")


_EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")


class Streamed:
    """An answer that is sent as it arrives, and can be ended without its end."""

    __slots__ = ("_framed", "_request", "_tail", "_write", "closes", "content_length", "status")

    def __init__(
        self, request: Incoming, status: int, headers: Headers, length: int | None
    ) -> None:
        """Send the head; `length` is the body's bytes, None when nobody said."""
        self._request = request
        self._write = request.client.write
        self._tail = b""
        self.status = status
        self.content_length = length
        # HTTP/1.0 knows no chunks: there the end of the connection ends the body.
        self._framed = length is None and not request.is_old
        self.closes = not request.client.stays(request)
        if length is not None:
            headers = [*headers, ("content-length", str(length))]
        elif self._framed:
            headers = [*headers, ("transfer-encoding", "chunked")]
        else:
            self.closes = True
        request.has_begun = True
        request.client.write(head(status, headers, stays=not self.closes, is_old=request.is_old))

    def write(self, data: bytes) -> bool:
        """Send a piece; False to get no other one until `drain` returns. See answer.Sink."""
        self._tail = data[-4:] if len(data) >= 4 else (self._tail + data)[-4:]  # noqa: PLR2004
        return self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._framed else data)

    async def drain(self) -> None:
        """Return when the client has taken enough of what it was sent."""
        await self._request.client.drain()

    def end(self) -> None:
        """End the body as it should end."""
        if self._framed:
            self._request.client.write(b"0\r\n\r\n")

    @property
    def takes_an_event(self) -> bool:
        """Whether a whole event can follow what was sent: not in the middle of another one.

        Nor within a length that was announced: the event would stand for what is missing.
        """
        return self.content_length is None and (not self._tail or self._tail.endswith(_EVENT_ENDS))

    def break_off(self) -> None:
        """Let the connection be closed with no final chunk, so that no client sees an end."""
        self.closes = True


async def pass_on(
    request: Incoming, upstream: Answer, stamp: Stamp, watch: Watch
) -> Whole | Streamed:
    """Send the upstream's answer to the client as it arrives, and close the upstream in any case.

    A stream is given to `watch`. Raises Rejected only while nothing has been sent.
    """
    try:
        headers = stamp.headers(for_client(upstream.headers, upstream.secrets))
        length = upstream.content_length
        if upstream.status >= _FIRST_ERROR:
            return await _error(upstream, headers, stamp)
        if upstream.has_arrived or (length is not None and length <= _AT_ONCE):
            return Whole(upstream.status, headers, await _read_whole(upstream))
        response = Streamed(request, upstream.status, headers, length)
        cause = await _stream_while_allowed(upstream, response, stamp, watch)
        if cause is not None:
            try:
                async with asyncio.timeout(_LAST_WORDS_S):
                    await _break_off(request, upstream, response, stamp, cause)
            except TimeoutError:
                request.client.abort()
        else:
            response.end()
        return response
    finally:
        # After a whole body this is the pool's again; else it is closed, and the upstream stops.
        upstream.close()


async def _error(upstream: Answer, headers: list[tuple[str, str]], stamp: Stamp) -> Whole:
    """An upstream's error, without the credential that some upstreams quote in it.

    A compressed one is sent decoded; in words of ours when it cannot be decoded and searched.
    """
    status = upstream.status
    body = await _read_whole(upstream, at_most=_MAX_ERROR)
    codings = [value for name, value in upstream.headers if name == "content-encoding"]
    coding = ", ".join(codings).strip().lower()
    if upstream.secrets and coding not in ("", "identity"):
        found = _decoded(body, coding)
        dropped = (
            {"content-encoding"} if found is not None else {"content-encoding", "content-type"}
        )
        headers = [pair for pair in headers if pair[0] not in dropped]
        if found is None:
            message = "The upstream provider's error was compressed and cannot be shown."
            kind, of = "upstream_error", stamp.request_id
            found = error_body(stamp.dialect, status, message, kind=kind, param=None, request_id=of)
            headers.append(("content-type", "application/json"))
        body = found
    for secret in upstream.secrets:
        body = body.replace(secret.encode("latin-1"), b"[redacted]")
    return Whole(status, headers, body)


def _decoded(body: bytes, coding: str) -> bytes | None:
    """What one gzip or zlib stream holds; None when it is none, more than one, or too large."""
    if coding not in ("gzip", "x-gzip", "deflate"):
        return None
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = reader.decompress(body, _MAX_ERROR)
    except zlib.error:
        return None
    return found if reader.eof and not reader.unused_data else None


async def _read_whole(upstream: Answer, at_most: int | None = None) -> bytes:
    try:
        return await upstream.whole(at_most)
    except TimeoutError:
        raise timed_out() from None
    except Broken:
        raise broken(because="The upstream provider broke off its answer.") from None


async def _stream_while_allowed(
    upstream: Answer, response: Streamed, stamp: Stamp, watch: Watch
) -> _Cause | None:
    """Pass the body on; the value is why it was not ended, None when it was."""
    task = asyncio.current_task()
    if task is None:
        msg = "a stream is passed on by a task"
        raise RuntimeError(msg)
    with watch(task.cancel) as watched:
        try:
            return None if await _stream(upstream, response, stamp) else _BROKE
        except asyncio.CancelledError:
            # The client may have left at the same time: then everything ends.
            if watched.denied is None or task.uncancel():
                raise
            shape = SHAPES[watched.denied.reason]
    log.info("stream_revoked", request_id=stamp.request_id, reason=watched.denied.reason.value)
    return _Cause(shape.status, shape.kind, "Access was revoked, so this answer has ended.")


async def _stream(upstream: Answer, response: Streamed, stamp: Stamp) -> bool:
    """Pass the body on; False when the upstream did not end it."""
    try:
        await upstream.pass_to(response)
    except (Broken, TimeoutError) as problem:
        log.warning("upstream_died", request_id=stamp.request_id, problem=str(problem))
        return False
    return True


async def _break_off(
    request: Incoming,
    upstream: Answer,
    response: Streamed,
    stamp: Stamp,
    cause: _Cause,
) -> None:
    """Tell a reader of events what happened if it can still be told, and close with no end."""
    response.break_off()
    coded = upstream.header("content-encoding") not in ("", "identity")
    is_events = upstream.header("content-type").startswith("text/event-stream") and not coded
    if is_events and response.takes_an_event:
        error = error_body(
            stamp.dialect,
            cause.status,
            cause.message,
            kind=cause.kind,
            param=None,
            request_id=stamp.request_id,
        )
        event = b"event: error\n" if stamp.dialect == "anthropic" else b""
        response.write(event + b"data: " + error + b"\n\n")
        await response.drain()
    elif request.is_old and response.content_length is None:
        # Here the end of the connection is the end of the body: only a reset tells them apart.
        request.client.reset()
