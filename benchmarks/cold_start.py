"""`python -m benchmarks.cold_start`: a new policy replica beside a filled one, until ready."""

import argparse
import shutil
import sys
import time
from pathlib import Path

from benchmarks.processes import child, cpu_s, rss_mib, until_ready
from benchmarks.product import product
from services.dev.ports import free_ports

_FOLDER = Path(".bench/cold").resolve()
_BUDGET_S = 20.0


def main() -> int:
    """Start a replica that has nothing of its own, twice, and print how long each took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    options = parser.parse_args()
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    (upstream_port,) = free_ports(1)
    with product(_FOLDER / "ours", upstream_port, keys=options.keys) as ours:
        for number in (1, 2):
            (port,) = free_ports(1)
            environ = {
                **ours.policy.environ,
                "GRANTGATE_POLICY_PORT": str(port),
                "GRANTGATE_POLICY_DATA_DIR": str(_FOLDER / f"copy-{number}"),
            }
            began = time.monotonic()
            log = _FOLDER / "policy.log"
            with child(ours.policy.argv, log, environ, ours.policy.cwd) as pid:
                until_ready(f"http://127.0.0.1:{port}/readyz")
                took = time.monotonic() - began
                print(
                    f"{'met' if took <= _BUDGET_S else 'NOT met'}: cold start {number}, "
                    f"{options.keys:,} keys: ready in {took:.1f} s, at most {_BUDGET_S:.0f}; "
                    f"{cpu_s([pid]):.1f} s of processor time, {rss_mib([pid]):,.0f} MiB",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
