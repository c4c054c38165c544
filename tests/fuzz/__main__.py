"""`make fuzz`: schemathesis over a real stack, with the master key and with an internal user's.

`--seconds` is for each of the two; a failure's report says how to repeat it.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.e2e.stack import MASTER_KEY, running
from tests.fuzz import seeds
from tests.fuzz.run import run


async def fuzz(stack, folder, seconds, seed):
    """Both runs; how they ended."""

    async def call(method, path, body):
        answer = stack.http.request(
            method, path, json=body, headers={"Authorization": f"Bearer {MASTER_KEY}"}
        )
        answer.raise_for_status()
        return answer.json()

    known = await seeds.sow(call, "os.environ/GRANTGATE_DEMO_UPSTREAM")
    budget = ("--phases", "coverage,fuzzing,stateful", "--max-time", str(seconds))
    codes = []
    # The user first: the master key's calls may take away what the user is.
    for who, key in (("an internal user", seeds.LEAD), ("the master key", MASTER_KEY)):
        done = await run(folder, stack.url, key, known, *budget, "--seed", str(seed))
        print(f"As {who}:\n{done.report}", flush=True)
        codes.append(done.code)
    return codes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as stack:
        codes = asyncio.run(fuzz(stack, Path(folder), options.seconds, options.seed))
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
