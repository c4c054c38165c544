"""The processes of a service that runs as several: started, watched, replaced and stopped."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from http import HTTPStatus
from itertools import count

import aiohttp
import msgspec
import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.children import before_exec
from shared.config import ConfigError
from shared.exposition import merged
from shared.fleet import Act, Fleet
from shared.listening import reserved
from shared.service import WORKER

log = structlog.get_logger()

_LOOPBACK = "127.0.0.1"
_LOOK_S = 0.5
_LOOK_SOON_S = 0.05
"""How often workers are looked at, and how often while one of them starts."""
_STOP_S = 4.0
"""What a worker may take to stop beside draining."""

# Not the registry of the process: in that stand the metrics of a service that it does not run.
_REGISTRY = CollectorRegistry()
READY = Gauge("grantgate_workers_ready", "Workers that serve", registry=_REGISTRY)
ENDED = Counter(
    "grantgate_workers_ended", "Workers that ended though nobody asked them to", registry=_REGISTRY
)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers run: `services.<name>`, so many times.

    `internal` is the prefix of the two settings of its internal address, which is `host` and
    `port` for the parent and loopback for a worker. `environ` is added to each worker's. `check`
    raises ConfigError when a worker that was started now would end at once.
    """

    name: str
    workers: int
    internal: str
    host: str
    port: int
    drain_s: float
    environ: Mapping[str, str]
    check: Callable[[], object]


class _Running(msgspec.Struct):
    process: asyncio.subprocess.Process
    url: str
    lacks: str = "starting"


class Workers:
    """The processes of a fleet."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        """Run `service`; its workers are asked over `session`."""
        self.fleet = Fleet(service.workers, service.drain_s + _STOP_S)
        self._service = service
        self._session = session
        self._running: dict[int, _Running] = {}
        self._tending: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._turns = count()

    async def run(self) -> None:
        """Do what the fleet wants done, until it is over."""
        while True:
            for act, number in self.fleet.due(time.monotonic()):
                await self._do(act, number)
            if self.fleet.is_over:
                return
            is_starting = self.fleet.is_starting(time.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SOON_S if is_starting else _LOOK_S):
                    await self._news.wait()
            self._news.clear()
            await asyncio.gather(*(self._look_at(*each) for each in self._running.items()))
            READY.set(len(self.fleet.ready))

    def stop(self) -> None:
        """Have every worker drain and end, and `run` with the last."""
        self.fleet.stop()
        self._news.set()

    def reload(self) -> None:
        """Have every worker take a changed configuration into use."""
        for number in self._running:
            self._signal(number, signal.SIGHUP)

    async def roll(self) -> None:
        """Replace the workers one by one, unless new ones would not come up."""
        try:
            await asyncio.to_thread(self._service.check)
        except ConfigError as problem:
            log.error("configuration_refused", detail=str(problem), in_force="the one before")  # noqa: TRY400 - the line is for an operator
            return
        log.info("workers_replaced")
        self.fleet.roll()
        self._news.set()

    @property
    def is_ready(self) -> bool:
        """Whether any was when it was last looked at: one that hangs makes no answer late."""
        return bool(self.fleet.ready)

    def parts(self) -> dict[str, str]:
        """Each worker with "ok" or what it lacked when it was last looked at."""
        return {f"worker {number}": running.lacks for number, running in self._running.items()}

    async def _look_at(self, number: int, running: _Running) -> None:
        try:
            async with self._session.get(running.url + "/readyz") as answer:
                is_ready = answer.status == HTTPStatus.OK
                parts: dict[str, str] = (await answer.json())["parts"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            if self._running.get(number) is running:
                running.lacks = "does not answer"
                self.fleet.missed(number)
            return
        if self._running.get(number) is running:
            lacks = (f"{part}: {why}" for part, why in parts.items() if why != "ok")
            running.lacks = "; ".join(lacks) or "ok"
            self.fleet.heard(number, is_ready)

    async def metrics(self) -> bytes:
        """What all of them count, and what is counted of them."""

        async def text(running: _Running) -> str:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.get(running.url + "/metrics") as answer:
                    return await answer.text()
            return ""

        asked = {str(number): running for number, running in self._running.items()}
        texts = await asyncio.gather(*(text(running) for running in asked.values()))
        found = merged(dict(zip(asked, texts, strict=True)), "worker")
        return prometheus_client.generate_latest(_REGISTRY) + found.encode()

    def any_ready(self) -> str | None:
        """The internal address of a worker that is ready, of one after the other."""
        ready = self.fleet.ready
        return self._running[ready[next(self._turns) % len(ready)]].url if ready else None

    async def _do(self, act: Act, number: int) -> None:
        if act is Act.START:
            await self._start(number)
        else:
            log.info("worker_stopping", worker=number, by=act.value)
            self._signal(number, signal.SIGTERM if act is Act.TERMINATE else signal.SIGKILL)

    def _signal(self, number: int, what: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._running[number].process.send_signal(what)

    async def _start(self, number: int) -> None:
        held = ExitStack()
        parent = os.getpid()
        internal = f"GRANTGATE_{self._service.internal.upper()}"
        try:
            port = held.enter_context(reserved(_LOOPBACK, 0, for_one=True))
            process = await asyncio.create_subprocess_exec(
                # -P: a folder named `services` where this runs does not stand in for ours.
                *(sys.executable, "-P", "-m", f"services.{self._service.name}"),
                env={
                    **os.environ,
                    **self._service.environ,
                    "GRANTGATE_WORKERS": "1",
                    WORKER: str(number),
                    f"{internal}_HOST": _LOOPBACK,
                    f"{internal}_PORT": str(port),
                },
                stdin=asyncio.subprocess.DEVNULL,
                preexec_fn=lambda: before_exec(parent, signal.SIGTERM),
            )
        except OSError as problem:
            held.close()
            self.fleet.ended(number, time.monotonic())
            log.error("worker_not_started", worker=number, problem=str(problem))  # noqa: TRY400 - likewise
            return
        log.info("worker_started", worker=number, pid=process.pid)
        self._running[number] = _Running(process, f"http://{_LOOPBACK}:{port}")
        tending = asyncio.create_task(self._until_end(number, process, held))
        self._tending.add(tending)
        tending.add_done_callback(self._tending.discard)

    async def _until_end(
        self, number: int, process: asyncio.subprocess.Process, held: ExitStack
    ) -> None:
        with held:
            status = await process.wait()
        del self._running[number]
        if self.fleet.ended(number, time.monotonic()):
            log.info("worker_ended", worker=number, status=status)
        else:
            ENDED.inc()
            cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            log.error("worker_died", worker=number, cause=cause)
        self._news.set()
