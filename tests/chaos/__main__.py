"""`python -m tests.chaos`: hurt real processes for minutes, judge, and print the figures."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign import Campaign, fallen_short, save, sequence, table
from tests.chaos.checker import check
from tests.chaos.nemeses import NEMESES

RESULTS = Path(".bench/chaos.json")
_BROKEN_WITHIN_S = 60.0


def say(text):
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


async def torture(folder, args):
    campaign = Campaign(folder, args.seed, args.workers, say)
    nemeses = sequence(args.seed, args.only, args.rounds)
    report = await campaign.run(nemeses, until_s=time.monotonic() + args.seconds)
    save(report, RESULTS)
    say(f"seed {args.seed}: {len(report.history.uses)} uses, {len(report.history.writes)} writes")
    sys.stdout.write(table(report) + "\n")
    for text in report.interruptions:
        say(f"INTERRUPTED {text}")
    for violation in report.violations:
        say(f"VIOLATION {violation.kind}: {violation.detail}")
    short = fallen_short(report, args.only, args.rounds or 0)
    for text in short:
        say(f"FELL SHORT {text}")
    say(f"{len(report.violations)} violations, {len(report.interruptions)} interruptions")
    return 1 if report.violations or report.interruptions or short else 0


async def broken(folder, args):
    """The build whose keys do not wait: the checker must find what that does."""
    campaign = Campaign(folder, args.seed, args.workers, say)
    began = time.monotonic()
    await campaign.run(
        sequence(args.seed, args.only or ["slow links to nats", "freeze a policy briefly"]),
        barrier=False,
        until_s=began + _BROKEN_WITHIN_S,
        stops_when=lambda: bool(served_after_revocation(campaign.history)),
    )
    found = served_after_revocation(campaign.history)
    say(f"barrier off: {len(found)} violations within {time.monotonic() - began:.0f} s")
    return 0 if found else 1


def served_after_revocation(history):
    return [v for v in check(history) if v.kind == "served after a revocation"]


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1500, help="no new nemesis after these")
    parser.add_argument(
        "--rounds",
        type=int,
        default=None,
        help="each nemesis so often; it fails if the time was too short",
    )
    parser.add_argument("--only", action="append", help="nemeses whose name has this in it")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--broken", action="store_true", help="run without the barrier")
    parser.add_argument("--list", action="store_true", help="name every nemesis")
    parser.add_argument("--keep", type=Path, help="a folder for logs that stays")
    args = parser.parse_args()
    if args.list:
        sys.stdout.write("\n".join(n.name for n in NEMESES) + "\n")
        return 0
    args.seed = int(time.time()) if args.seed is None else args.seed
    folder = args.keep or Path(tempfile.mkdtemp(prefix="grantgate-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    status = asyncio.run((broken if args.broken else torture)(folder, args))
    if not status and not args.keep:
        shutil.rmtree(folder)
    elif status:
        say(f"logs: {folder}")
    return status


if __name__ == "__main__":
    sys.exit(main())
