"""`python -m services.gateway`: one gateway."""

import os
import sys
from contextlib import AsyncExitStack

from services.gateway.app import check, start
from services.gateway.upstreams import Upstreams, build
from shared import config, parent
from shared.config import Config
from shared.listening import named, reserved
from shared.service import Stopping, run, set_up_logging
from shared.settings import Settings
from shared.workers import Service


def _read() -> tuple[Config, Upstreams]:
    loaded = config.load(None, os.environ)
    return loaded, build(loaded, os.environ)


def _check() -> None:
    check(_read()[0].settings)


async def _start_workers(settings: Settings, stack: AsyncExitStack, stopping: Stopping) -> None:
    """Have gateways of one port run; a port of 0 is chosen once for all of them."""
    host, wanted = settings.gateway_host, settings.gateway_port
    with named(host, wanted):
        port = stack.enter_context(reserved(host, wanted))
    service = Service(
        name="gateway",
        workers=settings.workers,
        internal="gateway_internal",
        host=settings.gateway_internal_host,
        port=settings.gateway_internal_port,
        drain_s=settings.drain_delay_s + settings.drain_s,
        environ={"GRANTGATE_GATEWAY_PORT": str(port)},
        check=_check,
    )
    await parent.start(service, stack, stopping)


def main() -> int:
    """Run until stopped; returns the exit status."""
    try:
        loaded, upstreams = _read()
    except config.ConfigError as problem:
        print(f"grantgate gateway: {problem}", file=sys.stderr)
        return 2
    set_up_logging("gateway", loaded.settings.log_level, loaded.settings.log_format)
    if loaded.settings.workers > 1:
        # Warnings about the configuration are the workers' to log.
        return run((), lambda stack, stopping: _start_workers(loaded.settings, stack, stopping))
    return run(loaded.warnings, lambda stack, stopping: start(loaded, upstreams, stack, stopping))


if __name__ == "__main__":
    sys.exit(main())
