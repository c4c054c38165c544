"""The yardstick: a reverse proxy as one would plainly write it with aiohttp, deciding nothing.

`python -m benchmarks.bare_proxy PORT UPSTREAM_URL`
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

_HOP = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_SESSION = web.AppKey("session", aiohttp.ClientSession)
_TARGET = web.AppKey("target", str)


async def forward(request: web.Request) -> web.StreamResponse:
    """Read the request, send it on, and pass the answer back as it arrives."""
    body = await request.read()
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
    async with request.app[_SESSION].request(
        request.method,
        request.app[_TARGET] + request.path_qs,
        data=body,
        headers=headers,
        allow_redirects=False,
    ) as upstream:
        response = web.StreamResponse(status=upstream.status)
        for name, value in upstream.headers.items():
            if name.lower() not in _HOP:
                response.headers.add(name, value)
        response.content_length = upstream.content_length
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def _session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        app[_SESSION] = session
        yield


def main() -> None:
    """Serve until stopped, without an access log."""
    port, target = int(sys.argv[1]), sys.argv[2]
    app = web.Application()
    app[_TARGET] = target
    app.cleanup_ctx.append(_session)
    app.router.add_route("*", "/{path:.*}", forward)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
