"""The shape of every management answer: JSON, with LiteLLM's envelope around an error."""

from collections.abc import Mapping

import msgspec
from aiohttp import hdrs, web

from services.keys.errors import (
    AlreadyMember,
    AlreadyTaken,
    Conflict,
    Denied,
    Forbidden,
    InvalidRequest,
    ManagementError,
    MayNotCall,
    Mismatch,
    NotFound,
    NotPermitted,
    TooLarge,
    Unavailable,
    WrongFields,
)
from shared.decisions import DenyReason

STATUSES: Mapping[type[ManagementError], tuple[int, str]] = {
    InvalidRequest: (400, "invalid_request_error"),
    AlreadyTaken: (400, "bad_request_error"),
    AlreadyMember: (400, "team_member_already_in_team"),
    MayNotCall: (401, "auth_error"),
    NotPermitted: (401, "team_member_permission_error"),
    Forbidden: (403, "permission_denied"),
    Conflict: (409, "conflict_error"),
    NotFound: (404, "not_found_error"),
    TooLarge: (413, "invalid_request_error"),
    Mismatch: (422, "idempotency_error"),
    WrongFields: (422, "invalid_request_error"),
    Unavailable: (503, "no_db_connection"),
}
"""What each management error is in HTTP: its status and the envelope's `type`."""

DENIALS: Mapping[DenyReason, tuple[int, str]] = {
    DenyReason.KEY_UNKNOWN: (401, "token_not_found_in_db"),
    DenyReason.KEY_BLOCKED: (401, "auth_error"),
    DenyReason.KEY_EXPIRED: (401, "expired_key"),
    DenyReason.TEAM_UNKNOWN: (401, "auth_error"),
    DenyReason.TEAM_BLOCKED: (401, "auth_error"),
    DenyReason.ROUTE_NOT_ALLOWED: (403, "route_not_allowed"),
}
"""The same for the refusals of a calling key: as the gateway answers them for models."""


def management_error(error: ManagementError) -> web.Response:
    """Answer for a call that management did not carry out."""
    if isinstance(error, Denied):
        status, error_type = DENIALS[error.reason]
        response = envelope(status, error_type, error.message, error.param)
        response.headers["x-grantgate-reason"] = error.reason
        return response
    status, error_type = STATUSES[type(error)]
    if isinstance(error, WrongFields):
        return json_reply(status, {"detail": list(error.problems)})
    response = envelope(status, error_type, error.message, error.param)
    if isinstance(error, Unavailable):
        response.headers[hdrs.RETRY_AFTER] = "1"
    return response


def http_error(error: web.HTTPException) -> web.Response:
    """Answer for aiohttp: an unknown path, a wrong method."""
    unknown = error.status == web.HTTPNotFound.status_code
    kind = "not_found_error" if unknown else "invalid_request_error"
    response = envelope(error.status, kind, error.reason)
    if hdrs.ALLOW in error.headers:
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    return response


def envelope(status: int, error_type: str, message: str, param: str | None = None) -> web.Response:
    """Answer with an error in the envelope."""
    error = {"message": message, "type": error_type, "param": param, "code": str(status)}
    return json_reply(status, {"error": error})


def json_reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with a JSON body."""
    return raw_reply(status, msgspec.json.encode(body), headers)


def raw_reply(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with a body that is JSON already; an empty one is none."""
    if not body:
        return web.Response(status=status, headers=headers)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
