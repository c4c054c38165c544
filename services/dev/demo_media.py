"""The demo upstream's OpenAI side: vectors, pictures and sound."""

import base64
import hashlib
import io
import math
import struct
import time
import wave

from aiohttp import web

from services.dev.demo_wire import (
    BadRequest,
    Json,
    form_body,
    json_body,
    mark,
    model_of,
    tokens,
)

DIMENSIONS = 8
PIXEL_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
_SAMPLE_RATE_HZ = 8000
_SPEECH_S = 0.1


def _vector(text: str) -> list[float]:
    """A unit vector that depends on the text alone."""
    digest = hashlib.sha256(text.encode()).digest()
    raw = [byte - 127.5 for byte in digest[:DIMENSIONS]]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _inputs(given: object) -> list[str]:
    """One text per input: a text, a list of texts, a list of token ids, or a list of such."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        message = "you must provide an input parameter"
        raise BadRequest(message)
    return [repr(given)] if isinstance(given[0], int) else [str(item) for item in given]


async def embeddings(request: web.Request) -> web.Response:
    """`/embeddings`, as floats or as base64 of little-endian 32-bit floats."""
    body = await json_body(request)
    model = model_of(request, body)
    texts = _inputs(body.get("input"))
    is_packed = body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _packed(_vector(text)) if is_packed else _vector(text),
        }
        for index, text in enumerate(texts)
    ]
    count = sum(tokens(text) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    answer = {"object": "list", "data": data, "model": model, "usage": usage}
    return web.json_response({**answer, **mark(request, model)})


def _pictures(request: web.Request, body: Json) -> web.Response:
    model = model_of(request, body)
    if not body.get("prompt"):
        message = "you must provide a prompt parameter"
        raise BadRequest(message)
    pictures = [{"b64_json": PIXEL_PNG}] * int(body.get("n") or 1)
    answer = {"created": int(time.time()), "data": pictures, "model": model}
    return web.json_response({**answer, **mark(request, model)})


async def image_generations(request: web.Request) -> web.Response:
    """`/images/generations`: a picture of one pixel."""
    return _pictures(request, await json_body(request))


async def image_edits(request: web.Request) -> web.Response:
    """`/images/edits` (multipart): the same picture."""
    return _pictures(request, await form_body(request))


async def speech(request: web.Request) -> web.Response:
    """`/audio/speech`: a tenth of a second of silence, as a WAV file."""
    body = await json_body(request)
    model_of(request, body)
    if not body.get("input"):
        message = "you must provide an input parameter"
        raise BadRequest(message)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_SAMPLE_RATE_HZ)
        file.writeframes(bytes(int(_SAMPLE_RATE_HZ * _SPEECH_S) * 2))
    return web.Response(body=sound.getvalue(), content_type="audio/wav")


async def audio_text(request: web.Request) -> web.Response:
    """`/audio/transcriptions` and `/audio/translations` (multipart): how many bytes were heard."""
    body = await form_body(request)
    model = model_of(request, body)
    if not isinstance(body.get("file"), int):
        message = "you must provide a file"
        raise BadRequest(message)
    text = f"Hello from {model}! I heard {body['file']} bytes."
    marked = mark(request, model)
    form = body.get("response_format") or "json"
    if form in {"text", "srt", "vtt"}:
        return web.Response(text=f"{text}\n")
    answer: Json = {"text": text, "model": model, **marked}
    if form == "verbose_json":
        answer |= {"language": "english", "duration": 1.0, "segments": []}
    return web.json_response(answer)
