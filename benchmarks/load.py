"""The load: Debian's wrk, or a small generator of our own where it is absent.

`python -m benchmarks.load PORT SECONDS CONNECTIONS KEYS_FILE MODEL HEADER` is the small one.
"""

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import uvloop

SCRIPT = Path(__file__).with_name("chat.lua")
_MARK = "RESULT "
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of the generator saw. `broken` are connections lost and answers too late."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    not_2xx: int
    broken: int


def generator() -> str:
    """Which generator will be used."""
    return "wrk" if shutil.which("wrk") else "built-in"


def run(
    port: int, seconds: float, connections: int, keys_file: Path, model: str, header: str = ""
) -> Load:
    """Load a port of this machine for that long, in a process of its own."""
    wrk = shutil.which("wrk")
    if wrk is None:
        command = [sys.executable, "-m", "benchmarks.load", str(port), str(seconds)]
        command += [str(connections), str(keys_file), model, header]
    else:
        command = [
            wrk,
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "5s",
        ]
        command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--"]
        command += [str(keys_file), model, header]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (line,) = [text for text in done.stdout.splitlines() if text.startswith(_MARK)]
    return msgspec.json.decode(line.removeprefix(_MARK), type=Load)


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last is whole."""

    def __init__(self, requests: Iterator[bytes], took: list[float]) -> None:
        self._requests = requests
        self._took = took
        self._buffer = b""
        self._began = 0.0
        self.not_2xx = 0
        self.is_broken = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.is_broken = True

    def _send(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(_LENGTH) + len(_LENGTH)
        if len(self._buffer) < end + len(_END) + int(head[at:].split(b"\r\n", 1)[0]):
            return
        self._took.append(time.perf_counter() - self._began)
        self.not_2xx += head[9:10] != b"2"
        self._buffer = b""
        self._send()


def requests(port: int, keys: list[str], model: str, header: str = "") -> Iterator[bytes]:
    """Chat requests without end, each with the next key; `header` is whole lines to add."""
    said = [{"role": "user", "content": "Say something about a fox and a dog."}]
    body = json.dumps({"model": model, "messages": said, "temperature": 0.2})
    for key in itertools.cycle(keys):
        yield (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Accept: application/json\r\nUser-Agent: bench\r\nAuthorization: Bearer {key}\r\n"
            f"{header}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


async def _generate(
    port: int, seconds: float, connections: int, keys: list[str], model: str, header: str
) -> Load:
    texts = requests(port, keys, model, header)
    took: list[float] = []
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    opened = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(
            lambda: _Connection(texts, took), "127.0.0.1", port
        )
        opened.append(protocol)
    await asyncio.sleep(seconds)
    took_all = sorted(took)
    return Load(
        requests=len(took_all),
        seconds=time.perf_counter() - began,
        p50_ms=took_all[len(took_all) // 2] * 1000,
        p99_ms=took_all[len(took_all) * 99 // 100] * 1000,
        not_2xx=sum(protocol.not_2xx for protocol in opened),
        broken=sum(protocol.is_broken for protocol in opened),
    )


def main() -> None:
    """Generate, and print what was seen as one line."""
    port, seconds, connections, keys_file, model, header = sys.argv[1:]
    keys = Path(keys_file).read_text().split()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(
            _generate(int(port), float(seconds), int(connections), keys, model, header)
        )
    print(_MARK + msgspec.json.encode(seen).decode())


if __name__ == "__main__":
    main()
