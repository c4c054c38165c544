"""`python -m benchmarks.flood`: what a flood of keys that nobody has costs those who have one.

Both loads come at a fixed rate, each from a process of its own (`paced.py`). Between an idle run
and another one there are two floods: of keys with the right form and checksum, which policy is
asked about, and of malformed ones, which it is not.
"""

import argparse
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import paced
from benchmarks.processes import child, family, rss_mib, until_listening
from benchmarks.product import MODEL, Product, product
from services.dev.ports import free_ports
from shared.credentials import mint

FOLDER = Path(".bench")
_KEYS = 10_000
_STRANGERS = 10_000
"""Keys in a flood; they come in turn."""
_SLACK_S = 1.0
"""How much earlier the flood begins, and later it ends, than the load that is measured in it."""
_BUDGET = 5.0
"""Times the idle p99 that valid traffic's p99 may be in a flood."""
_ON_TIME_MS = 2.0
"""A generator whose p99 of lateness is above this did not keep its schedule."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: the load of valid keys, the flood in it, and what the processes grew by."""

    name: str
    valid: paced.Paced
    flood: paced.Paced | None
    rss_before: dict[str, float]
    rss_after: dict[str, float]
    log_bytes: int
    log_lines: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long, and how many a second of each."""

    seconds: float
    valid_rate: float
    flood_rate: float


def _strangers(folder: Path) -> dict[str, Path]:
    """Files of keys that nobody has, by the name of their flood."""
    choose = random.Random(0).choice
    keys = [mint(choose).reveal() for _ in range(_STRANGERS * 2)][_STRANGERS:]
    flipped = [key[:-1] + ("0" if key[-1] != "0" else "1") for key in keys]
    files = {}
    for name, held in (("unknown", keys), ("malformed", flipped)):
        files[name] = folder / f"{name}.txt"
        files[name].write_text("\n".join(held))
    return files


@contextmanager
def _flooded(port: int, keys: Path | None, plan: Plan) -> Iterator[list[paced.Paced]]:
    """A flood for the block, and what it saw once the block is over."""
    seen: list[paced.Paced] = []
    with ThreadPoolExecutor(1) as pool:
        lasting = plan.seconds + 2 * _SLACK_S
        flood = keys and pool.submit(paced.run, port, lasting, plan.flood_rate, keys, MODEL)
        if flood is not None:
            time.sleep(_SLACK_S)
        yield seen
        if flood is not None:
            seen.append(flood.result())


def _rss(running: Product) -> dict[str, float]:
    return {name: rss_mib(family(pid)) for name, pid in running.on_path.items() if name != "nats"}


def _logs(folder: Path) -> tuple[int, int]:
    """Bytes and lines that all processes have logged so far."""
    texts = [path.read_bytes() for path in folder.glob("*.log")]
    return sum(map(len, texts)), sum(text.count(b"\n") for text in texts)


def _row(name: str, running: Product, folder: Path, keys: Path | None, plan: Plan) -> Row:
    before, (bytes_before, lines_before) = _rss(running), _logs(folder)
    with _flooded(running.port, keys, plan) as seen:
        valid = paced.run(running.port, plan.seconds, plan.valid_rate, running.keys_file, MODEL)
    after, (bytes_after, lines_after) = _rss(running), _logs(folder)
    return Row(
        name=name,
        valid=valid,
        flood=seen[0] if seen else None,
        rss_before=before,
        rss_after=after,
        log_bytes=bytes_after - bytes_before,
        log_lines=lines_after - lines_before,
    )


def _shown(load: paced.Paced) -> tuple[str, str]:
    """Whether a generator kept its schedule, and what was not as it should be."""
    late = f"{load.late_p99_ms:.1f}{'!' if load.late_p99_ms > _ON_TIME_MS else ''}"
    return late, str(load.unanswered + load.broken)


def _table(rows: list[Row], idle_p99: float, plan: Plan) -> Table:
    title = (
        f"{plan.valid_rate:g}/s of valid keys, {plan.flood_rate:g}/s of others, {plan.seconds:g} s"
    )
    shown = Table(title=title)
    columns = ("", "p50 ms", "p99 ms", "to idle", "late", "lost", "not 2xx", "flood /s")
    for column in (*columns, "late", "lost", "RSS MiB", "log lines", "log KiB"):
        shown.add_column(column, justify="right")
    for row in rows:
        flood = ("", "", "")
        if row.flood is not None:
            flood = (f"{row.flood.per_second:.0f}", *_shown(row.flood))
        memory = (
            f"{name} {row.rss_before[name]:.0f}→{row.rss_after[name]:.0f}" for name in row.rss_after
        )
        shown.add_row(
            row.name,
            f"{row.valid.p50_ms:.2f}",
            f"{row.valid.p99_ms:.2f}",
            f"{row.valid.p99_ms / idle_p99:.1f}",
            *_shown(row.valid),
            str(row.valid.not_2xx),
            *flood,
            "\n".join(memory),
            str(row.log_lines),
            f"{row.log_bytes / 1024:.0f}",
        )
    return shown


def _problems(rows: list[Row], idle_p99: float) -> list[str]:
    """What is not within the budget."""
    found = []
    for row in rows:
        if row.valid.not_2xx or row.valid.unanswered:
            found.append(f"{row.name}: valid requests were refused or lost")
        if row.flood is None:
            continue
        if row.valid.p99_ms > _BUDGET * idle_p99:
            found.append(f"{row.name}: p99 is more than {_BUDGET:g} times the idle one")
        if row.flood.not_2xx != row.flood.sent:
            found.append(f"{row.name}: a key that nobody has was answered")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--valid-rate", type=float, default=200.0)
    parser.add_argument("--flood-rate", type=float, default=2000.0)
    return parser.parse_args()


def main() -> int:
    """Measure, print one table; 1 when valid traffic was hurt more than the budget allows."""
    options = _options()
    plan = Plan(
        seconds=options.seconds, valid_rate=options.valid_rate, flood_rate=options.flood_rate
    )
    folder = (FOLDER / "flood").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (upstream_port,) = free_ports(1)
    command = (sys.executable, "-m", "benchmarks.upstream", str(upstream_port))
    place = folder / "product"
    with child(command, folder / "upstream.log"):
        until_listening(upstream_port)
        with product(place, upstream_port, keys=_KEYS) as running:
            paced.run(running.port, 2, plan.valid_rate, running.keys_file, MODEL)  # a warm-up
            strangers = _strangers(folder)
            loads = (("idle", None), *strangers.items(), ("idle again", None))
            rows = [_row(name, running, place, keys, plan) for name, keys in loads]
    idle_p99 = statistics.mean(row.valid.p99_ms for row in rows if row.flood is None)
    results = {"plan": plan, "idle_p99_ms": idle_p99, "rows": rows}
    (FOLDER / "flood.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    Console(width=150).print(_table(rows, idle_p99, plan))
    problems = _problems(rows, idle_p99)
    print("\n".join(problems) or "within the budget")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
