"""`python -m benchmarks`: one run, one table, and the same figures in .bench/results.json."""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import load, paced
from benchmarks.processes import cpu_s, family, placed, post, rss_mib
from benchmarks.rows import (
    BARE,
    DIRECT,
    ENVOY,
    LITELLM,
    NOT_ALLOWED,
    ONE,
    UNKNOWN,
    Missing,
    Row,
    started,
)
from benchmarks.rows import many as many_keys

FOLDER = Path(".bench")
_WARM_UP_S = 2.0
_MANY = 1_000_000
_HIGHEST_RATE = 5_000
"""Requests a second that the paced generator sends in time beside what it measures."""
_MOST_LATE_MS = 1.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one row. `cpu_us` is microseconds a request at saturation, by process."""

    per_second: float
    cpu_us: dict[str, float]
    rss_mib: float
    alone_ms: float
    """The median of one request after the other."""
    rate: float
    p50_ms: float
    p99_ms: float
    late_ms: float
    unanswered: int

    @property
    def total_us(self) -> float:
        """Processor time a request, of all its processes."""
        return sum(self.cpu_us.values())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each row")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each of its three parts")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=_MANY, help="keys of the row with many")
    parser.add_argument("--only", default="", help="rows whose name contains this, and the proxy")
    parser.add_argument(
        "--placed",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure latency with half of the processors for what clients speak to alone",
    )
    parser.add_argument("--short", action="store_true", help="two rounds of 1 s, 10,000 keys")
    parser.add_argument("--log-level", default="info", help="of Grantgate's services")
    options = parser.parse_args()
    if options.short:
        options.rounds, options.seconds, options.keys = 2, 1.0, 10_000
    return options


def _check(row: Row) -> None:
    """One request, read whole: a row that answers something else is not worth measuring."""
    key = row.keys_file.read_text().partition("\n")[0]
    body = json.dumps({"model": row.model, "messages": [{"role": "user", "content": "x"}]})
    url = f"http://127.0.0.1:{row.port}/v1/chat/completions"
    status, answer = post(url, body.encode(), key, row.header)
    assert status == row.status, f"{row.name}: {status} {answer!r}"
    assert (b"chatcmpl-benchmark" in answer) == (row.status == 200), f"{row.name}: {answer!r}"


def _warm_up(row: Row, options: argparse.Namespace) -> float:
    """Load it, and settle at which rate its latency is measured: half of what it can, at most."""
    for _ in range(2):
        seen = load.run(
            row.port, _WARM_UP_S, options.connections, row.keys_file, row.model, row.header
        )
    return min(_HIGHEST_RATE, seen.requests / seen.seconds / 2)


def _measure(row: Row, rate: float, options: argparse.Namespace) -> Round:
    seconds, connections = options.seconds, options.connections
    pids = {name: family(pid) for name, pid in row.processes.items()}
    before = {name: cpu_s(of) for name, of in pids.items()}
    to = (row.keys_file, row.model, row.header)
    seen = load.run(row.port, seconds, connections, *to)
    used = {name: cpu_s(of) - before[name] for name, of in pids.items()}
    expected = 0 if row.status == 200 else seen.requests
    # wrk stops in the middle of its last answers, so it may count fewer than there were.
    surprises = abs(seen.not_2xx - expected) + seen.broken
    assert surprises <= connections, f"{row.name}: {seen}"
    with placed(next(iter(row.processes.values()))) if options.placed else nullcontext():
        alone = paced.run(row.port, seconds / 3, 0, *to)
        half = paced.run(row.port, seconds, rate, *to)
    for each in (alone, half):
        assert each.not_2xx == (0 if row.status == 200 else each.sent), f"{row.name}: {each}"
    return Round(
        per_second=seen.requests / seen.seconds,
        cpu_us={name: value / seen.requests * 1e6 for name, value in used.items()},
        rss_mib=rss_mib([pid for of in pids.values() for pid in of]),
        alone_ms=alone.p50_ms,
        rate=rate,
        p50_ms=half.p50_ms,
        p99_ms=half.p99_ms,
        late_ms=half.late_p99_ms,
        unanswered=half.unanswered,
    )


def _median(rounds: list[Round]) -> Round:
    """Each figure's own median; the parts of the processor time are those of the middle total."""
    middle = sorted(rounds, key=lambda each: each.total_us)[len(rounds) // 2]
    figures = {
        name: statistics.median(getattr(each, name) for each in rounds)
        for name in Round.__struct_fields__
        if name != "cpu_us"
    }
    return msgspec.convert({**figures, "cpu_us": middle.cpu_us}, Round, strict=False)


def _ratio(rounds: list[Round], to: list[Round]) -> float:
    """The cost as a multiple of another row's, each round against its own: the same noise."""
    each = zip(rounds, to, strict=True)
    return statistics.median(ours.total_us / theirs.total_us for ours, theirs in each)


def _table(rounds: dict[str, list[Round]]) -> Table:
    table = Table(title="Medians. + is over the direct upstream in this run, at the rate shown")
    for column in (
        "",
        "requests/s",
        "CPU µs",
        "to bare",
        "of which",
        "RSS MiB",
        "+ alone ms",
        "rate/s",
        "+ p50 ms",
        "+ p99 ms",
        "late ms",
    ):
        table.add_column(column, justify="left" if column in ("", "of which") else "right")
    direct = _median(rounds[DIRECT])
    for name, measured in rounds.items():
        each = _median(measured)
        less = (
            direct
            if name != DIRECT
            else msgspec.structs.replace(direct, alone_ms=0.0, p50_ms=0.0, p99_ms=0.0)
        )
        # What the generator itself was late is in its figures: they are an upper bound then.
        mark = " !" if each.late_ms > _MOST_LATE_MS or each.unanswered else ""
        table.add_row(
            name,
            f"{each.per_second:,.0f}",
            f"{each.total_us:,.0f}",
            f"{_ratio(measured, rounds[BARE]):.2f}",
            ", ".join(f"{process} {us:.0f}" for process, us in each.cpu_us.items()),
            f"{each.rss_mib:.0f}",
            f"{each.alone_ms - less.alone_ms:.2f}",
            f"{each.rate:,.0f}",
            f"{each.p50_ms - less.p50_ms:.2f}",
            f"{each.p99_ms - less.p99_ms:.2f}",
            f"{each.late_ms:.2f}{mark}",
        )
    return table


def _budgets(rounds: dict[str, list[Round]], keys: int) -> list[str]:
    """Every budget that these rows can say something of, one a line."""
    lines = []
    for name, other, most in (
        (ONE, BARE, 0.75),
        (ONE, ENVOY, 0.7),
        (ONE, LITELLM, 1 / 70),
        (many_keys(keys), ONE, 1.1),
        (NOT_ALLOWED, ONE, 0.6),
        (UNKNOWN, ONE, 0.6),
    ):
        if name in rounds and other in rounds:
            found = _ratio(rounds[name], rounds[other])
            verdict = "met" if found <= most else "NOT met"
            lines.append(f"{verdict}: {name} / {other}: {found:.4g}, at most {most:.4g}")
    if ONE in rounds:
        ours, direct = _median(rounds[ONE]), _median(rounds[DIRECT])
        for what, most in (("alone_ms", 1.0), ("p50_ms", 1.5), ("p99_ms", 5.0)):
            found = getattr(ours, what) - getattr(direct, what)
            verdict = "met" if found <= most else "NOT met"
            lines.append(f"{verdict}: added {what}: {found:.2f}, at most {most}")
    return lines


def _write(
    rounds: dict[str, list[Round]], missing: list[Missing], options: argparse.Namespace
) -> None:
    results = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": sys.version.split()[0],
        "generator": load.generator(),
        "options": vars(options),
        "absent": missing,
        "budgets": _budgets(rounds, options.keys),
        "rows": {
            name: {
                "median": _median(each),
                "to_bare": _ratio(each, rounds[BARE]),
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
        found = list(started(running, folder, options.keys, options.only, options.log_level))
        missing = [each for each in found if isinstance(each, Missing)]
        kept = (DIRECT, BARE)
        rows = [each for each in found if isinstance(each, Row)]
        rows = [row for row in rows if options.only in row.name or row.name in kept]
        rates = {}
        for row in rows:
            _check(row)
            rates[row.name] = _warm_up(row, options)
        for number in range(options.rounds):
            # Back and forth, so that no row always follows the same one.
            for row in rows if number % 2 == 0 else reversed(rows):
                one = _measure(row, rates[row.name], options)
                rounds.setdefault(row.name, []).append(one)
                print(f"round {number + 1}, {row.name}: {one.total_us:.0f} µs", flush=True)
    in_order = {row.name: rounds[row.name] for row in rows}
    Console(width=170).print(_table(in_order))
    for each in missing:
        print(f"absent: {each.name}: {each.reason}")
    print("\n".join(_budgets(in_order, options.keys)))
    _write(in_order, missing, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
