"""`python -m services.policy`: one policy replica."""

import os
import sys

from services.policy.app import start
from shared import config
from shared.service import run, set_up_logging


def main() -> int:
    """Run until stopped; returns the exit status."""
    try:
        settings, warnings = config.load_settings(None, os.environ)
    except config.ConfigError as problem:
        print(f"grantgate policy: {problem}", file=sys.stderr)
        return 2
    set_up_logging("policy", settings.log_level, settings.log_format)
    return run(warnings, lambda stack, stopping: start(settings, stack, stopping))


if __name__ == "__main__":
    sys.exit(main())
