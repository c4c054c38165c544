"""`python -m services.gateway`: one gateway."""

import os
import sys

from services.gateway.app import start
from services.gateway.upstreams import build
from shared import config
from shared.service import run, set_up_logging


def main() -> int:
    """Run until stopped; returns the exit status."""
    try:
        loaded = config.load(None, os.environ)
        upstreams = build(loaded, os.environ)
    except config.ConfigError as problem:
        print(f"grantgate gateway: {problem}", file=sys.stderr)
        return 2
    set_up_logging("gateway", loaded.settings.log_level, loaded.settings.log_format)
    return run(loaded.warnings, lambda stack, stopping: start(loaded, upstreams, stack, stopping))


if __name__ == "__main__":
    sys.exit(main())
