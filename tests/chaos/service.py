"""`python -m tests.chaos.service NAME`: a service that can be hurt from inside by a signal.

SIGUSR1 and SIGUSR2 make its wall clock jump an hour ahead or back, SIGWINCH blocks its event loop
for three seconds. GRANTGATE_TEST_NO_BARRIER=1 makes keys answer before a change is in force: the
build in which a checker that is worth anything finds violations.
"""

import importlib
import os
import signal
import sys
import time

JUMP_S = 3600.0
BLOCK_S = 3.0
_real = time.time
_ahead = 0.0


def _now():
    return _real() + _ahead


def _jump(number, _frame):
    global _ahead  # noqa: PLW0603
    _ahead += JUMP_S if number == signal.SIGUSR1 else -JUMP_S


async def _enforced_at_once(_barrier, _rev):
    return "enforced"


def main(name):
    time.time = _now
    signal.signal(signal.SIGUSR1, _jump)
    signal.signal(signal.SIGUSR2, _jump)
    signal.signal(signal.SIGWINCH, lambda *_: time.sleep(BLOCK_S))
    if name == "keys" and os.environ.get("GRANTGATE_TEST_NO_BARRIER"):
        importlib.import_module("services.keys.barrier").Barrier.enforced = _enforced_at_once
    return importlib.import_module(f"services.{name}.__main__").main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
