"""Forwards management requests to keys, which decides about them; nothing is decided here."""

from urllib.parse import urlencode

import aiohttp
import structlog
from yarl import URL

from services.gateway.admission import Policy
from services.gateway.answers import Stamp
from services.gateway.errors import Rejected
from services.gateway.headers import MIN_REVISION, Inbound, caller_key
from services.gateway.routes import Kind, Route
from services.gateway.whole import Whole

log = structlog.get_logger()

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a management request: far above the largest list of models, far below an upload."""

REVISION = "x-grantgate-revision"
_PROPAGATION = "x-grantgate-propagation"
_BACK_PREFIX = "x-grantgate-"
_BACK = frozenset({"allow", "content-type", "retry-after"})
_CHANGED_BY = "litellm-changed-by"
_ONCE = "idempotency-key"
_OK = 200
_SERVER_ERROR = 500
_RETRY = (("retry-after", "1"),)

_DESCRIBE_S = 5.0


class Management:
    """The way to keys."""

    def __init__(self, session: aiohttp.ClientSession, keys_url: str, policy: Policy) -> None:
        """Forward to `keys_url` through `session`, which its maker closes."""
        self._session = session
        self._keys_url = keys_url.rstrip("/")
        self._policy = policy

    async def forward(
        self, method: str, route: Route, inbound: Inbound, body: bytes, stamp: Stamp
    ) -> Whole:
        """Answer with what keys answers; 503 when it cannot be reached. Raises Rejected.

        A write that is enforced raises the floor, so this gateway never decides below it again.
        """
        query = "?" + route.query if route.query else ""
        url = URL(self._keys_url + route.path + query, encoded=True)
        try:
            async with self._session.request(
                method,
                url,
                data=body or None,
                headers=self._headers(inbound, stamp),
                skip_auto_headers=("content-type",),
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            done = "" if method == "GET" else "; a write may or may not have been done"
            raise _unreachable(error, done) from None
        headers = [
            (name.lower(), value)
            for name, value in answer.headers.items()
            if name.lower() in _BACK or name.lower().startswith(_BACK_PREFIX)
        ]
        revision = answer.headers.get(REVISION, "")
        # A read is as of the log's head, which may not have been published.
        if answer.headers.get(_PROPAGATION) == "enforced" and revision.isdecimal():
            self._policy.saw(int(revision))
        return Whole(answer.status, stamp.headers(headers), content)

    async def shows_team(self, team_id: str, inbound: Inbound, stamp: Stamp) -> bool:
        """Whether keys shows this team to the caller. Raises Rejected when it cannot be asked."""
        path, query = "/team/info", urlencode({"team_id": team_id, "key_limit": 0})
        route = Route(kind=Kind.MANAGEMENT, methods=("GET",), path=path, label=path, query=query)
        answer = await self.forward("GET", route, inbound, b"", stamp)
        if answer.status >= _SERVER_ERROR:
            message = "The management API cannot say now who may see the team."
            raise Rejected(503, message, kind="management_unavailable", headers=_RETRY)
        return answer.status == _OK

    async def describe(self) -> bytes:
        """What keys says of its API, as OpenAPI. Raises Rejected (503)."""
        limit = aiohttp.ClientTimeout(total=_DESCRIBE_S)
        try:
            async with self._session.get(
                self._keys_url + "/openapi.json", timeout=limit, raise_for_status=True
            ) as answer:
                return await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from None

    def _headers(self, inbound: Inbound, stamp: Stamp) -> list[tuple[str, str]]:
        """One spelling of the caller's key, and the few others that mean something to keys."""
        headers = [
            ("authorization", f"Bearer {caller_key(inbound).reveal()}"),
            ("x-request-id", stamp.request_id),
        ]
        for name in ("content-type", _CHANGED_BY, MIN_REVISION):
            value = inbound.fields.get(name)
            if value is not None and value.isascii() and value.isprintable():
                headers.append((name, value))
        headers += [pair for pair in inbound.forwarded if pair[0] == _ONCE]
        return headers


def _unreachable(error: Exception, then: str = "") -> Rejected:
    log.warning("keys_unreachable", problem=type(error).__name__)
    return Rejected(
        503,
        f"The management API cannot be reached{then}.",
        kind="management_unavailable",
        headers=_RETRY,
    )
