"""`python -m tests.sim SEED` replays one seed; `--seeds N [--from K]` runs many; `--planted`."""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.sim.planted import PLANTED
from tests.sim.scenario import run

_CHUNK = 25


def main() -> int:
    """Exit status 1 when a promise was broken, or a planted bug was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="replay this seed and print its trace")
    parser.add_argument("--bug", choices=sorted(PLANTED), help="replay with a planted bug")
    parser.add_argument("--seeds", type=int, default=0, help="run so many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--planted", action="store_true", help="find every planted bug")
    options = parser.parse_args()
    if options.planted:
        return _find_planted(options.jobs, options.seeds or 1000)
    if options.seeds:
        return _run_many(range(options.first, options.first + options.seeds), options.jobs)
    if options.seed is None:
        parser.error("give a seed, --seeds or --planted")
    return _replay(options.seed, options.bug)


def _replay(seed: int, bug: str | None) -> int:
    outcome = run(seed, tracing=True) if bug is None else run(seed, tracing=True, site=PLANTED[bug])
    print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.violation or 'every promise held'}")
    return int(outcome.violation is not None)


def _run_many(seeds: range, jobs: int) -> int:
    began = time.monotonic()
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    broken = answers = writes = 0
    with ProcessPoolExecutor(jobs) as pool:
        for failures, answered, written in pool.map(_run_chunk, chunks):
            answers += answered
            writes += written
            broken += len(failures)
            for seed, violation in failures:
                print(f"seed {seed}: {violation}", flush=True)
    spent = time.monotonic() - began
    print(
        f"{len(seeds)} seeds, {broken} broken; {answers} answers and {writes} acknowledged writes"
        f" judged; {spent:.1f} s, {len(seeds) / spent:.1f} seeds a second"
    )
    return int(broken > 0)


def _run_chunk(seeds: range) -> tuple[list[tuple[int, str]], int, int]:
    outcomes = [run(seed) for seed in seeds]
    failures = [(o.seed, o.violation) for o in outcomes if o.violation is not None]
    return failures, sum(o.answers for o in outcomes), sum(o.acknowledged for o in outcomes)


def _find_planted(jobs: int, limit: int) -> int:
    missed = 0
    with ProcessPoolExecutor(jobs) as pool:
        found = pool.map(first_broken, PLANTED, [limit] * len(PLANTED))
        for bug, hit in zip(PLANTED, found, strict=True):
            missed += hit is None
            where = "NOT FOUND" if hit is None else f"seed {hit[0]:4}  {hit[1]}"
            print(f"{bug:44} {where}", flush=True)
    return int(missed > 0)


def first_broken(bug: str, limit: int) -> tuple[int, str] | None:
    """The first seed below `limit` in which this planted bug breaks a promise, and which.

    That it crashes is no finding: then the bug is badly planted, and the promises are not tried.
    """
    for seed in range(limit):
        outcome = run(seed, site=PLANTED[bug])
        if outcome.violation is not None and not outcome.is_crash:
            return seed, outcome.violation
    return None


if __name__ == "__main__":
    sys.exit(main())
