"""What a process does first that another one starts and looks after."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def before_exec(parent: int, at_its_death: signal.Signals) -> None:
    """Lead a process group, and have the kernel send a signal when `parent` is gone (on Linux).

    A terminal's Ctrl-C then reaches the parent alone, which keeps the order of stopping.
    """
    os.setpgid(0, 0)
    # Until it has handlers of its own: it may be asked to reload while it starts.
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, at_its_death)
        if os.getppid() != parent:
            os._exit(1)
