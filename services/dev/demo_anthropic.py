"""The demo upstream's Anthropic side: messages, and counting their tokens."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web

from services.dev.demo_wire import (
    PAUSE_S,
    BadRequest,
    Json,
    event,
    json_body,
    last_words,
    mark,
    model_of,
    reply_to,
    stream,
    tokens,
    words,
)


def refusal(error: BadRequest) -> web.Response:
    """An error in Anthropic's shape."""
    is_unknown = error.status == HTTPStatus.UNAUTHORIZED
    kind = "authentication_error" if is_unknown else "invalid_request_error"
    body = {"type": "error", "error": {"type": kind, "message": str(error)}}
    return web.json_response(body, status=error.status)


async def _read(request: web.Request) -> tuple[Json, str, str]:
    """The body, the model and what was said. Raises BadRequest as the real API refuses."""
    if "anthropic-version" not in request.headers:
        message = "anthropic-version: header is required"
        raise BadRequest(message)
    body = await json_body(request)
    model = model_of(request, body)
    if not isinstance(body.get("messages"), list):
        message = "messages: Field required"
        raise BadRequest(message)
    return body, model, last_words(body["messages"])


async def messages(request: web.Request) -> web.StreamResponse:
    """`/messages`, whole or as its stream of events."""
    body, model, said = await _read(request)
    if not isinstance(body.get("max_tokens"), int):
        message = "max_tokens: Field required"
        raise BadRequest(message)
    answer = reply_to(model, said)
    whole: Json = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": answer}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": tokens(said), "output_tokens": tokens(answer)},
        **mark(request, model),
    }
    if body.get("stream"):
        return await stream(request, _events(whole, request.app[PAUSE_S]))
    return web.json_response(whole)


async def _events(whole: Json, pause_s: float) -> AsyncIterator[bytes]:
    def step(kind: str, **members: object) -> bytes:
        return event({"type": kind, **members}, kind)

    usage = {**whole["usage"], "output_tokens": 0}
    yield step(
        "message_start",
        message={**whole, "content": [], "stop_reason": None, "usage": usage},
    )
    yield step("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield step("ping")
    for word in words(whole["content"][0]["text"]):
        await asyncio.sleep(pause_s)
        delta = {"type": "text_delta", "text": word}
        yield step("content_block_delta", index=0, delta=delta)
    yield step("content_block_stop", index=0)
    yield step(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": whole["usage"]["output_tokens"]},
    )
    yield step("message_stop")


async def count_tokens(request: web.Request) -> web.Response:
    """`/messages/count_tokens`."""
    _, model, said = await _read(request)
    return web.json_response({"input_tokens": tokens(said), **mark(request, model)})
