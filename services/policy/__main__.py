"""`python -m services.policy`: one policy replica."""

import os
import sys
from contextlib import AsyncExitStack

from services.policy.app import start
from shared import config, parent
from shared.service import Stopping, run, set_up_logging
from shared.settings import Settings
from shared.tls import for_nats
from shared.workers import Service


def _check() -> None:
    settings, _ = config.load_settings(None, os.environ)
    for_nats(settings)


async def _start_workers(settings: Settings, stack: AsyncExitStack, stopping: Stopping) -> None:
    """Have replicas run that share the questions; each has a table and a lease of its own."""
    service = Service(
        name="policy",
        workers=settings.workers,
        internal="policy",
        host=settings.policy_host,
        port=settings.policy_port,
        drain_s=0.0,
        environ={},
        check=_check,
    )
    await parent.start(service, stack, stopping)


def main() -> int:
    """Run until stopped; returns the exit status."""
    try:
        settings, warnings = config.load_settings(None, os.environ)
    except config.ConfigError as problem:
        print(f"grantgate policy: {problem}", file=sys.stderr)
        return 2
    set_up_logging("policy", settings.log_level, settings.log_format)
    if settings.workers > 1:
        # Warnings about the configuration are the workers' to log.
        return run((), lambda stack, stopping: _start_workers(settings, stack, stopping))
    return run(warnings, lambda stack, stopping: start(settings, stack, stopping))


if __name__ == "__main__":
    sys.exit(main())
