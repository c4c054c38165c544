"""The HTTP plumbing every service has: readiness, metrics, and a listening socket."""

import asyncio
import json
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Protocol

import prometheus_client
import structlog
from aiohttp import http_parser, web

from shared.credentials import TOKEN_HEADER, Secret
from shared.limiter import Limiter
from shared.listening import named, stop_accepting

log = structlog.get_logger()

_FRAMES_SHOWN = 4

UNREADABLE_PER_S = 10
"""Lines a second about requests that are no HTTP: anybody can send any number of them."""

KEEPALIVE_S = 75.0
"""How long an idle or half-opened connection lives. AppRunner's own default is over an hour."""


def refuse_without_c_parser() -> None:
    """Raise RuntimeError unless aiohttp's C parser (llhttp) is in use.

    The pure-Python parser has had request-smuggling advisories of its own.
    """
    module = http_parser.HttpRequestParser.__module__
    if module != "aiohttp._http_parser":
        msg = f"aiohttp's C HTTP parser is missing (found {module}): install a binary wheel"
        raise RuntimeError(msg)


Routes = list[web.RouteDef]


class Readiness:
    """Named conditions; the service is ready when every one of them holds."""

    def __init__(self, *parts: str) -> None:
        """Begin with every part unmet."""
        self._parts: dict[str, str] = dict.fromkeys(parts, "starting")

    def set(self, part: str, ok: bool, why: str = "not ready") -> None:
        """Record one part; a change is logged once, repeats are not."""
        now = "" if ok else why
        if self._parts.get(part) == now:
            return
        self._parts[part] = now
        log.info("readiness", part=part, ready=ok, why=now or None)

    @property
    def is_ready(self) -> bool:
        """Whether every part holds."""
        return not any(self._parts.values())

    def parts(self) -> dict[str, str]:
        """Each part with "ok" or what it lacks."""
        return {part: why or "ok" for part, why in self._parts.items()}


class Health(Protocol):
    """What tells whether a service, or any of its workers, is ready."""

    @property
    def is_ready(self) -> bool:
        """Whether it serves."""
        ...

    def parts(self) -> dict[str, str]:
        """Each part with "ok" or what it lacks."""
        ...


