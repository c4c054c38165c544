"""What a refusal looks like to the client who gets it: one table, total over the deny reasons."""

import msgspec

from services.gateway.routes import Dialect
from shared.credentials import masked
from shared.decisions import Deny, DenyReason, trimmed

ENTRIES_LISTED = 20
_NAME_SHOWN = 200
_encoder = msgspec.json.Encoder()


class Shape(msgspec.Struct, frozen=True):
    """Status, and the envelope's `type` and `param`."""

    status: int
    kind: str
    param: str | None = None


SHAPES: dict[DenyReason, Shape] = {
    DenyReason.KEY_UNKNOWN: Shape(401, "token_not_found_in_db", "key"),
    DenyReason.KEY_BLOCKED: Shape(401, "auth_error"),
    DenyReason.KEY_EXPIRED: Shape(401, "expired_key"),
    DenyReason.TEAM_UNKNOWN: Shape(401, "auth_error"),
    DenyReason.TEAM_BLOCKED: Shape(401, "auth_error"),
    DenyReason.ROUTE_NOT_ALLOWED: Shape(403, "route_not_allowed"),
    DenyReason.BAD_MODEL_NAME: Shape(400, "invalid_request_error", "model"),
    DenyReason.KEY_MODEL_NOT_ALLOWED: Shape(403, "key_model_access_denied", "model"),
    DenyReason.TEAM_MODEL_NOT_ALLOWED: Shape(403, "team_model_access_denied", "model"),
    DenyReason.MEMBER_MODEL_NOT_ALLOWED: Shape(403, "team_member_model_access_denied", "model"),
    DenyReason.USER_MODEL_NOT_ALLOWED: Shape(403, "user_model_access_denied", "model"),
    DenyReason.TEAM_NOT_VISIBLE: Shape(403, "team_access_denied", "team_id"),
    DenyReason.MODEL_BLOCKED: Shape(403, "model_blocked", "model"),
    DenyReason.MODEL_UNKNOWN: Shape(400, "invalid_request_error", "model"),
}

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
"""Anthropic's error type for a status; other 4xx are invalid requests, other 5xx its own fault."""


def message_for(deny: Deny, *, asked: str, route: str, list_entries: bool) -> str:
    """What was asked and what would work, in one line.

    `asked` is the model as the client named it; `list_entries` False leaves lists out.
    """
    team = shown(deny.team_label or deny.team or "")
    if deny.reason is DenyReason.TEAM_MODEL_NOT_ALLOWED:
        valid = f" Valid models for team are: {_listed(deny)}" if list_entries else ""
        return f"Invalid model for team {team}: {_named(asked, deny.model)}.{valid}"
    who = _WHOSE_LIST.get(deny.reason)
    if who is not None:
        only = f" This {who} can only access models={_listed(deny)}." if list_entries else ""
        tried = f" Tried to access {_named(asked, deny.model)}"
        return f"{who} not allowed to access model.{only}{tried}"
    if deny.reason is DenyReason.MODEL_BLOCKED:
        return f"Model is blocked: {_named(asked, deny.model)}. An admin can unblock it."
    if deny.reason is DenyReason.ROUTE_NOT_ALLOWED:
        only = f" Only allowed to call routes: {_listed(deny)}." if list_entries else ""
        return f"Virtual key is not allowed to call this route.{only} Tried to call route: {route}"
    if deny.reason is DenyReason.MODEL_UNKNOWN:
        name = _named(asked, deny.model)
        hint = "Call `/v1/models` to view available models for your key."
        return f"Invalid model name passed in model={name}. {hint}"
    return _PLAIN[deny.reason].format(team=team)


_WHOSE_LIST = {
    DenyReason.KEY_MODEL_NOT_ALLOWED: "key",
    DenyReason.MEMBER_MODEL_NOT_ALLOWED: "team member",
    DenyReason.USER_MODEL_NOT_ALLOWED: "user",
}
_PLAIN = {
    DenyReason.KEY_UNKNOWN: (
        "Authentication Error, this key is not known here: it is mistyped, or was deleted."
    ),
    DenyReason.KEY_BLOCKED: (
        "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
    ),
    DenyReason.KEY_EXPIRED: "Authentication Error - Expired Key. Ask an admin for a new one.",
    DenyReason.TEAM_UNKNOWN: "Authentication Error, Team doesn't exist. Team={team}.",
    DenyReason.TEAM_BLOCKED: (
        "Authentication Error, Team={team} is blocked. "
        "Update via `/team/unblock` if you're an admin."
    ),
    DenyReason.TEAM_NOT_VISIBLE: (
        "team_id: there is no team {team}, or this key may not see it. "
        "The team's members, its own keys and admins may."
    ),
    DenyReason.BAD_MODEL_NAME: (
        "Invalid model name: it must have 1 to 512 characters, no control character or '*', "
        "and be no key."
    ),
}


def _listed(deny: Deny) -> str:
    shown = [repr(entry) for entry in deny.entries[:ENTRIES_LISTED]]
    left = max(deny.entries_total, len(deny.entries)) - len(shown)
    if left > 0:
        shown.append(f"... and {left} more")
    return f"[{', '.join(shown)}]"


def _named(asked: str, checked: str) -> str:
    """The name the client used, and the alias's target that was checked when it is another."""
    asked = shown(trimmed(asked))
    return f"{asked} (alias of {shown(checked)})" if checked and shown(checked) != asked else asked


def shown(name: str) -> str:
    """A client's text as it may stand in a message or a log line: one line, cut, escaped.

    A key that was put in a model's place is not repeated.
    """
    name = masked(name)
    cut = name[:_NAME_SHOWN] + ("..." if len(name) > _NAME_SHOWN else "")
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode()


def error_body(
    dialect: Dialect, status: int, message: str, *, kind: str, param: str | None, request_id: str
) -> bytes:
    """The error envelope a client of this dialect understands."""
    if dialect == "anthropic":
        fallback = "invalid_request_error" if status < 500 else "api_error"  # noqa: PLR2004
        error = {"type": ANTHROPIC_TYPES.get(status, fallback), "message": message}
        return _encoder.encode({"type": "error", "error": error, "request_id": request_id})
    return _encoder.encode(
        {"error": {"message": message, "type": kind, "param": param, "code": str(status)}}
    )
