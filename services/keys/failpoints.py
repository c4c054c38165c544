"""Named points of the write path at which a test may have the process end as by kill -9."""

import os

_CHOSEN = os.environ.get("GRANTGATE_TEST_FAILPOINT", "")


def reach(point: str) -> None:
    """End the process here, at once, when this point is the chosen one."""
    if point == _CHOSEN:
        os._exit(9)
