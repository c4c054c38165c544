"""The parent of a service's workers: it serves nobody, holds the ports, and answers for all."""

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus

import aiohttp
import structlog
from aiohttp import web

from shared.credentials import TOKEN_HEADER
from shared.http import Routes, error_body, health_routes, listen
from shared.service import Stopping, owned_task
from shared.workers import Service, Workers

log = structlog.get_logger()

_ANSWER_S = 1.0
_SENT_ON = ("Content-Type", TOKEN_HEADER)
_PASSED_ON = ("Content-Type", "Retry-After", "x-grantgate-revision")
_NOBODY = error_body("No worker is ready.", "api_error", None, HTTPStatus.SERVICE_UNAVAILABLE)


def _routes(workers: Workers, session: aiohttp.ClientSession) -> Routes:
    """The internal port: health and metrics of all, the rest from one of those that are ready."""

    async def pass_on(request: web.Request) -> web.Response:
        url = workers.any_ready()
        if url is not None:
            headers = {k: request.headers[k] for k in _SENT_ON if k in request.headers}
            body = await request.read()
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.request(
                    request.method, url + request.path_qs, data=body, headers=headers
                ) as answer:
                    kept = {k: answer.headers[k] for k in _PASSED_ON if k in answer.headers}
                    body = await answer.read()
                    return web.Response(status=answer.status, body=body, headers=kept)
        return web.Response(
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            body=_NOBODY,
            content_type="application/json",
            headers={"Retry-After": "1"},
        )

    return [*health_routes(workers, workers.metrics), web.route("*", "/{path:.*}", pass_on)]


async def start(service: Service, stack: AsyncExitStack, stopping: Stopping) -> None:
    """Have the workers run until `stack` ends, which waits for all of them.

    Raises ConfigError when they would end at once.
    """
    service.check()
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
        # A connection that is kept would have to be waited for when a worker stops.
        connector=aiohttp.TCPConnector(force_close=True, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    await stack.enter_async_context(session)
    workers = Workers(service, session)
    app = web.Application()
    app.add_routes(_routes(workers, session))
    await stack.enter_async_context(listen(app, service.host, service.port, what="internal"))

    def died(problem: BaseException | None) -> None:
        if not workers.fleet.is_over:
            log.error("task_ended", error=repr(problem))
            stopping.ask(1)

    running = await stack.enter_async_context(owned_task(workers.run(), "workers", died))

    async def leave() -> None:
        workers.stop()
        await asyncio.wait({running})

    stack.push_async_callback(leave)
    loop = asyncio.get_running_loop()
    rolling: set[asyncio.Task[None]] = set()

    def roll() -> None:
        task = asyncio.create_task(workers.roll())
        rolling.add(task)
        task.add_done_callback(rolling.discard)

    loop.add_signal_handler(signal.SIGHUP, workers.reload)
    loop.add_signal_handler(signal.SIGUSR2, roll)
