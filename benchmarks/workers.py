"""`python -m benchmarks.workers`: what a request costs with one and with two workers of each.

Two cores that also hold the load show no second core's worth of requests; they show whether the
second process makes a request dearer.
"""

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import load, paced
from benchmarks.processes import child, cpu_s, family, until_listening
from benchmarks.product import MODEL, Product, product
from services.dev.ports import free_ports

_FOLDER = Path(".bench/workers").resolve()
_PARTS = ("gateway", "policy", "nats")
_WARM_UP_S = 2.0

Costs = dict[str, float]


def _cost(ours: Product, run: Callable[[], int]) -> tuple[int, Costs]:
    """How many requests `run` makes, and microseconds of each part's processor time for one."""
    pids = {name: family(pid) for name, pid in ours.on_path.items()}
    before = {name: cpu_s(of) for name, of in pids.items()}
    requests = run()
    used = {name: (cpu_s(of) - before[name]) / requests * 1e6 for name, of in pids.items()}
    return requests, {
        part: sum(us for name, us in used.items() if name.startswith(part)) for part in _PARTS
    }


def _rows(
    ours: dict[int, Product], options: argparse.Namespace
) -> Iterator[tuple[str, int, Callable[[], int]]]:
    """What is compared: its name, the number of workers, and the load, which counts."""
    for workers, connections in ((1, 1), (2, 1), (2, 2)):
        made, count = ours[workers], connections * options.connections

        def saturate(made: Product = made, count: int = count) -> int:
            return load.run(made.port, options.seconds, count, made.keys_file, MODEL).requests

        yield f"{workers}, {count} busy connections", workers, saturate
    for workers, made in ours.items():

        def pace(made: Product = made) -> int:
            return paced.run(made.port, options.seconds, options.rate, made.keys_file, MODEL).sent

        yield f"{workers}, {options.rate:,} requests a second", workers, pace


def main() -> int:
    """Measure in turn, several rounds, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64, help="of one worker")
    parser.add_argument("--rate", type=int, default=1000, help="of the comparison below saturation")
    options = parser.parse_args()
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    (port,) = free_ports(1)
    found: dict[str, list[tuple[float, Costs]]] = {}
    with ExitStack() as running:
        upstream = (sys.executable, "-m", "benchmarks.upstream", str(port))
        running.enter_context(child(upstream, _FOLDER / "upstream.log"))
        until_listening(port)
        ours = {}
        for workers in (1, 2):
            extra = {"GRANTGATE_WORKERS": str(workers)}
            made = product(_FOLDER / str(workers), port, keys=1, extra=extra)
            ours[workers] = running.enter_context(made)
            load.run(ours[workers].port, _WARM_UP_S, 8, ours[workers].keys_file, MODEL)
        rows = list(_rows(ours, options))
        for number in range(options.rounds):
            # Back and forth, so that no row always follows the same one.
            for name, workers, run in rows if number % 2 == 0 else reversed(rows):
                requests, cost = _cost(ours[workers], run)
                found.setdefault(name, []).append((requests / options.seconds, cost))
    _print(found)
    return 0


def _print(found: dict[str, list[tuple[float, Costs]]]) -> None:
    table = Table("workers", "requests/s", "CPU µs", *_PARTS, title="Medians, a request")
    for name, rounds in found.items():
        costs = [cost for _, cost in rounds]
        parts = [statistics.median(cost[part] for cost in costs) for part in _PARTS]
        total = statistics.median(sum(cost.values()) for cost in costs)
        per_second = statistics.median(each for each, _ in rounds)
        table.add_row(name, f"{per_second:,.0f}", *(f"{us:.0f}" for us in (total, *parts)))
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
