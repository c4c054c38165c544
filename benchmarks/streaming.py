"""`python -m benchmarks.streaming`: 1,000 streams at once; what a chunk costs, and how late it is.

Beside a relay of bytes that reads nothing, in the same run. Lateness is from the upstream's time
stamp in a chunk until the client has it. The client runs in this process, whose own delay is in it.
"""

import argparse
import asyncio
import json
import re
import shutil
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.processes import child, cpu_s, until_listening
from benchmarks.product import MODEL, product
from services.dev.ports import free_ports

_FOLDER = Path(".bench/streaming").resolve()
_RELAY = "byte relay"
_SENT = re.compile(rb'"sent": (\d+)')
_STARTING_S = 4.0
"""How long the streams take to begin; not measured."""
_MOST = 1.5


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one row."""

    cpu_us: dict[str, float]
    """Of a chunk, by process."""
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def passing_us(self) -> float:
        """Of what passes the chunks on: policy and NATS have no part in them."""
        return next(us for name, us in self.cpu_us.items() if name.startswith(("gateway", "relay")))


class _Client(asyncio.Protocol):
    """One stream: when each of its chunks came."""

    def __init__(self, request: bytes, late: list[float]) -> None:
        self._request = request
        self._late = late
        self.transport: asyncio.Transport | None = None
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.head = self.head or data[:12]
        self._late.extend((now - int(sent)) / 1e6 for sent in _SENT.findall(data))


async def _stream(port: int, key: str, streams: int, seconds: float, pids: dict[str, int]) -> Seen:
    body = json.dumps({"model": MODEL, "stream": True, "messages": []})
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    late: list[float] = []
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(streams):
        _, client = await loop.create_connection(lambda: _Client(request, late), "127.0.0.1", port)
        clients.append(client)
        await asyncio.sleep(_STARTING_S / streams / 2)
    await asyncio.sleep(_STARTING_S / 2)
    wrong = [client.head for client in clients if client.head != b"HTTP/1.1 200"]
    assert not wrong, (len(wrong), wrong[0])
    late.clear()
    before = {name: cpu_s([pid]) for name, pid in pids.items()}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    took, count = time.monotonic() - began, len(late)
    used = {name: cpu_s([pid]) - before[name] for name, pid in pids.items()}
    for client in clients:
        assert client.transport is not None
        client.transport.abort()
    late.sort()
    return Seen(
        cpu_us={name: value / count * 1e6 for name, value in used.items()},
        per_second=count / took,
        p50_ms=late[count // 2],
        p99_ms=late[count * 99 // 100],
        max_ms=late[-1],
    )


def _measure(options: argparse.Namespace) -> dict[str, list[Seen]]:
    module = (sys.executable, "-m")
    upstream_port, relay_port = free_ports(2)
    lasts = str(options.seconds + 3 * _STARTING_S)
    found: dict[str, list[Seen]] = {}
    with ExitStack() as running:
        upstream = (*module, "benchmarks.stream_upstream", str(upstream_port), lasts)
        running.enter_context(child(upstream, _FOLDER / "upstream.log"))
        until_listening(upstream_port)
        relay = (*module, "benchmarks.byte_relay", str(relay_port), str(upstream_port))
        relay_pid = running.enter_context(child(relay, _FOLDER / "relay.log"))
        until_listening(relay_port)
        ours = running.enter_context(product(_FOLDER / "ours", upstream_port, keys=1))
        key = ours.keys_file.read_text().strip()
        rows = (
            ("direct upstream", upstream_port, {}),
            (_RELAY, relay_port, {"relay": relay_pid}),
            ("Grantgate", ours.port, ours.on_path),
        )
        for _ in range(options.rounds):
            for name, port, pids in rows:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    seen = runner.run(_stream(port, key, options.streams, options.seconds, pids))
                found.setdefault(name, []).append(seen)
    return found


def main() -> int:
    """Measure the rows in turn, print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--streams", type=int, default=1000)
    options = parser.parse_args()
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    found = _measure(options)
    table = Table(title=f"{options.streams:,} streams of 5 chunks a second; medians, max of all")
    for column in ("", "chunks/s", "CPU µs a chunk", "late p50 ms", "p99 ms", "max ms"):
        table.add_column(column, justify="right" if column else "left")
    for name, rounds in found.items():
        cost = [each.passing_us for each in rounds if each.cpu_us]
        table.add_row(
            name,
            f"{statistics.median(each.per_second for each in rounds):,.0f}",
            f"{statistics.median(cost):.0f}" if cost else "",
            f"{statistics.median(each.p50_ms for each in rounds):.2f}",
            f"{statistics.median(each.p99_ms for each in rounds):.2f}",
            f"{max(each.max_ms for each in rounds):.2f}",
        )
    Console(width=110).print(table)
    pairs = zip(found["Grantgate"], found[_RELAY], strict=True)
    ratio = statistics.median(ours.passing_us / relay.passing_us for ours, relay in pairs)
    verdict = "met" if ratio <= _MOST else "NOT met"
    print(f"{verdict}: a chunk of Grantgate / of the byte relay: {ratio:.2f}, at most {_MOST}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
