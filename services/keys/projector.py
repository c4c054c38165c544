"""Copies committed records into queryable collections; nothing decides by the copies."""

import asyncio
from collections.abc import Sequence

import structlog
from bson.errors import InvalidDocument

from services.keys.errors import Unavailable
from services.keys.journal import Journal
from services.keys.log import CorruptLog, Entry, name_of, read_entry
from services.keys.state import Write
from services.keys.store import MongoStore
from shared.changes import GENESIS

log = structlog.get_logger()

_PAGE = 200
_RETRY_S = 1.0
_PAUSE_S = 0.2
"""Writes that come in quick succession are copied together, off the path of the next one."""


class Projector:
    """Follows the journal, from the revision the copies are complete up to."""

    def __init__(self, journal: Journal, store: MongoStore) -> None:
        """Project `journal`'s entries into `store`."""
        self._journal = journal
        self._store = store
        self._grown = asyncio.Event()
        journal.on_grown(self._grown.set)

    async def run(self) -> None:
        """Keep the copies up until cancelled."""
        said = ""
        while True:
            self._grown.clear()
            try:
                await self._keep_up()
                # The copies claim a revision the log does not have: an operator's matter.
                await self._grown.wait()
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
            except CorruptLog as problem:
                # Another one; the journal refuses writes by itself, and reads go on.
                if said != (said := str(problem)):
                    log.error("projection_stopped", why=said)  # noqa: TRY400
                await self._grown.wait()

    async def _keep_up(self) -> None:
        """Copy what grows; returns when the log has no revision to go on from."""
        done = await self._store.projected()
        chain = await self._journal.chain_at(done) if done else GENESIS
        while chain is not None:
            self._grown.clear()
            head = self._journal.state.rev
            # Only what the journal has read and checked: beyond a gap there may be more.
            found = await self._journal.entries_after(done, _PAGE)
            if page := [entry for entry in found if entry.rev <= head]:
                await self._project(page, chain)
                done, chain = page[-1].rev, page[-1].chain
            if done >= head or not page:
                await self._grown.wait()
                await asyncio.sleep(_PAUSE_S)

    async def _project(self, page: Sequence[Entry], previous: bytes) -> None:
        newest: dict[tuple[str, str | bytes], tuple[int, Write]] = {}
        for entry in page:
            writes, _ = read_entry(entry, previous)
            previous = entry.chain
            for write in writes:
                newest[name_of(write)] = (entry.rev, write)
        by_rev: dict[int, list[Write]] = {}
        for rev, write in newest.values():
            by_rev.setdefault(rev, []).append(write)
        by_rev.setdefault(page[-1].rev, [])
        for rev, writes_then in sorted(by_rev.items()):
            try:
                await self._store.project(rev, writes_then)
            except (InvalidDocument, OverflowError) as error:
                # Not log.exception: the trace would show the record.
                log.error("not_projected", revision=rev, error=type(error).__name__)  # noqa: TRY400
