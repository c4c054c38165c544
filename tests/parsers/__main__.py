"""The long runs: `python -m tests.parsers bodies COUNT`, `streams COUNT`, `parsers SECONDS`.

`parsers` searches each harness for that long with Hypothesis, and for that long again guided by
coverage where atheris is installed. What was found worth keeping stays in `.fuzz`: `keep NAME` puts
what `make test` is to try every time from there into `corpus/`.
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase

KEPT = Path(".fuzz")
SEEDS = 200
"""Generated bodies that a guided search of a body's reader begins with."""
A_ROUND = 2000
"""Examples between two looks at the clock."""


def compare_bodies(count, first_seed):
    """The differential test at length; the exit status."""
    from tests.parsers.differential import compare  # noqa: PLC0415
    from tests.parsers.readers import node  # noqa: PLC0415

    with node() as running:
        report = compare(count, first_seed, running)
    for name, number in sorted(report.counts.items()):
        print(f"{number:>9}  {name}")
    if running is None:
        print("no `node` on this machine: its readings are not among these")
    print(f"{count} bodies from seed {first_seed}: {len(report.disagreements)} disagreements")
    for name, models, decided, data in report.disagreements[:10]:
        print(f"{name} reads {models}, decided was {decided!r}: {data!r}")
    return bool(report.disagreements)


def compare_streams(count, first_seed):
    """The same of a connection's bytes; the exit status."""
    from tests.parsers import framing  # noqa: PLC0415

    report = framing.compare(count, first_seed)
    for name, number in sorted(report.counts.items()):
        print(f"{number:>9}  {name}  {framing.STRICTER.get(name, '')}")
    print(f"{count} streams from seed {first_seed}: {len(report.disagreements)} disagreements")
    for name, found, data in report.disagreements[:10]:
        print(f"{name}: {found}: {data!r}")
    return bool(report.disagreements)


def search(check, inputs, seconds):
    """Hypothesis for that long; how many examples it tried. Raises what a failing one raises."""
    tried = 0

    def holds(data):
        nonlocal tried
        tried += 1
        check(data)

    found = DirectoryBasedExampleDatabase(KEPT / "failures")
    options = settings(
        max_examples=A_ROUND, database=found, suppress_health_check=list(HealthCheck), deadline=None
    )
    end = time.monotonic() + seconds
    number = time.time_ns()
    while time.monotonic() < end:
        seed(number)(options(given(inputs)(holds)))()
        number += 1
    return tried


def _example(name, random):
    """What a guided search of a reader begins with: its parser in C shows it no way in."""
    from tests.parsers import bodies, harnesses, streams  # noqa: PLC0415

    match name:
        case "read_request" | "read_form":
            return bodies.body(random).data
        case "read_stream":
            return random.randbytes(2) + streams.stream(random)
        case "read_answer":
            words = harnesses.ANSWER_WORDS
            head = random.choices(words, weights=[9] + [1] * (len(words) - 1), k=1)
            fields = random.choices(words[6:12], k=random.randint(0, 2))
            body = random.choices(words[16:], k=random.randint(0, 3))
            return random.randbytes(2) + b"".join((*head, *fields, b"\r\n", *body))
        case _:
            return "".join(random.choices("ab/*.\n", k=random.randint(3, 24))).encode()


def search_guided(name, seconds):
    """Atheris for that long, in a process of its own; the exit status."""
    corpus = KEPT / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(SEEDS):
        # From nothing it would hardly ever come to what is accepted.
        (corpus / f"seed-{number}").write_bytes(_example(name, Random(number)))
    command = [sys.executable, "-m", "tests.parsers", "guided", name, str(seconds), str(corpus)]
    return subprocess.run(command, check=False).returncode


def guided(name, seconds, corpus):
    """Be that process: the parsers are imported so that atheris sees which of their lines run."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["services", "shared"]):
        from tests.parsers import harnesses  # noqa: PLC0415

    limits = [f"-max_total_time={seconds}", "-max_len=600", "-verbosity=0", "-print_final_stats=1"]
    artifacts = f"-artifact_prefix={KEPT}/{name}-"
    atheris.Setup([sys.argv[0], corpus, artifacts, *limits], getattr(harnesses, name))
    atheris.Fuzz()


def search_all(seconds):
    """Every harness in both ways; the exit status."""
    from tests.parsers.harnesses import INPUTS  # noqa: PLC0415

    is_guided = importlib.util.find_spec("atheris") is not None
    if not is_guided:
        print("atheris is not installed (`pip install atheris`): no search guided by coverage")
    status = 0
    for check, inputs in INPUTS.items():
        name = check.__name__
        tried = search(check, inputs, seconds)
        print(f"{name}: {tried} examples in {seconds} s, no finding", flush=True)
        if is_guided:
            status |= search_guided(name, seconds)
    return status


def keep_found(name):
    """Add to a harness's corpus what its last search found."""
    from tests.parsers import harnesses, kept  # noqa: PLC0415

    found = [path.read_bytes() for path in (KEPT / "corpus" / name).iterdir()]
    print(
        f"{name}: {kept.keep(getattr(harnesses, name), found)} kept of {len(found)} and those kept"
    )


def main():
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="tests.parsers", description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    way = ways.add_parser("bodies")
    way.add_argument("count", type=int)
    way.add_argument("--seed", type=int, default=1)
    way = ways.add_parser("streams")
    way.add_argument("count", type=int)
    way.add_argument("--seed", type=int, default=1)
    way = ways.add_parser("parsers")
    way.add_argument("seconds", type=int)
    way = ways.add_parser("keep")
    way.add_argument("name")
    way = ways.add_parser("guided")
    way.add_argument("name")
    way.add_argument("seconds", type=int)
    way.add_argument("corpus")
    given_ = parser.parse_args()
    if given_.way == "bodies":
        sys.exit(compare_bodies(given_.count, given_.seed))
    if given_.way == "streams":
        sys.exit(compare_streams(given_.count, given_.seed))
    if given_.way == "keep":
        sys.exit(keep_found(given_.name))
    if given_.way == "guided":
        sys.exit(guided(given_.name, given_.seconds, given_.corpus))
    sys.exit(search_all(given_.seconds))


if __name__ == "__main__":
    main()
