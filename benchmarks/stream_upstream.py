"""An upstream of streams: five chunks a second on each, every one with the time it was sent.

`python -m benchmarks.stream_upstream PORT SECONDS_A_STREAM`
"""

import asyncio
import json
import random
import sys
import time
from typing import cast

import uvloop

CHUNKS_A_SECOND = 5
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Cache-Control: no-cache\r\n\r\n"
)
_BEFORE = json.dumps({"id": "chatcmpl-benchmark", "object": "chat.completion.chunk"})[:-1]
_AFTER = ', "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": null}]}'


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class _Stream(asyncio.Protocol):
    """One connection: every request is answered by a stream."""

    def __init__(self, seconds: float) -> None:
        self._left = self._chunks = int(seconds * CHUNKS_A_SECOND)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if not data.startswith(b"POST"):
            return
        self._transport.write(_HEAD)
        self._left = self._chunks
        # Streams do not begin at the same moment, as those of many users do not.
        first = random.random() / CHUNKS_A_SECOND
        asyncio.get_running_loop().call_later(first, self._next)

    def _next(self) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if self._left == 0:
            self._transport.write(_framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            return
        self._left -= 1
        asyncio.get_running_loop().call_later(1 / CHUNKS_A_SECOND, self._next)
        text = f'data: {_BEFORE}, "sent": {time.monotonic_ns()}{_AFTER}\n\n'
        self._transport.write(_framed(text.encode()))


async def _serve(port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Stream(seconds), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
