"""A provider to try Grantgate against: it speaks OpenAI's and Anthropic's APIs and knows no secret.

Every JSON answer says which model was asked for and shows a fingerprint of the credential, so one
can see what a gateway in front of it sent. `python -m services.dev.demo_upstream` serves it on
GRANTGATE_DEMO_HOST (127.0.0.1) and GRANTGATE_DEMO_PORT (4010); GRANTGATE_DEMO_PAUSE_S is the time
between two events of a stream (0). It takes any credential.
"""

import os
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web

from services.dev import demo_anthropic, demo_media, demo_openai
from services.dev.demo_wire import PAUSE_S, BadRequest, credential

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 64 * 1024 * 1024
SHUTDOWN_S = 2.0

OPENAI: dict[str, Handler] = {
    "/chat/completions": demo_openai.chat,
    "/completions": demo_openai.completions,
    "/responses": demo_openai.responses,
    "/moderations": demo_openai.moderations,
    "/rerank": demo_openai.rerank,
    "/embeddings": demo_media.embeddings,
    "/images/generations": demo_media.image_generations,
    "/images/edits": demo_media.image_edits,
    "/audio/speech": demo_media.speech,
    "/audio/transcriptions": demo_media.audio_text,
    "/audio/translations": demo_media.audio_text,
}
ANTHROPIC: dict[str, Handler] = {
    "/messages": demo_anthropic.messages,
    "/messages/count_tokens": demo_anthropic.count_tokens,
}


def _guarded(handler: Handler, refusal: Callable[[BadRequest], web.Response]) -> Handler:
    """Answer a bad request, or one without a credential, in its API's own error shape."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            credential(request)
            return await handler(request)
        except BadRequest as error:
            return refusal(error)

    return guarded


def build(pause_s: float = 0.0) -> web.Application:
    """The demo upstream as an application; `pause_s` is the time between a stream's events."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[PAUSE_S] = pause_s
    for path, handler in OPENAI.items():
        served = _guarded(handler, demo_openai.refusal)
        app.router.add_post(f"/v1{path}", served)
        app.router.add_post(f"/openai/deployments/{{model}}{path}", served)
    for path, handler in ANTHROPIC.items():
        app.router.add_post(f"/v1{path}", _guarded(handler, demo_anthropic.refusal))
    app.router.add_get("/v1/models", demo_openai.models)
    app.router.add_get("/v1/models/{name:.+}", demo_openai.model)
    return app


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    host = os.environ.get("GRANTGATE_DEMO_HOST", "127.0.0.1")
    port = int(os.environ.get("GRANTGATE_DEMO_PORT", "4010"))
    print(f"demo upstream on http://{host}:{port}/v1", file=sys.stderr, flush=True)
    web.run_app(
        build(float(os.environ.get("GRANTGATE_DEMO_PAUSE_S", "0"))),
        host=host,
        port=port,
        print=None,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        handler_cancellation=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
