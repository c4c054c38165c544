"""Breaks the product on purpose, once for each promise: `python -m tests.mutations [WORD]`.

A test that passes whatever the code does shows nothing. Each mutation is a change to a copy of the
tree, and the test that has to fail because of it; the same tests have to pass in the copy as it is.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutations import (
    Mutation,
    decisions,
    leaks,
    management,
    port,
    surfaces,
    upstream,
    workers,
)

ROOT = Path(__file__).parents[2]
COPIED = ("services", "shared", "tests", "pyproject.toml", "config.example.yaml")
PARTS = (decisions, management, port, upstream, leaks, workers, surfaces)
ALL = tuple(mutation for part in PARTS for mutation in part.MUTATIONS)
LONGEST_S = 300
LONGEST_IN_ALL_S = 1800
HUNG = -1
FAILED = 1
"""pytest's exit status when tests failed; another one tells of a mistake in the mutation."""


def main() -> int:
    """Try every mutation, or those with the word given in their file or test; the exit status."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [each for each in ALL if word in each.file or word in each.test]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, symlinks=True)
            else:
                shutil.copy(ROOT / name, copy / name)
        whole, said = run(copy, sorted({each.test for each in chosen}), LONGEST_IN_ALL_S)
        if whole:
            print(f"the tests do not pass as they are:\n{said}")
            return 1
        survivors = sum(not is_found(copy, each) for each in chosen)
    print(f"{len(chosen)} mutations, {survivors} not found by their test")
    return bool(survivors)


def is_found(copy: Path, mutation: Mutation) -> bool:
    """Break the copy, run the test, mend the copy; whether the test failed. Prints a line."""
    path = copy / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        print(f"NOT THERE ONCE  {mutation.file}: {mutation.old!r}")
        return False
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        status, said = run(copy, [mutation.test])
    finally:
        path.write_text(source)
    is_failed = status == FAILED and " failed" in said
    word = "found" if is_failed else "SURVIVED" if status == 0 else f"BROKEN ({status})"
    name = mutation.test.rpartition("/")[2]
    print(f"{word:<14}  {mutation.file}: {mutation.old.strip()[:60]!r}  {name}", flush=True)
    return is_failed


def run(copy: Path, tests: list[str], longest_s: int = LONGEST_S) -> tuple[int, str]:
    """pytest's exit status in the copy, and what it said."""
    # A file that changes twice a second keeps its size and time: no compiled one may stand for it.
    # A test that waits for ever has failed as well, and has to say so.
    options = ["-q", "-x", "-p", "no:cacheprovider", "--timeout=30", "--timeout-method=signal"]
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            # For processes that a test starts: they too are to be the copy's.
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
            timeout=longest_s,
        )
    except subprocess.TimeoutExpired:
        return HUNG, ""
    return done.returncode, done.stdout[-3000:]


if __name__ == "__main__":
    sys.exit(main())
