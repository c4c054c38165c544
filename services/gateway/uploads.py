"""Reads a request's body within its limits of size and time."""

import asyncio

from services.gateway.errors import Rejected
from services.gateway.request_reader import Incoming

_SLOWEST = 64 * 1024
"""Bytes a second a body must come at once its first allowance of time is used up."""

_SMALL = 64 * 1024
_SOON_S = 1.0


async def read_body(request: Incoming, *, limit: int, timeout_s: float) -> bytes:
    """The whole body, at most `limit` bytes.

    It has `timeout_s` seconds, and one more for each 64 KiB that came: a large upload over a slow
    line gets through, a body that trickles does not. Raises Rejected: 400, 408, 413.
    """
    if not request.is_complete:
        try:
            await _complete(request, limit=limit, timeout_s=timeout_s)
        except TimeoutError:
            raise Rejected(408, "The request body did not come in time.", closes=True) from None
    if request.is_broken:
        raise Rejected(400, "The request body is malformed.", closes=True)
    if request.size > limit:
        raise too_large(limit)
    return request.take()


def is_large(request: Incoming) -> bool:
    """Whether a body is so large, or may be, that its sender's key is asked about first."""
    size = request.content_length
    return size is None or size > _SMALL


async def comes_soon(request: Incoming, *, limit: int, timeout_s: float) -> bool:
    """Wait for the body for a second, or less; False when it is to be waited for longer.

    Then the key is asked about first: nobody holds a place among the requests in flight for long
    without one.
    """
    try:
        await _complete(request, limit=limit, timeout_s=min(_SOON_S, timeout_s / 4))
    except TimeoutError:
        return False
    return True


async def _complete(request: Incoming, *, limit: int, timeout_s: float) -> None:
    """Return when no more of the body is to come, or wanted. Raises TimeoutError."""
    request.is_wanted = True
    request.client.read_on()
    begun = asyncio.get_running_loop().time()
    async with asyncio.timeout_at(begun + timeout_s) as deadline:
        while not (request.is_complete or request.is_broken) and request.size <= limit:
            await request.news()
            deadline.reschedule(begun + timeout_s + request.size / _SLOWEST)


def too_large(limit: int) -> Rejected:
    """413, with the limit that would have worked."""
    return Rejected(413, f"The request body is larger than {limit} bytes.", closes=True)
