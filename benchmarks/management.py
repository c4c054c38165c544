"""`python -m benchmarks.management`: half a million keys under the management API.

Filled through keys' own journal, then read from a keys that was started on them; and the same
calls in process, where only their own time counts.
"""

import argparse
import asyncio
import gc
import http.client
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.many_keys import KEYS_A_TEAM, NOW, digest, key, questions, records
from benchmarks.processes import child, cpu_s, rss_mib, until_listening, until_ready
from benchmarks.product import MASTER_KEY, fill, plan
from services.keys.endpoints import READS
from services.keys.management import Context
from services.keys.reading import read_query
from services.keys.records import KeyRecord
from services.keys.state import State
from shared.catalogue import Deployment
from shared.changes import Tombstone

FOLDER = Path(".bench")
_KEYS = 500_000
_PER_CHANGE = 2500
_CALLS = 200
_WRITES = 2000
_MS = 1000


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a state in process came to; times of calls and writes are processor time in ms."""

    bytes_a_key: float
    built_s: float
    collect_ms: float
    calls: dict[str, tuple[float, float]]
    writes: dict[str, tuple[float, float]]


def _spread(times: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(times), sorted(times)[len(times) * 99 // 100]


def _in_process(keys: int) -> Figures:
    looks = {read.path: read for read in READS if read.method == "GET"}
    gc.collect()
    before = rss_mib([os.getpid()])
    state = State()
    names = ("gpt-4", "gpt-3.5-turbo")
    state.fold(1, [Deployment(id=name, name=name) for name in names])
    for record in records(keys):
        state.fold(state.rev + 1, (record,))
    began = time.thread_time()
    state.index.build()
    built_s = time.thread_time() - began
    gc.collect()
    grown = rss_mib([os.getpid()]) - before
    began = time.thread_time()
    gc.collect()
    collect_ms = (time.thread_time() - began) * _MS
    calls = {}
    context = Context(now=NOW, actor="bench", choose=random.choice, new_id=str)
    for name, (path, make) in questions(keys).items():
        read, chance, times = looks[path], random.Random(name), []
        for _ in range(_CALLS):
            query = make(chance)
            began = time.thread_time()
            typed = read_query(query, read.request)
            msgspec.json.encode(read.look(state, typed, context))
            times.append((time.thread_time() - began) * _MS)
        calls[name] = _spread(times)
    return Figures(
        bytes_a_key=grown * 1024 * 1024 / keys,
        built_s=built_s,
        collect_ms=collect_ms,
        calls=calls,
        writes={name: _spread(times) for name, times in _writes(state, keys).items()},
    )


def _writes(state: State, keys: int) -> Mapping[str, Sequence[float]]:
    """What one change of one key costs the state, with every index built."""
    times: dict[str, list[float]] = {"a new key": [], "an update": [], "a deletion": []}
    chance = random.Random(keys)
    for number in range(keys, keys + _WRITES):
        old = state.keys[digest(chance.randrange(keys))]
        details = msgspec.structs.replace(old.details, updated_at=NOW + number, spend=1.5)
        for name, write in (
            ("a new key", key(number)),
            ("an update", KeyRecord(grant=old.grant, details=details)),
            ("a deletion", Tombstone(of="key", id=digest(number))),
        ):
            began = time.thread_time()
            state.fold(state.rev + 1, (write,))
            times[name].append((time.thread_time() - began) * _MS)
    return times


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a keys on the filled log came to: `cpu_ms` is its processor time a call."""

    filled_s: tuple[float, float]
    """Seconds to fill, and of those of our processor time."""
    ready_s: tuple[float, float]
    rss: tuple[float, float]
    """MiB of an empty keys, and of this one."""
    calls: dict[str, tuple[float, float, float]]
    """Wall ms, median and 99th percentile; processor ms in the mean."""


