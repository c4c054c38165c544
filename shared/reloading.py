"""A configuration file that changes while its service runs.

A good one is taken whole; a bad one is reported, and the one before stays in force.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from prometheus_client import Gauge

from shared import config
from shared.config import Config, ConfigError
from shared.reading import Place
from shared.settings import changed

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
"""How often the file is glanced at. A change is read once it has stood still from one glance to
the next: a file that is just being written may be valid, and lack half of its models."""

REFUSED = Gauge(
    "grantgate_configuration_refused",
    "1 while the configuration file has a mistake and the one before it is in force",
)

Ready = TypeVar("Ready")
Stamp = tuple[int, ...]


class Reloader(Generic[Ready]):
    """Takes the file a service was started with into use again when it has changed."""

    def __init__(
        self,
        running: Config,
        prepare: Callable[[Config], Ready],
        take: Callable[[Ready], None],
        environ: Mapping[str, str],
    ) -> None:
        """`prepare` makes of a new file what `take` puts into use; it may raise ConfigError.

        `prepare` is called in a thread, `take` in the event loop.
        """
        self._running = running
        self._digest = running.digest
        self._prepare = prepare
        self._take = take
        self._environ = environ
        self._read_at: Stamp | None = None
        self._before: Stamp | None = None
        self._lock = asyncio.Lock()
        self._asked = asyncio.Event()

    async def run(self) -> None:
        """Reload when the file has changed, and whenever SIGHUP comes, until cancelled."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)
        looks = self._running.settings.reload_config
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S if looks else None):
                    await self._asked.wait()
            if self._asked.is_set():
                self._asked.clear()
                await self._reload(even_unchanged=True)
            else:
                await self.glance()

    async def glance(self) -> None:
        """Reload if the file has changed, and not since the glance before."""
        now = await asyncio.to_thread(_stamp, self._running.file)
        if now == self._before and now != self._read_at:
            await self._reload()
        self._before = now

    async def look(self) -> None:
        """Reload now if the file is another than when it was last read."""
        if self._running.settings.reload_config:
            await self._reload()

    async def _reload(self, *, even_unchanged: bool = False) -> None:
        async with self._lock:
            stamp = await asyncio.to_thread(_stamp, self._running.file)
            if stamp == self._read_at and not even_unchanged:
                return
            try:
                found = await asyncio.to_thread(self._read, stamp, even_unchanged)
            except ConfigError as problem:
                self._read_at = stamp
                REFUSED.set(1)
                log.error("configuration_refused", detail=str(problem), in_force="the one before")  # noqa: TRY400 - the line is for an operator
                return
            # Only now: who waits for a look may leave, and the next one has to look again.
            self._read_at = stamp
            REFUSED.set(0)
            if found is not None:
                self._use(*found)

    def _read(self, stamp: Stamp, even_unchanged: bool) -> tuple[Config, Ready] | None:
        """The file's content, ready for use; None when it is what is in use."""
        file = self._running.file
        if stamp and stamp[-1] == 0:
            # What is left when the disk was full, or when writing it was cut off.
            what, cure = "is empty", "write `model_list: []` to remove every model"
            raise Place(file).error(what, cure)
        if not even_unchanged and config.digest_of(file) == self._digest:
            return None
        found = config.load(file, self._environ)
        return found, self._prepare(found)

    def _use(self, found: Config, ready: Ready) -> None:
        self._digest = found.digest
        for warning in found.warnings:
            log.warning("configuration", detail=warning)
        kept = [f"grantgate.{name}" for name in changed(self._running.settings, found.settings)]
        if _revealed(found) != _revealed(self._running):
            kept.append("general_settings.master_key")
        if kept:
            what = f"{', '.join(kept)}: read at start only; restart the service to use the change"
            log.warning("configuration", detail=Place(found.file).line(what))
        self._take(ready)
        log.info("configuration_reloaded", file=found.file, models=len(found.models))


def stamp(file: str) -> Stamp:
    """What changes when the file, or a link that leads to it, does. OSError without it."""
    found = Path(file).stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _stamp(file: str) -> Stamp:
    """The same; empty when it is not there."""
    try:
        return stamp(file)
    except (OSError, ValueError):
        return ()


def _revealed(found: Config) -> str | None:
    return None if found.master_key is None else found.master_key.reveal()
