"""What the demo upstream's two dialects share: reading a request, and the mark on an answer."""

import hashlib
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from aiohttp import web

Json = dict[str, Any]

PAUSE_S = web.AppKey("pause_s", float)
"""Seconds between two events of a stream; 0 sends them as fast as they are taken."""

FINGERPRINT_DIGITS = 12
MARK = "grantgate_demo"
"""The member that every JSON answer carries: the model and the credential as they arrived."""


class BadRequest(Exception):
    """The request cannot be answered; each dialect shows it in its own error shape."""

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        """Refuse with this message and HTTP status."""
        super().__init__(message)
        self.status = status


def fingerprint(credential: str) -> str:
    """Twelve hex digits that tell one credential from another and do not give it away."""
    return hashlib.sha256(credential.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def credential(request: web.Request) -> str:
    """The credential the request came with. Raises BadRequest (401) when there is none."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    found = bearer.strip() if scheme.lower() == "bearer" else ""
    found = found or request.headers.get("x-api-key", "") or request.headers.get("api-key", "")
    if not found:
        message = "no credential: send Authorization: Bearer, x-api-key or api-key"
        raise BadRequest(message, HTTPStatus.UNAUTHORIZED)
    return found


def mark(request: web.Request, model: str) -> Json:
    """The member that shows which model and which credential reached this upstream."""
    return {MARK: {"model": model, "credential": fingerprint(credential(request))}}


async def json_body(request: web.Request) -> Json:
    """The request's JSON object. Raises BadRequest."""
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        message = f"the body is not JSON: {error}"
        raise BadRequest(message) from error
    if not isinstance(body, dict):
        message = "the body is not a JSON object"
        raise BadRequest(message)
    return body


async def form_body(request: web.Request) -> Json:
    """The fields of a multipart form; a file stands for itself by its size in bytes.

    Raises BadRequest when the request is no multipart form.
    """
    if request.content_type != "multipart/form-data":
        message = "the body is not multipart/form-data"
        raise BadRequest(message)
    form = await request.post()
    return {
        name: len(value.file.read()) if isinstance(value, web.FileField) else value
        for name, value in form.items()
    }


def model_of(request: web.Request, body: Json) -> str:
    """The model asked for: of the deployment path when there is one, else of the body."""
    model = request.match_info.get("model") or body.get("model")
    if not isinstance(model, str) or not model:
        message = "you must provide a model parameter"
        raise BadRequest(message)
    return model


def words(text: str) -> list[str]:
    """Cut a text into the pieces a stream sends; together they are the text again."""
    head, *tail = text.split(" ")
    return [head, *(f" {word}" for word in tail)]


def text_of(content: object) -> str:
    """The text in a message's content, which is a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text", "") for part in content if isinstance(part, dict))
    return " ".join(text for text in texts if isinstance(text, str))


def last_words(messages: object) -> str:
    """What the last message says."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    return text_of(last.get("content")) if isinstance(last, dict) else text_of(last)


def tokens(text: str) -> int:
    """A token count that is near enough for a demonstration: words, at least one."""
    return max(1, len(text.split()))


def reply_to(model: str, said: str) -> str:
    """The one answer this upstream gives."""
    return f"Hello from {model}! You said: {said}"


def event(data: Json, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


async def stream(request: web.Request, events: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send server-sent events as they come, to the end or until the client leaves."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    async for item in events:
        await response.write(item)
    await response.write_eof()
    return response
