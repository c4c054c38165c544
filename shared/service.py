"""How a service lives: one event loop, one stack of what it opened, one way to stop."""

import asyncio
import atexit
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TextIO, cast

import structlog
import uvloop

from shared.log_writer import STDERR
from shared.reading import ConfigError

WORKER = "GRANTGATE_WORKER"
"""The variable in which a worker of several finds its number."""

_CANCEL_AGAIN_S = 0.25
_LOOKUP_THREADS = 64
"""Half of libuv's threads look names up at the same time: of its default 4, two names that a
nameserver is silent about keep every connection to any other name from being made."""
_YOUNG = 20_000
"""New objects after which cycles are looked for among them."""
_FILES = 65_536
"""Open files a process asks for, at most: whoever connects takes one, and some 55 KiB of memory
before a TLS handshake is over, so that this is also what strangers can make a gateway hold."""
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds since boot, suspend included: the clock of leases and barriers.

    Nothing sets it, so a wall clock that jumps changes nothing. (Where a system has no
    CLOCK_BOOTTIME, the monotonic clock, which stands still while the machine sleeps.)
    """
    return time.clock_gettime(_BOOTTIME)


def set_up_logging(service: str, level: str, form: str) -> None:
    """Send every log line, the libraries' too, to stderr as JSON (or for people: "console")."""
    shared_steps: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False)
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    stderr = cast("TextIO", STDERR)  # the part of one that both libraries use
    # The interpreter's own words too: a process that dies of an error must not wait to say so.
    sys.stderr = stderr
    atexit.register(STDERR.finish)
    structlog.configure(
        processors=[*shared_steps, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_steps,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    structlog.contextvars.bind_contextvars(service=service)
    if (worker := os.environ.get(WORKER, "")).isdecimal():
        structlog.contextvars.bind_contextvars(worker=int(worker))


class Stopping:
    """Set once the service is asked to stop; a watchdog may ask too, with an exit status."""

    def __init__(self) -> None:
        """Begin with nobody asking."""
        self._event = asyncio.Event()
        self.exit_status = 0

    def ask(self, exit_status: int = 0) -> None:
        """Stop the service; the first non-zero status is what the process ends with."""
        self.exit_status = self.exit_status or exit_status
        self._event.set()

    async def wait(self) -> None:
        """Return when somebody asked."""
        await self._event.wait()


@asynccontextmanager
async def owned_task(
    work: Coroutine[Any, Any, None], name: str, on_death: Callable[[BaseException | None], None]
) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` as a task that ends with the block; `on_death` hears when it ends earlier."""
    task = asyncio.create_task(work, name=name)
    leaving = False

    def ended(done: asyncio.Task[None]) -> None:
        if not leaving:
            on_death(None if done.cancelled() else done.exception())

    task.add_done_callback(ended)
    try:
        yield task
    finally:
        leaving = True
        await end(task)


def _seldom_look_for_cycles() -> None:
    """Leave what a start has made out of collections, and look at the rest less often.

    Requests leave hardly any cycles, and the 700 objects that Python waits for by default are
    those of a few requests in flight: 5 % of a gateway's time went into looking at them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)


def _allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one.

    The usual soft limit, 1,024, is for programs that use `select`. A request in flight has a client
    and an upstream, so it would be the limit of some five hundred.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a system may have a limit of its own below that
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it is over; raises what it ended with, if not the cancellation.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which nats-py's requests use, takes
    a cancellation that meets its result for done, and the task goes on.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
    if not task.cancelled():
        task.result()


def run(
    warnings: Iterable[str], start: Callable[[AsyncExitStack, Stopping], Awaitable[None]]
) -> int:
    """Start a service, keep it until SIGTERM, SIGINT or a watchdog asks, close in reverse order.

    `warnings` about its configuration are logged first. Returns the exit status: 0 after an
    orderly stop, 2 for a ConfigError, which is told as `main` tells those of the file.
    """
    _allow_open_files()
    log = structlog.get_logger()
    for warning in warnings:
        log.warning("configuration", detail=warning)

    async def live() -> int:
        stopping = Stopping()
        loop = asyncio.get_running_loop()
        STDERR.use(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.ask)
        # Until, and unless, a service has something to reload: it must not die of it.
        loop.add_signal_handler(signal.SIGHUP, lambda: log.info("nothing_to_reload"))
        async with AsyncExitStack() as stack:
            starting = asyncio.ensure_future(start(stack, stopping))
            asked = asyncio.ensure_future(stopping.wait())
            await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                _seldom_look_for_cycles()
                log.info("started")
                await asked
            else:
                await end(starting)
            log.info("stopping")
        log.info("stopped")
        return stopping.exit_status

    os.environ.setdefault("UV_THREADPOOL_SIZE", str(_LOOKUP_THREADS))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(live())
        except ConfigError as problem:
            service = structlog.contextvars.get_contextvars().get("service")
            STDERR.write(f"grantgate {service}: {problem}\n")
            return 2
