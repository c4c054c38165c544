"""What keys gives a policy replica when the bus cannot: the table, and changes, over HTTP."""

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
from shared.http import guarded

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

    It is not the gateways' token: policy has no business with credentials. No answer holds a
    secret: they are what goes over the bus, digests and lists.
    """

    async def snapshot(request: web.Request) -> web.StreamResponse:
        state = await journal.current()
        response = web.StreamResponse(headers={"Content-Type": _BINARY})
        await response.prepare(request)
        async for part in parts(Capture(state, journal.log_bytes, "", new_id())):
            await response.write(part)
        await response.write_eof()
        return response

    async def changes(request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 18):  # noqa: PLR2004 - int64
            msg = "after must be a revision"
            raise InvalidRequest(msg, "after")
        await journal.current()
        found = await journal.entries_after(int(after), _AT_ONCE)
        body = b"".join(snapshots.frame(encode_change(entry.as_change())) for entry in found)
        return web.Response(body=body, content_type=_BINARY)

    return [
        web.get(path, guarded(handler, token, SNAPSHOT_TOKEN_HEADER), allow_head=False)
        for path, handler in (("/internal/snapshot", snapshot), ("/internal/changes", changes))
    ]
