"""Opens the log, and keeps its declared catalogue that of the configuration."""

import asyncio
import gc
from contextlib import suppress

import structlog
from prometheus_client import Gauge

from services.keys.declared import declare, differs
from services.keys.errors import AlreadyTaken, TooLarge, Unavailable
from services.keys.journal import Journal
from services.keys.records import ModelRecord
from services.keys.store import MongoStore
from shared.http import Readiness

log = structlog.get_logger()

DIFFERS = Gauge("keys_catalogue_differs", "1 while another replica's configuration is in force")
_LOOK_S = 1.0
_PATIENCE_S = 3.0
"""How long another replica's catalogue may be in force before it is told of: a file that has
changed for all of them is not read by all at the same moment."""

_CURES: dict[type[Exception], str] = {
    AlreadyTaken: "give the entry another model_info.id; or leave it out of the file, delete the"
    " stored model with POST /model/delete, and put it in again",
    TooLarge: "change the file in smaller steps",
}

Models = tuple[ModelRecord, ...]


class Declaring:
    """The one who writes what the configuration declares, at start and after each reload."""

    def __init__(
        self, store: MongoStore, journal: Journal, readiness: Readiness, models: Models
    ) -> None:
        """Begin with `models` to be declared."""
        self._store = store
        self._journal = journal
        self._readiness = readiness
        self._models = models
        self._in_force = models
        self._is_due = True
        self._is_open = False
        self._woken = asyncio.Event()
        self._differs_since: float | None = None
        self._told_at = -1

    def want(self, models: Models) -> None:
        """Have the declared catalogue become this one, by one change, as soon as it can be."""
        self._models = models
        self._is_due = True
        self._woken.set()

    async def run(self) -> None:
        """Declare what is wanted, and tell when another replica has declared something else."""
        while True:
            self._woken.clear()
            try:
                await self._look()
            except Unavailable as problem:
                self._readiness.set("log", False, str(problem))
            if self._is_open:
                self._compare()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._woken.wait()

    async def _look(self) -> None:
        if not self._is_open:
            await self._store.prepare()
        state = await self._journal.current()
        if self._is_due:
            await self._declare()
        if not self._is_open:
            state.index.build()
            # What was read stays: a collection that walked all of it would hold up every answer.
            gc.collect()
            gc.freeze()
            self._is_open = True
        refusal = self._journal.refusal
        self._readiness.set("log", refusal is None, refusal or "")

    async def _declare(self) -> None:
        models = self._models
        try:
            committed = await self._journal.commit(
                lambda state: declare(state, models),
                actor="config",
                request_id="config",
                wait=False,
            )
        except (AlreadyTaken, TooLarge) as problem:
            cure = _CURES[type(problem)]
            log.error("configuration_refused", detail=str(problem), cure=cure)  # noqa: TRY400 - the line is for an operator
            if not self._is_open:
                raise
            if self._models is models:
                self._models = models = self._in_force
        else:
            self._in_force = models
            log.info(
                "catalogue_declared",
                revision=committed.revision,
                changes=len(committed.plan.writes),
            )
        # Another may have been wanted meanwhile.
        self._is_due = self._models is not models

    def differs(self) -> bool:
        """Whether another catalogue than the one wanted here is in force."""
        return differs(self._journal.state, self._models)

    def _compare(self) -> None:
        other = self.differs()
        DIFFERS.set(other)
        now = asyncio.get_running_loop().time()
        if not other:
            self._differs_since = None
            return
        self._differs_since = self._differs_since or now
        rev = self._journal.state.rev
        if self._told_at != rev and now - self._differs_since >= _PATIENCE_S:
            self._told_at = rev
            log.error("configuration_differs", cure="give every keys replica the same model_list")
