"""`python -m benchmarks`: one run, one table, and the same figures in .bench/results.json."""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import load
from benchmarks.processes import child, cpu_s, post, rss_mib, until_listening
from benchmarks.product import MODEL, REFUSED_MODEL, product
from services.dev.ports import free_ports

FOLDER = Path(".bench")
BARE = "bare aiohttp proxy"
_WARM_UP_S = 2.0
_MANY = 100_000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Something to load: `processes` are the ones whose processor time is its cost."""

    name: str
    port: int
    processes: dict[str, int]
    keys_file: Path
    model: str = MODEL
    status: int = 200


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one row. `cpu_us` is microseconds a request, by process."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    rss_mib: float

    @property
    def total_us(self) -> float:
        """Processor time a request, of all its processes."""
        return sum(self.cpu_us.values())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each row")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=_MANY, help="keys of the row with many")
    parser.add_argument("--only", default="", help="rows whose name contains this, and the proxy")
    parser.add_argument("--log-level", default="info", help="of Grantgate's services")
    return parser.parse_args()


def _rows(running: ExitStack, folder: Path, many: int, log_level: str) -> Iterator[Row]:
    upstream_port, bare_port = free_ports(2)
    module = (sys.executable, "-m")
    upstream = running.enter_context(
        child((*module, "benchmarks.upstream", str(upstream_port)), folder / "upstream.log")
    )
    target = f"http://127.0.0.1:{upstream_port}"
    bare = running.enter_context(
        child((*module, "benchmarks.bare_proxy", str(bare_port), target), folder / "bare.log")
    )
    until_listening(upstream_port)
    until_listening(bare_port)
    extra = {"GRANTGATE_LOG_LEVEL": log_level}
    one = running.enter_context(product(folder / "one", upstream_port, keys=1, extra=extra))
    filled = running.enter_context(product(folder / "many", upstream_port, keys=many, extra=extra))
    yield Row(
        name="direct upstream",
        port=upstream_port,
        processes={"upstream": upstream},
        keys_file=one.keys_file,
    )
    yield Row(name=BARE, port=bare_port, processes={"proxy": bare}, keys_file=one.keys_file)
    for name, each in (("Grantgate, 1 key", one), (f"Grantgate, {many:,} keys", filled)):
        yield Row(name=name, port=each.port, processes=each.on_path, keys_file=each.keys_file)
    yield Row(
        name="Grantgate, refused",
        port=filled.port,
        processes=filled.on_path,
        keys_file=filled.keys_file,
        model=REFUSED_MODEL,
        status=403,
    )


def _check(row: Row) -> None:
    """One request, read whole: a row that answers something else is not worth measuring."""
    key = row.keys_file.read_text().partition("\n")[0]
    body = json.dumps({"model": row.model, "messages": [{"role": "user", "content": "x"}]})
    url = f"http://127.0.0.1:{row.port}/v1/chat/completions"
    status, answer = post(url, body.encode(), key)
    assert status == row.status, f"{row.name}: {status} {answer!r}"
    assert (b"chatcmpl-benchmark" in answer) == (row.status == 200), f"{row.name}: {answer!r}"


def _measure(row: Row, seconds: float, connections: int) -> Round:
    before = {name: cpu_s([pid]) for name, pid in row.processes.items()}
    seen = load.run(row.port, seconds, connections, row.keys_file, row.model)
    used = {name: cpu_s([pid]) - before[name] for name, pid in row.processes.items()}
    expected = 0 if row.status == 200 else seen.requests
    # wrk stops in the middle of its last answers, so it may count fewer than there were.
    surprises = abs(seen.not_2xx - expected) + seen.broken
    assert surprises <= connections, f"{row.name}: {seen}"
    return Round(
        per_second=seen.requests / seen.seconds,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        cpu_us={name: value / seen.requests * 1e6 for name, value in used.items()},
        rss_mib=rss_mib(row.processes.values()),
    )


def _median(rounds: list[Round]) -> Round:
    """Each figure's own median; the parts of the processor time are those of the middle total."""
    middle = sorted(rounds, key=lambda each: each.total_us)[len(rounds) // 2]
    return Round(
        per_second=statistics.median(each.per_second for each in rounds),
        p50_ms=statistics.median(each.p50_ms for each in rounds),
        p99_ms=statistics.median(each.p99_ms for each in rounds),
        cpu_us=middle.cpu_us,
        rss_mib=statistics.median(each.rss_mib for each in rounds),
    )


def _to_bare(rounds: list[Round], bare: list[Round]) -> float:
    """The cost as a multiple of the bare proxy's, each round against its own: the same noise."""
    each = zip(rounds, bare, strict=True)
    return statistics.median(ours.total_us / theirs.total_us for ours, theirs in each)


def _table(rounds: dict[str, list[Round]]) -> Table:
    table = Table(title="CPU is of the row's own processes, per request; medians")
    for column in (
        "",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "to bare",
        "of which",
        "RSS MiB",
    ):
        table.add_column(column, justify="left" if column in ("", "of which") else "right")
    for name, measured in rounds.items():
        each = _median(measured)
        parts = ", ".join(f"{process} {us:.0f}" for process, us in each.cpu_us.items())
        table.add_row(
            name,
            f"{each.per_second:,.0f}",
            f"{each.p50_ms:.2f}",
            f"{each.p99_ms:.2f}",
            f"{each.total_us:.0f}",
            f"{_to_bare(measured, rounds[BARE]):.2f}",
            parts,
            f"{each.rss_mib:.0f}",
        )
    return table


def _write(rounds: dict[str, list[Round]], options: argparse.Namespace) -> None:
    results = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "generator": load.generator(),
        "options": vars(options),
        "rows": {
            name: {
                "median": _median(each),
                "to_bare": _to_bare(each, rounds[BARE]),
                "rounds": each,
            }
            for name, each in rounds.items()
        },
    }
    data = msgspec.json.format(msgspec.json.encode(results), indent=2)
    (FOLDER / "results.json").write_bytes(data + b"\n")


def main() -> int:
    """Start everything, measure the rows in turn, print and write what was found."""
    options = _arguments()
    if load.generator() != "wrk":
        print("wrk is absent: apt-get install wrk. A generator of our own is used; it is slower.")
    folder = (FOLDER / "run").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rounds: dict[str, list[Round]] = {}
    with ExitStack() as running:
        rows = list(_rows(running, folder, options.keys, options.log_level))
        rows = [row for row in rows if options.only in row.name or row.name == BARE]
        for row in rows:
            _check(row)
            load.run(row.port, _WARM_UP_S, options.connections, row.keys_file, row.model)
        for number in range(options.rounds):
            # Back and forth, so that no row always follows the same one.
            for row in rows if number % 2 == 0 else reversed(rows):
                found = _measure(row, options.seconds, options.connections)
                rounds.setdefault(row.name, []).append(found)
                print(f"round {number + 1}, {row.name}: {found.total_us:.0f} µs", flush=True)
    in_order = {row.name: rounds[row.name] for row in rows}
    Console(width=130).print(_table(in_order))
    _write(in_order, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
