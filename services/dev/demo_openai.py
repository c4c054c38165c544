"""The demo upstream's OpenAI side: text. Media and the rest are in `demo_media`."""

import asyncio
import time
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
    text_of,
    tokens,
    words,
)

MODELS = ("demo-small", "demo-large", "text-embedding-demo")
"""What `/v1/models` lists; every other name is answered all the same."""

DONE = b"data: [DONE]\n\n"


def refusal(error: BadRequest) -> web.Response:
    """An error in OpenAI's shape."""
    kind = "authentication_error" if error.status == HTTPStatus.UNAUTHORIZED else None
    body = {"message": str(error), "type": kind or "invalid_request_error"}
    return web.json_response({"error": {**body, "param": None, "code": None}}, status=error.status)


def _usage(said: str, answer: str) -> Json:
    asked, given = tokens(said), tokens(answer)
    return {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}


def _wants_usage(body: Json) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


async def chat(request: web.Request) -> web.StreamResponse:
    """`/chat/completions`, whole or streamed."""
    body = await json_body(request)
    model = model_of(request, body)
    if not isinstance(body.get("messages"), list):
        message = "you must provide a messages parameter"
        raise BadRequest(message)
    said = last_words(body["messages"])
    answer = reply_to(model, said)
    head = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": model,
        **mark(request, model),
    }
    if body.get("stream"):
        usage = _usage(said, answer) if _wants_usage(body) else None
        head["object"] = "chat.completion.chunk"
        return await stream(request, _chat_chunks(head, answer, usage, request.app[PAUSE_S]))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    head["object"] = "chat.completion"
    return web.json_response({**head, "choices": [choice], "usage": _usage(said, answer)})


async def _chat_chunks(
    head: Json, answer: str, usage: Json | None, pause_s: float
) -> AsyncIterator[bytes]:
    def chunk(delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for word in words(answer):
        await asyncio.sleep(pause_s)
        yield chunk({"content": word})
    yield chunk({}, "stop")
    if usage is not None:
        yield event({**head, "choices": [], "usage": usage})
    yield DONE


async def completions(request: web.Request) -> web.StreamResponse:
    """`/completions`, whole or streamed."""
    body = await json_body(request)
    model = model_of(request, body)
    prompt = body.get("prompt", "")
    said = prompt if isinstance(prompt, str) else " ".join(map(str, prompt))
    answer = reply_to(model, said)
    head = {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        **mark(request, model),
    }

    def choice(text: str, finish: str | None) -> Json:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}

    async def chunks() -> AsyncIterator[bytes]:
        for word in words(answer):
            await asyncio.sleep(request.app[PAUSE_S])
            yield event({**head, "choices": [choice(word, None)]})
        yield event({**head, "choices": [choice("", "stop")]})
        if _wants_usage(body):
            yield event({**head, "choices": [], "usage": _usage(said, answer)})
        yield DONE

    if body.get("stream"):
        return await stream(request, chunks())
    whole = {"choices": [choice(answer, "stop")], "usage": _usage(said, answer)}
    return web.json_response({**head, **whole})


def _response_object(request: web.Request, body: Json, model: str) -> Json:
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
        **mark(request, model),
    }


async def responses(request: web.Request) -> web.StreamResponse:
    """`/responses`, whole or as its stream of events."""
    body = await json_body(request)
    model = model_of(request, body)
    given = body.get("input", "")
    said = given if isinstance(given, str) else last_words(given)
    answer = reply_to(model, said)
    begun = _response_object(request, body, model)
    usage = {
        "input_tokens": tokens(said),
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens(answer),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens(said) + tokens(answer),
    }
    item = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant"}
    part = {"type": "output_text", "text": answer, "annotations": []}
    message = {**item, "status": "completed", "content": [part]}
    ended = {**begun, "status": "completed", "output": [message], "usage": usage}
    if body.get("stream"):
        return await stream(request, _response_events(begun, ended, request.app[PAUSE_S]))
    return web.json_response(ended)


async def _response_events(begun: Json, ended: Json, pause_s: float) -> AsyncIterator[bytes]:
    message = ended["output"][0]
    part = message["content"][0]
    number = -1

    def step(kind: str, **members: object) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **members}, kind)

    where = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    empty_message = {**message, "status": "in_progress", "content": []}
    yield step("response.created", response=begun)
    yield step("response.in_progress", response=begun)
    yield step("response.output_item.added", output_index=0, item=empty_message)
    yield step("response.content_part.added", **where, part={**part, "text": ""})
    for word in words(part["text"]):
        await asyncio.sleep(pause_s)
        yield step("response.output_text.delta", **where, delta=word, logprobs=[])
    yield step("response.output_text.done", **where, text=part["text"], logprobs=[])
    yield step("response.content_part.done", **where, part=part)
    yield step("response.output_item.done", output_index=0, item=message)
    yield step("response.completed", response=ended)


async def moderations(request: web.Request) -> web.Response:
    """`/moderations`: nothing is ever flagged."""
    body = await json_body(request)
    model = model_of(request, body)
    given = body.get("input", "")
    texts = given if isinstance(given, list) else [given]
    names = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
    result = {
        "flagged": False,
        "categories": dict.fromkeys(names, False),
        "category_scores": dict.fromkeys(names, 0.0),
        "category_applied_input_types": {name: ["text"] for name in names},
    }
    answer = {"id": f"modr-{uuid.uuid4().hex}", "model": model, "results": [result] * len(texts)}
    return web.json_response({**answer, **mark(request, model)})


async def rerank(request: web.Request) -> web.Response:
    """`/rerank`: documents that share words with the query come first."""
    body = await json_body(request)
    model = model_of(request, body)
    documents = body.get("documents")
    if not isinstance(documents, list):
        message = "you must provide a documents parameter"
        raise BadRequest(message)
    wanted = set(str(body.get("query", "")).lower().split())
    texts = [text_of([item]) if isinstance(item, dict) else str(item) for item in documents]
    scores = [len(wanted & set(text.lower().split())) / (len(wanted) or 1) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    top = body.get("top_n")
    results = [
        {"index": index, "relevance_score": scores[index], "document": {"text": texts[index]}}
        for index in order[: top if isinstance(top, int) else None]
    ]
    answer = {"id": uuid.uuid4().hex, "model": model, "results": results}
    return web.json_response({**answer, **mark(request, model)})


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "grantgate-demo"}


async def models(_: web.Request) -> web.Response:
    """`GET /models`."""
    return web.json_response({"object": "list", "data": [_model(name) for name in MODELS]})


async def model(request: web.Request) -> web.Response:
    """`GET /models/{id}`."""
    return web.json_response(_model(request.match_info["name"]))
