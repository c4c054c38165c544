"""What a management call carries over HTTP: one credential, a query, a JSON body."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from services.keys.errors import InvalidRequest, TooLarge
from shared.credentials import Secret

MAX_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 30.0
MIN_REVISION = "x-grantgate-min-revision"
_REVISION = re.compile(r"[0-9]{1,18}")
_ACTOR = re.compile(r"[\x21-\x7e]{1,128}")
_SHOWN = 64
_CREDENTIAL_HEADERS = ("Authorization", "x-api-key", "api-key", "x-litellm-api-key")


class Refused(Exception):
    """A call that ends before management sees it: its credential, method or media type."""

    def __init__(
        self, status: int, error_type: str, message: str, param: str | None = None
    ) -> None:
        """Give the answer's status and the envelope's `type`, `message` and `param`."""
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.param = param


def unauthorised(message: str) -> Refused:
    """Make the refusal of a credential."""
    return Refused(401, "auth_error", f"Authentication Error, {message}")


def credential(request: web.Request) -> Secret:
    """Give the one credential a request carries. Raises Refused."""
    if len(request.headers.getall(hdrs.AUTHORIZATION, [])) > 1:
        msg = "More than one Authorization header."
        raise unauthorised(msg)
    found = set()
    for header in _CREDENTIAL_HEADERS:
        for value in request.headers.getall(header, []):
            found.add(_bearer(value) if header == hdrs.AUTHORIZATION else value.strip())
    found.discard("")
    if not found:
        msg = "No api key passed in."
        raise unauthorised(msg)
    if len(found) > 1:
        msg = "Different credentials in one request."
        raise unauthorised(msg)
    value = found.pop()
    # aiohttp lets bytes that are no UTF-8 through as surrogates, which have no digest.
    if not value.isascii():
        msg = "Malformed API Key passed in. Keys are ASCII."
        raise unauthorised(msg)
    return Secret(value)


def _bearer(value: str) -> str:
    scheme, _, credential = value.strip().partition(" ")
    if scheme.casefold() != "bearer":
        msg = "Malformed API Key passed in. Ensure Key has `Bearer ` prefix."
        raise unauthorised(msg)
    return credential.strip()


def wait_asked(request: web.Request) -> bool:
    """Whether the caller wants the answer only once the change is in force (the default).

    Raises InvalidRequest, as `check_query` does.
    """
    check_query(request, "wait")
    value = request.query.get("wait", "1")
    if value not in ("0", "1"):
        msg = "wait must be 0 or 1"
        raise InvalidRequest(msg, "wait")
    return value == "1"


def least_revision(request: web.Request) -> int:
    """Give the revision the answer must not be older than, 0 for any. Raises InvalidRequest."""
    sent = request.headers.getall(MIN_REVISION, [])
    if sent and (len(sent) > 1 or not _REVISION.fullmatch(sent[0])):
        msg = f"{MIN_REVISION} must be one non-negative integer"
        raise InvalidRequest(msg, MIN_REVISION)
    return int(sent[0]) if sent else 0


def check_query(request: web.Request, *known: str) -> None:
    """Raise InvalidRequest when a call that takes its fields in a body has others in its query."""
    for name in query_values(request):
        if name not in known:
            msg = f"{name[:_SHOWN]}: fields of this call go in its JSON body, not in the query"
            raise InvalidRequest(msg, name[:_SHOWN])


def query_values(request: web.Request) -> dict[str, str]:
    """Give the query's values; one that occurs twice has two readings. Raises InvalidRequest."""
    values = dict(request.query)
    if len(values) != len(request.query):
        msg = "A query parameter occurs twice"
        raise InvalidRequest(msg, "query")
    return values


async def read(request: web.Request) -> bytes:
    """Read a JSON body. Raises Refused, TooLarge."""
    if hdrs.CONTENT_ENCODING in request.headers:
        raise Refused(415, "invalid_request_error", "Content-Encoding is not supported")
    declared = request.headers.getall(hdrs.CONTENT_TYPE, ["application/json"])
    if len(declared) > 1 or not _is_json(declared[0], request.charset):
        raise Refused(415, "invalid_request_error", "Content-Type must be application/json")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise TooLarge(MAX_BODY_BYTES)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise TooLarge(MAX_BODY_BYTES)
    except TimeoutError as error:
        msg = f"The request body did not arrive within {BODY_TIMEOUT_S:g} s"
        raise Refused(408, "invalid_request_error", msg) from error
    return bytes(body)


def _is_json(content_type: str, charset: str | None) -> bool:
    media_type = content_type.partition(";")[0].strip().casefold()
    return media_type == "application/json" and (charset or "utf-8").casefold() == "utf-8"


def changed_by(request: web.Request) -> str:
    """Give who an admin says the call is made for."""
    changed_by = request.headers.get("litellm-changed-by", "")
    return changed_by if _ACTOR.fullmatch(changed_by) else ""


def with_path(
    members: Mapping[str, Any], request: web.Request, named: str | None
) -> dict[str, Any]:
    """Add the field that stands in the path. Raises InvalidRequest when the body says another."""
    if named is None:
        return dict(members)
    in_path = request.match_info[named]
    if members.get(named, in_path) != in_path:
        msg = f"{named}: the path and the body name different ones"
        raise InvalidRequest(msg, named)
    return {**members, named: in_path}
