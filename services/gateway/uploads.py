"""Reads a request's body within its limits of size and time."""

import asyncio

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from services.gateway.errors import Rejected

_SLOWEST = 64 * 1024
"""Bytes a second a body must come at once its first allowance of time is used up."""


async def read_body(content: StreamReader, *, limit: int, timeout_s: float) -> bytes:
    """The whole body, at most `limit` bytes.

    It has `timeout_s` seconds, and one more for each 64 KiB that came: a large upload over a slow
    line gets through, a body that trickles does not. Raises Rejected: 400, 408, 413.
    """
    if content.is_eof():
        # The usual case: it came with its headers.
        data = content.read_nowait()
        if len(data) > limit:
            raise too_large(limit)
        return data
    pieces: list[bytes] = []
    size = 0
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(begun + timeout_s) as deadline:
            while piece := await content.readany():
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    raise too_large(limit)
                deadline.reschedule(begun + timeout_s + size / _SLOWEST)
    except TimeoutError:
        raise Rejected(408, "The request body did not come in time.", closes=True) from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise Rejected(400, "The request body is malformed.", closes=True) from None
    return b"".join(pieces)


def too_large(limit: int) -> Rejected:
    """413, with the limit that would have worked."""
    return Rejected(413, f"The request body is larger than {limit} bytes.", closes=True)
