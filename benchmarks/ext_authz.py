"""A policy for Envoy's HTTP ext_authz, plainly written: does the key's list have the model?

`python -m benchmarks.ext_authz PORT KEYS_FILE`
"""

import hashlib
import json
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from benchmarks.product import MODEL

_ALLOWED = web.AppKey("allowed", dict)


async def check(request: web.Request) -> web.Response:
    """200 lets Envoy go on; 403 is what its client gets."""
    secret = request.headers.get("Authorization", "").removeprefix("Bearer ")
    models = request.app[_ALLOWED].get(hashlib.sha256(secret.encode()).digest(), ())
    asked = json.loads(await request.read()).get("model")
    return web.Response(status=200 if asked in models else 403)


def main() -> None:
    """Serve until stopped, without an access log."""
    port, keys_file = int(sys.argv[1]), Path(sys.argv[2])
    app = web.Application()
    keys = keys_file.read_text().split()
    app[_ALLOWED] = {hashlib.sha256(key.encode()).digest(): frozenset({MODEL}) for key in keys}
    app.router.add_route("*", "/{path:.*}", check)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
