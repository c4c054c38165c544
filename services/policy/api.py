"""Policy's internal HTTP: health, metrics, and the decision for people and scripts."""

import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from services.policy.responder import Responder
from shared.credentials import Secret, is_digest, is_wellformed
from shared.decisions import Allow, Behind, Deny, Listing, Question
from shared.decoding import UNDECODABLE
from shared.http import Readiness, error_body, guarded, internal_routes

_MAX_BODY = 64 * 1024


class DecideRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`key`: the secret, or its SHA-256 in hex. `model` left out asks about the account alone."""

    key: str
    model: str | None = None
    route: str = "/v1/chat/completions"
    min_revision: int = 0

    def __repr__(self) -> str:
        """Show what is asked about, and nothing of the key."""
        return f"DecideRequest(model={self.model!r}, route={self.route!r})"


_decode = msgspec.json.Decoder(DecideRequest).decode


def build(
    responder: Responder,
    readiness: Readiness,
    refresh: Callable[[], None],
    token: Secret | None,
) -> web.Application:
    """The application of port 4002; decisions are for `token`'s holders."""

    async def decide(request: web.Request) -> web.Response:
        try:
            asked = _decode(await request.read())
        except UNDECODABLE as error:
            return _error(400, str(error), "invalid_request_error")
        digest = _digest(asked.key)
        if digest is None:
            return _error(400, "key is neither a key nor a digest", "invalid_request_error")
        question = Question(digest, asked.model, asked.route, asked.min_revision)
        began = time.perf_counter()
        found = responder.answers([question])[0]
        if isinstance(found, Behind):
            return _error(503, "this replica cannot answer now", "policy_unavailable")
        spent = time.perf_counter() - began
        return web.json_response(
            {**_as_object(found), "microseconds": round(spent * 1e6, 1)},
            headers={"x-grantgate-revision": str(found.revision)},
        )

    app = web.Application(client_max_size=_MAX_BODY)
    app.add_routes(
        [*internal_routes(readiness, refresh), web.post("/v1/decide", guarded(decide, token))]
    )
    return app


def _digest(key: str) -> bytes | None:
    if is_digest(key):
        return bytes.fromhex(key)
    return Secret(key).digest() if is_wellformed(key) else None


def _as_object(answer: Allow | Deny | Listing) -> dict[str, object]:
    if isinstance(answer, Allow):
        return {
            "allow": True,
            "reason": None,
            "model": answer.model or None,
            "deployments": list(answer.deployments),
            "revision": answer.revision,
        }
    if isinstance(answer, Deny):
        return {
            "allow": False,
            "reason": answer.reason,
            "model": answer.model or None,
            "deployments": [],
            "revision": answer.revision,
        }
    return {"models": list(answer.models), "revision": answer.revision}


def _error(status: int, message: str, type_: str) -> web.Response:
    return web.Response(
        status=status,
        body=error_body(message, type_, None, status),
        content_type="application/json",
        headers={"Retry-After": "1"} if status == web.HTTPServiceUnavailable.status_code else {},
    )
