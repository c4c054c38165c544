"""`python -m services.keys`: one keys replica."""

import os
import sys

from services.keys.app import start
from shared import config
from shared.service import run, set_up_logging


def main() -> int:
    """Run until stopped; returns the exit status."""
    try:
        loaded = config.load(None, os.environ)
    except config.ConfigError as problem:
        print(f"grantgate keys: {problem}", file=sys.stderr)
        return 2
    master_key = loaded.master_key
    if master_key is None:
        print("grantgate keys: no master key: set GRANTGATE_MASTER_KEY", file=sys.stderr)
        return 2
    set_up_logging("keys", loaded.settings.log_level, loaded.settings.log_format)
    return run(loaded.warnings, lambda stack, stopping: start(loaded, master_key, stack, stopping))


if __name__ == "__main__":
    sys.exit(main())
