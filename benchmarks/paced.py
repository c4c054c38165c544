"""Requests at a fixed rate, sent when they are due whether or not earlier ones were answered.

`python -m benchmarks.paced PORT SECONDS RATE KEYS_FILE MODEL HEADER`. What a request took counts
from when it was *due*, so that waiting for a free connection is in it, and the generator's own
lateness too: where that is not far below what is measured, the figure is an upper bound.
Rate 0 is one connection and one request after the other.
"""

import asyncio
import ctypes
import itertools
import os
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from benchmarks.load import requests

_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CHUNKED = b"transfer-encoding: chunked"
_LAST_CHUNK = b"0\r\n\r\n"
_MARK = "PACED "
_CONNECTIONS = 64
_SETTLE_S = 0.3
"""For what is loaded to have accepted all connections."""
_TICK_S = 0.0002


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """What one run saw. `late_ms` is the generator's own lateness, `unanswered` were due and
    had no answer seconds after the end."""

    sent: int
    per_second: float
    p50_ms: float
    p99_ms: float
    late_p99_ms: float
    unanswered: int
    not_2xx: int
    broken: int


def run(
    port: int, seconds: float, rate: float, keys_file: Path, model: str, header: str = ""
) -> Paced:
    """Load a port of this machine for that long, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.paced", str(port), str(seconds), str(rate)]
    command += [str(keys_file), model, header]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (line,) = [text for text in done.stdout.splitlines() if text.startswith(_MARK)]
    return msgspec.json.decode(line.removeprefix(_MARK), type=Paced)


class _Run:
    """What is free, what waits, and what was seen."""

    def __init__(self) -> None:
        self.free: deque[_Connection] = deque()
        self.waiting: deque[float] = deque()
        self.took: list[float] = []
        self.late: list[float] = []
        self.answered = asyncio.Event()
        self.not_2xx = 0
        self.broken = 0


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, seen: _Run) -> None:
        self._seen = seen
        self._buffer = b""
        self._due = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self._seen.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._seen.broken += 1

    def send(self, request: bytes, due: float) -> None:
        assert self.transport is not None
        self._due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if _CHUNKED in head:
            if not self._buffer.endswith(_LAST_CHUNK):
                return
        else:
            at = head.index(_LENGTH) + len(_LENGTH)
            if len(self._buffer) < end + len(_END) + int(head[at:].split(b"\r\n", 1)[0]):
                return
        self._seen.took.append(time.perf_counter() - self._due)
        self._seen.not_2xx += head[9:10] != b"2"
        self._buffer = b""
        self._seen.free.append(self)
        self._seen.answered.set()


async def _open(port: int, count: int) -> _Run:
    seen = _Run()
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_connection(lambda: _Connection(seen), "127.0.0.1", port)
    return seen


@contextmanager
def _ticking(every_s: float, tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` that often. The loop's own timers count in whole milliseconds: too coarse."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    ns = int(every_s * 1e9)
    libc.timerfd_settime(timer, 0, struct.pack("4q", *divmod(ns, 10**9), *divmod(ns, 10**9)), None)

    def read() -> None:
        with suppress(BlockingIOError):
            os.read(timer, 8)
            tick()

    asyncio.get_running_loop().add_reader(timer, read)
    try:
        yield
    finally:
        asyncio.get_running_loop().remove_reader(timer)
        os.close(timer)


async def _sequential(port: int, seconds: float, texts: Iterator[bytes]) -> _Run:
    seen = await _open(port, 1)
    connection = seen.free.popleft()
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        seen.answered.clear()
        connection.send(next(texts), now)
        await asyncio.wait_for(seen.answered.wait(), 10)
    return seen


async def _paced(port: int, seconds: float, rate: float, texts: Iterator[bytes]) -> _Run:
    seen = await _open(port, _CONNECTIONS)
    await asyncio.sleep(_SETTLE_S)
    began = time.perf_counter() + _TICK_S
    count = int(rate * seconds)
    number = 0

    def tick() -> None:
        nonlocal number
        now = time.perf_counter()
        while number < count and (due := began + number / rate) <= now:
            seen.waiting.append(due)
            seen.late.append(now - due)
            number += 1
        while seen.waiting and seen.free:
            seen.free.popleft().send(next(texts), seen.waiting.popleft())

    with _ticking(_TICK_S, tick):
        end = began + seconds * 2 + 5
        while len(seen.took) < count and time.perf_counter() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return seen


async def _generate(port: int, seconds: float, rate: float, texts: Iterator[bytes]) -> Paced:
    began = time.perf_counter()
    if rate:
        seen = await _paced(port, seconds, rate, texts)
    else:
        seen = await _sequential(port, seconds, texts)
    took = sorted(seen.took) or [float("inf")]
    late = sorted(seen.late) or [0.0]
    return Paced(
        sent=len(seen.took),
        per_second=len(seen.took) / (time.perf_counter() - began),
        p50_ms=took[len(took) // 2] * 1000,
        p99_ms=took[len(took) * 99 // 100] * 1000,
        late_p99_ms=late[len(late) * 99 // 100] * 1000,
        unanswered=max(0, int(rate * seconds) - len(seen.took)),
        not_2xx=seen.not_2xx,
        broken=seen.broken,
    )


def main() -> None:
    """Generate, and print what was seen as one line."""
    port, seconds, rate, keys_file, model, header = sys.argv[1:]
    keys = Path(keys_file).read_text().split()
    texts = itertools.cycle(
        list(itertools.islice(requests(int(port), keys, model, header), min(len(keys), 10_000)))
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(_generate(int(port), float(seconds), float(rate), texts))
    print(_MARK + msgspec.json.encode(seen).decode())


if __name__ == "__main__":
    main()