def _served(folder: Path, keys: int) -> Served:
    """Fill a log; start keys on it; call it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    planned, _ = plan(folder, 9, 1, {})
    with ExitStack() as running:
        for command in planned.servers:
            if command.name != "demo":
                log = folder / f"{command.name}.log"
                running.enter_context(child(command.argv, log, command.environ, command.cwd))
        for port in planned.listening[1:]:
            until_listening(port)
        (command,) = (command for command in planned.services if command.name == "keys")

        def start() -> int:
            log = folder / "keys.log"
            pid = keys_runs.enter_context(child(command.argv, log, command.environ, command.cwd))
            until_ready(planned.ready["keys"])
            return pid

        with ExitStack() as keys_runs:
            empty = rss_mib([start()])
        made = tuple(records(keys))
        began, of_ours = time.monotonic(), time.process_time()
        asyncio.run(fill(command.environ["GRANTGATE_MONGO_URL"], made, _PER_CHANGE))
        filled = (time.monotonic() - began, time.process_time() - of_ours)
        with ExitStack() as keys_runs:
            began = time.monotonic()
            pid = start()
            ready = (time.monotonic() - began, cpu_s([pid]))
            port = urlsplit(planned.ready["keys"]).port or 0
            calls = _over_http(port, pid, keys)
            rss = rss_mib([pid])
    return Served(filled_s=filled, ready_s=ready, rss=(empty, rss), calls=calls)


def _over_http(port: int, pid: int, keys: int) -> dict[str, tuple[float, float, float]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    calls = {}
    for name, (path, make) in questions(keys).items():
        chance, times, before = random.Random(name), [], cpu_s([pid])
        for _ in range(_CALLS):
            query = urlencode(make(chance))
            began = time.perf_counter()
            connection.request("GET", f"{path}?{query}", headers=headers)
            answer = connection.getresponse()
            answer.read()
            times.append((time.perf_counter() - began) * _MS)
            assert answer.status == 200, (name, answer.status)
        calls[name] = (*_spread(times), (cpu_s([pid]) - before) / _CALLS * _MS)
    return calls


def _show(keys: int, alone: Figures, served: Served) -> None:
    console = Console(width=130)
    shown = Table(title=f"{keys:,} keys in {keys // KEYS_A_TEAM:,} teams; ms a call")
    columns = ("CPU p50, in process", "CPU p99", "wall p50, HTTP", "wall p99", "CPU of keys")
    for column in ("call", *columns):
        shown.add_column(column, justify="left" if column == "call" else "right")
    for name in alone.calls:
        row = (*alone.calls[name], *served.calls[name])
        shown.add_row(name, *(f"{value:.2f}" for value in row))
    console.print(shown)
    shown = Table(title="A change of one key, in process, every index built; CPU ms")
    for column in ("change", "p50", "p99"):
        shown.add_column(column)
    for name, values in alone.writes.items():
        shown.add_row(name, *(f"{value:.3f}" for value in values))
    console.print(shown)
    filled, ready = served.filled_s, served.ready_s
    console.print(f"filled in {filled[0]:.1f} s, {filled[1]:.1f} s of them ours:", end=" ")
    console.print(f"{keys / filled[0]:,.0f} keys/s")
    console.print(f"keys ready {ready[0]:.1f} s after its start, of CPU {ready[1]:.1f} s")
    console.print(f"RSS of keys: {served.rss[0]:.0f} MiB empty, {served.rss[1]:.0f} MiB filled")
    console.print(f"in process: {alone.bytes_a_key:.0f} bytes a key, team included;", end=" ")
    console.print(f"indexes built in {alone.built_s:.1f} s; gc.collect {alone.collect_ms:.0f} ms")


def main() -> int:
    """Measure in process, then over HTTP; print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.management", description=__doc__)
    parser.add_argument("--keys", type=int, default=_KEYS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(msgspec.json.encode(_in_process(options.keys)).decode())
        return 0
    command = [sys.executable, "-m", "benchmarks.management", "--one", "--keys", str(options.keys)]
    done = subprocess.run(command, check=True, capture_output=True)
    alone = msgspec.json.decode(done.stdout, type=Figures)
    served = _served((FOLDER / "management").resolve(), options.keys)
    _show(options.keys, alone, served)
    return 0


if __name__ == "__main__":
    sys.exit(main())