def health_routes(health: Health, metrics_text: Callable[[], Awaitable[bytes]]) -> Routes:
    """`/livez`, `/readyz` and `/metrics`."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        is_ready = health.is_ready
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return web.json_response({"ready": is_ready, "parts": health.parts()}, status=status)

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": prometheus_client.CONTENT_TYPE_LATEST}
        return web.Response(body=await metrics_text(), headers=headers)

    return [
        web.get("/livez", livez),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]


def internal_routes(readiness: Readiness, refresh: Callable[[], None] = lambda: None) -> Routes:
    """The same for one process; `refresh` runs before each metrics answer."""

    async def metrics_text() -> bytes:
        refresh()
        return prometheus_client.generate_latest()

    return health_routes(readiness, metrics_text)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guarded(handler: Handler, token: Secret | None, header: str = TOKEN_HEADER) -> Handler:
    """`handler` for who shows `token` in `header`; 401 for everybody else, and without a token.

    A wrong token and none are answered alike, before anything of the request is looked at.
    """
    cure = "" if token is not None else ", and this service was given none to compare it with"
    refusal = error_body(f"This needs the token of {header}{cure}.", "auth_error", None, 401)

    async def handle(request: web.Request) -> web.StreamResponse:
        if token is not None and token.is_told(request.headers.get(header, "")):
            return await handler(request)
        return web.Response(status=401, body=refusal, content_type="application/json")

    return handle


def error_body(message: str, type_: str, param: str | None, status: int) -> bytes:
    """OpenAI's error envelope with LiteLLM's values: `code` is the status as a string."""
    error = {"message": message, "type": type_, "param": param, "code": str(status)}
    return json.dumps({"error": error}).encode()


class QuietConnection(web.RequestHandler):
    """A client connection whose errors are told in our words: aiohttp's quote header lines."""

    __slots__ = ("_unreadable",)

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        unreadable: Limiter,
        lingering_time: float = 10.0,
    ) -> None:
        """Belong to `server`; a refused body is still read for `lingering_time` seconds.

        `unreadable` bounds the lines about requests that cannot be parsed.
        """
        self._unreadable = unreadable
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEPALIVE_S,
            auto_decompress=False,  # a compressed body is refused, so it need not be unpacked
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp is told: no access log
            lingering_time=lingering_time,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what could not be parsed or handled; the connection ends with it.

        Raises ConnectionError when an answer has begun.
        """
        is_theirs = status < 500  # noqa: PLR2004
        if is_theirs:
            held_back = self._unreadable.let(time.monotonic())
            if held_back is not None:
                problem = type(exc).__name__
                log.info("request_unreadable", status=status, problem=problem, suppressed=held_back)
        elif not isinstance(exc, ConnectionError):
            log.error("request_failed", problem=type(exc).__name__, where=where(exc))
        if request.writer.output_size > 0:
            msg = "the response has begun"
            raise ConnectionError(msg)
        text = "The request is not well-formed HTTP." if is_theirs else "Internal error."
        kind = "invalid_request_error" if is_theirs else "api_error"
        response = web.Response(
            status=status,
            body=error_body(text, kind, None, status),
            content_type="application/json",
            headers={"Server": "grantgate"},
        )
        response.force_close()
        return response

    def log_exception(self, *args: object, **kwargs: object) -> None:  # noqa: ARG002
        """Log which exception and where, never its text."""
        found = kwargs.get("exc_info")
        exc = found if isinstance(found, BaseException) else None
        log.error("connection_failed", problem=type(exc).__name__, where=where(exc))


def where(exc: BaseException | None) -> list[str]:
    """The innermost places an exception came through, without the values that stood there."""
    trace: TracebackType | None = None if exc is None else exc.__traceback__
    frames = traceback.extract_tb(trace)[-_FRAMES_SHOWN:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


IDLE_GRACE_S = 0.5
"""How long a stopping server leaves idle connections open, so that the next request on each is
answered, with word that it was the last, instead of meeting a connection that just closed."""


class Port:
    """An open port. `number` is where; `close` may be called before the block ends."""

    def __init__(self, number: int, server: asyncio.Server, runner: web.BaseRunner) -> None:
        """Belong to `server`, whose connections are `runner`'s."""
        self.number = number
        self._server = server
        self._runner = runner
        self.is_closing = False

    async def close(self) -> None:
        """Accept nothing more; what is in flight ends, or is cut off after the drain limit."""
        if self.is_closing:
            return
        self.is_closing = True
        await stop_accepting(self._server)
        await until_none(self._runner.server, IDLE_GRACE_S)
        await self._runner.cleanup()


async def until_none(server: web.Server | None, limit_s: float) -> None:
    """Return when `server` has no connection, or after `limit_s` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while server is not None and server.connections and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@asynccontextmanager
async def listen(
    app: web.Application,
    host: str,
    port: int,
    *,
    what: str = "http",
    reuse_port: bool = False,
    drain_s: float = 5.0,
) -> AsyncIterator[Port]:
    """Serve on host:port (0 picks one) and drain on the way out, for `drain_s` seconds at most."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=drain_s)
    opened: list[Port] = []

    async def say_when_last(_: web.Request, response: web.StreamResponse) -> None:
        if opened and opened[0].is_closing:
            response.force_close()

    app.on_response_prepare.append(say_when_last)
    await runner.setup()
    try:
        connections = runner.server
        if connections is None:
            msg = "a runner that was set up has a server"
            raise RuntimeError(msg)
        loop = asyncio.get_running_loop()
        unreadable = Limiter(UNREADABLE_PER_S)
        with named(host, port):
            server = await loop.create_server(
                lambda: QuietConnection(connections, loop=loop, unreadable=unreadable),
                host,
                port,
                reuse_port=reuse_port or None,
            )
        opened.append(Port(server.sockets[0].getsockname()[1], server, runner))
        log.info("listening", what=what, host=host, port=opened[0].number)
        try:
            yield opened[0]
        finally:
            await opened[0].close()
    finally:
        await runner.cleanup()
