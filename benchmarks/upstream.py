"""The benchmarks' upstream: a fixed chat completion, for far less than what is measured.

It reads just enough HTTP/1.1 to find where a request ends, and nothing of what it says.
"""

import asyncio
import sys
from typing import cast

import uvloop

BODY = (
    b'{"id":"chatcmpl-benchmark","object":"chat.completion","created":1700000000,'
    b'"model":"up-model","choices":[{"index":0,"message":{"role":"assistant","content":'
    b'"The quick brown fox jumps over the lazy dog, and then it does so once more for good '
    b'measure.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":12,"completion_tokens":20,"total_tokens":32},"system_fingerprint":null}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class Upstream(asyncio.Protocol):
    """One connection: every complete request gets the one answer."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        complete = 0
        while self._take_one():
            complete += 1
        if complete and self._transport is not None:
            self._transport.write(ANSWER * complete)

    def _take_one(self) -> bool:
        """Cut one complete request off the buffer."""
        end = self._buffer.find(_END)
        if end < 0:
            return False
        head = self._buffer[:end].lower()
        assert b"\r\ntransfer-encoding:" not in head, "this upstream reads Content-Length alone"
        at = head.find(_LENGTH)
        size = 0 if at < 0 else int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        whole = end + len(_END) + size
        if len(self._buffer) < whole:
            return False
        self._buffer = self._buffer[whole:]
        return True


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
