"""The gateway's own answers: error envelopes, model lists and health, as aiohttp responses."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.gateway.errors import Rejected
from services.gateway.refusals import error_body
from services.gateway.routes import Dialect
from services.gateway.whole import Whole

_CREATED = 1677610602
_CREATED_TEXT = "2023-02-28T18:56:42Z"
"""LiteLLM's constant: the wire wants a time of creation, and a grant has none."""

_JSON = "application/json"
_encode = msgspec.json.Encoder().encode


class Stamp:
    """What every answer to one request carries, filled in as it becomes known."""

    __slots__ = ("deployment", "dialect", "reason", "request_id", "retires_at", "revision")

    def __init__(self, request_id: str) -> None:
        """Begin with the request's id alone."""
        self.request_id = request_id
        self.dialect: Dialect = "openai"
        self.revision: int | None = None
        self.reason: str | None = None
        self.retires_at: float | None = None
        self.deployment: str | None = None

    def seen(self, revision: int) -> None:
        """Tell of a revision known here, in an answer that is as of none of its own."""
        if self.revision is None and revision:
            self.revision = revision

    def headers(self, others: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        """`others` with ours beside them; LiteLLM's clients look for theirs by its names."""
        out = [
            *others,
            ("x-request-id", self.request_id),
            ("x-litellm-call-id", self.request_id),
            ("server", "grantgate"),
        ]
        if self.deployment is not None:
            out.append(("x-litellm-model-id", self.deployment))
        if self.dialect == "anthropic":
            out.append(("request-id", self.request_id))
        if self.revision is not None:
            out.append(("x-grantgate-revision", str(self.revision)))
        if self.reason is not None:
            out.append(("x-grantgate-reason", self.reason))
        if self.retires_at is not None:
            # The caller's secret was replaced, and stops to work then.
            at = datetime.fromtimestamp(self.retires_at, UTC).isoformat(timespec="seconds")
            out.append(("x-grantgate-key-retires-at", at.replace("+00:00", "Z")))
        return out


def json_answer(
    stamp: Stamp, body: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()
) -> Whole:
    """A JSON answer of our own."""
    sent = stamp.headers(headers)
    sent.append(("content-type", _JSON))
    return Whole(status, sent, _encode(body))


def error(
    stamp: Stamp,
    status: int,
    message: str,
    *,
    kind: str,
    param: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Whole:
    """An error in the envelope the route's SDK reads."""
    body = error_body(
        stamp.dialect, status, message, kind=kind, param=param, request_id=stamp.request_id
    )
    sent = stamp.headers(headers)
    sent.append(("content-type", _JSON))
    return Whole(status, sent, body)


def rejected(stamp: Stamp, problem: Rejected) -> Whole:
    """What was wrong with the request, or on its way."""
    return error(
        stamp,
        problem.status,
        problem.message,
        kind=problem.kind,
        param=problem.param,
        headers=problem.headers,
    )


def unavailable(stamp: Stamp) -> Whole:
    """Nobody could decide: not a refusal, and worth trying again."""
    return error(
        stamp,
        503,
        "The access policy cannot be asked right now, so the request was not sent. Try again.",
        kind="policy_unavailable",
        headers=(("retry-after", "1"),),
    )


def model_list(stamp: Stamp, names: Iterable[str]) -> Whole:
    """The models a key may call, in OpenAI's shape or Anthropic's."""
    entries = [model_entry(stamp.dialect, name) for name in names]
    body: dict[str, Any] = {"data": entries, "object": "list"}
    if stamp.dialect == "anthropic":
        ends = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
        body = {"data": entries, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
    return json_answer(stamp, body)


def model_entry(dialect: Dialect, name: str) -> dict[str, object]:
    """One model as a list shows it."""
    if dialect == "anthropic":
        return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_TEXT}
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "openai"}
