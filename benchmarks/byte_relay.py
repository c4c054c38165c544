"""The yardstick of streams: bytes passed on between two connections, nothing of them read.

`python -m benchmarks.byte_relay PORT UPSTREAM_PORT`
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """One of two connections; what it hears the other is sent."""

    def __init__(self, upstream_port: int | None = None) -> None:
        self._upstream_port = upstream_port
        self._waiting: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        if self._upstream_port is not None:
            self._dialling = asyncio.ensure_future(self._dial(self._upstream_port))

    async def _dial(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(_Side, "127.0.0.1", port)
        upstream.other, self.other = self, upstream
        assert upstream.transport is not None
        upstream.transport.writelines(self._waiting)

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._waiting.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def _serve(port: int, upstream_port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Side(upstream_port), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
