"""What keys gives a policy replica when the bus cannot: the table, and changes, over HTTP."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web

from services.keys.errors import InvalidRequest
from services.keys.log_view import Entry
from services.keys.snapshots import Capture, parts
from services.keys.state import State
from shared import snapshots
from shared.changes import encode_change
from shared.credentials import SNAPSHOT_TOKEN_HEADER, Secret

_BINARY = "application/octet-stream"
_AT_ONCE = 1000


class Journal(Protocol):
    """What is given: the log and its state."""

    log_bytes: int

    async def current(self) -> State:
        """Give the state at the log's head. Raises Unavailable."""

    async def entries_after(self, rev: int, limit: int) -> Sequence[Entry]:
        """Committed entries that follow `rev`. Raises Unavailable."""


def routes(journal: Journal, token: Secret | None, new_id: Callable[[], str]) -> list[web.RouteDef]:
    """`/internal/snapshot` and `/internal/changes?after=`, for the token's holders.

    Without a token they are for callers on this machine only. It is not the gateways' token:
    policy has no business with credentials. No answer holds a secret: they are
    what goes over the bus, digests and lists.
    """

    async def snapshot(request: web.Request) -> web.StreamResponse:
        _admit(request, token)
        state = await journal.current()
        response = web.StreamResponse(headers={"Content-Type": _BINARY})
        await response.prepare(request)
        async for part in parts(Capture(state, journal.log_bytes, "", new_id())):
            await response.write(part)
        await response.write_eof()
        return response

    async def changes(request: web.Request) -> web.Response:
        _admit(request, token)
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 18):  # noqa: PLR2004 - int64
            msg = "after must be a revision"
            raise InvalidRequest(msg, "after")
        await journal.current()
        found = await journal.entries_after(int(after), _AT_ONCE)
        body = b"".join(snapshots.frame(encode_change(entry.as_change())) for entry in found)
        return web.Response(body=body, content_type=_BINARY)

    return [
        web.get("/internal/snapshot", snapshot, allow_head=False),
        web.get("/internal/changes", changes, allow_head=False),
    ]


def _admit(request: web.Request, token: Secret | None) -> None:
    """Raise a plain 404 for everybody else: there is nothing to see."""
    if token is not None:
        if token.is_told(request.headers.get(SNAPSHOT_TOKEN_HEADER, "")):
            return
    elif request.remote and _is_here(request.remote) and "x-forwarded-for" not in request.headers:
        return
    raise web.HTTPNotFound


def _is_here(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
