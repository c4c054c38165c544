"""The one way to change a record: plan against the state at head, commit, publish, wait."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec
import structlog

from services.keys import failpoints, schemas
from services.keys.errors import ManagementError, Unavailable
from services.keys.log import CorruptLog, Entry, Origin, make_entry, read_entry
from services.keys.management import Plan
from services.keys.recent import RecentEntries
from services.keys.state import State, Write
from services.keys.store import Taken
from services.keys.waiting import Shared
from shared.changes import SCHEMA

log = structlog.get_logger()

_OWN = 2048
"""Revisions committed by this process that it remembers as its own."""

_SHARED_S = 1.0
"""For how long after a change of another replica the next one is expected."""

_UNSEEN_LOOKS = 25
_UNSEEN_PAUSE_S = 0.1
_UNSEEN = "the next revision is taken by a change that a majority does not hold yet; try again"

ADOPTED = "doctor/adopt-log"
"""The reason of the change by which an operator declares this log, as it is, the truth."""

Propagation = Literal["enforced", "pending"]


class Store(Protocol):
    """What the journal needs of the log's home."""

    async def append(self, entry: Entry, described: dict[str, object]) -> None:
        """Commit an entry. Raises Taken, Unavailable."""

    async def after(self, rev: int, limit: int = 1000) -> list[Entry]:
        """The entries that follow `rev`. Raises Unavailable."""


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a plan: the revision it is in, and whether that is in force everywhere."""

    plan: Plan
    revision: int
    propagation: Propagation


class Journal:
    """Holds the state at head; serialises this replica's writes and follows the others'."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        enforce: Callable[[int], Awaitable[Propagation]],
    ) -> None:
        """Read and append through `store`; `enforce` waits until a revision is in force."""
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._enforce = enforce
        self._lock = asyncio.Lock()
        self._looks = Shared(self._look)
        self._recent = RecentEntries()
        self._own: OrderedDict[int, None] = OrderedDict()
        self._others_wrote_at = float("-inf")
        self._on_grown: list[Callable[[], None]] = []
        self.state = State()
        self.adopted = 0
        """The revision of the newest change with the reason ADOPTED."""
        self.schema_used = 1
        """The newest schema that a record of the log needs."""
        self.log_bytes = 0
        """The size of all decision parts up to the head."""
        self.before_writes: Callable[[], Awaitable[object]] = _nothing
        """Waited for before each write; raises Unavailable when there is to be none yet."""
        self.writable_schema: Callable[[], int] = lambda: SCHEMA
        """The newest schema whose records may be committed now."""
        self.refusal: str | None = None
        """Why writes are refused until an operator has looked; None: they are not."""

    def on_grown(self, callback: Callable[[], None]) -> None:
        """Have `callback` called after the head has moved."""
        self._on_grown.append(callback)

    async def current(self) -> State:
        """The state at the log's head, as of now. Raises Unavailable.

        Callers share a look: however many they are, each waits for two of them at most.
        """
        await self._looks.fresh()
        return self.state

    async def _look(self) -> None:
        async with self._lock:
            await self._catch_up()

    async def commit(
        self,
        plan: Callable[[State], Plan],
        *,
        actor: str,
        request_id: str,
        wait: bool = True,
    ) -> Committed:
        """Commit what `plan` makes of the state at head, as one change, and wait for its force.

        `plan` may be called again when another replica was faster. Raises what it raises,
        Unavailable when the outcome is not known or writes are refused, TooLarge.
        """
        await self.before_writes()
        async with self._lock:
            revision, made = await self._append(plan, actor, request_id)
        propagation: Propagation = await self._enforce(revision) if wait else "pending"
        if made.writes:
            failpoints.reach("before_answer")
        return Committed(plan=made, revision=revision, propagation=propagation)

    async def entries_after(self, rev: int, limit: int) -> list[Entry]:
        """Committed entries that follow `rev`, from memory when they are recent."""
        recent = self._recent.after(rev, limit)
        return await self._store.after(rev, limit) if recent is None else recent

    def is_own(self, rev: int) -> bool:
        """Whether this process committed that revision, not long ago."""
        return rev in self._own

    async def chain_at(self, rev: int) -> bytes | None:
        """The chain value of a committed revision, None above the head."""
        if rev == self.state.rev:
            return self.state.chain
        found = await self.entries_after(rev - 1, 1)
        return found[0].chain if found and found[0].rev == rev else None

    async def _append(
        self, plan: Callable[[State], Plan], actor: str, request_id: str
    ) -> tuple[int, Plan]:
        """Plan on the state as this process has it; the commit itself tells if that was old.

        While other replicas write too, a look beforehand is cheaper than a commit that fails.
        """
        is_current = False
        clock = asyncio.get_running_loop().time
        if self.state.rev == 0 or clock() - self._others_wrote_at < _SHARED_S:
            await self._catch_up()
            is_current = True
        while True:
            try:
                done = await self._attempt(plan, actor, request_id, is_current=is_current)
            except Taken:
                await self._follow_faster()
            else:
                if done is not None:
                    return done
                await self._catch_up()
            is_current = True

    async def _attempt(
        self, plan: Callable[[State], Plan], actor: str, request_id: str, *, is_current: bool
    ) -> tuple[int, Plan] | None:
        """Plan and commit; None: only a look at the log can tell. Raises Taken too."""
        if self.refusal is not None:
            raise Unavailable(self.refusal)
        try:
            made = plan(self.state)
        except ManagementError:
            if is_current:
                raise
            return None
        if not made.writes:
            return (self.state.rev, made) if is_current else None
        entry, writes, origin = self._entry(made, actor, request_id)
        await self._store_next(entry, writes, origin, check=not is_current)
        return entry.rev, made

    async def _follow_faster(self) -> None:
        """Fold the change that took the next revision; a majority may not hold it yet."""
        before = self.state.rev
        for _ in range(_UNSEEN_LOOKS):
            await self._catch_up()
            if self.state.rev > before or self.refusal is not None:
                return
            await asyncio.sleep(_UNSEEN_PAUSE_S)
        raise Unavailable(_UNSEEN)

    def _entry(
        self, made: Plan, actor: str, request_id: str
    ) -> tuple[Entry, tuple[Write, ...], Origin]:
        """What would put this plan at the head. Raises TooLarge, Unavailable."""
        origin = Origin(
            op_id=self._new_id(),
            at=self._clock(),
            actor=actor,
            request_id=request_id,
            reason=made.reason,
            once=made.once,
        )
        entry = make_entry(self.state.rev + 1, self.state.chain, made.writes, origin)
        entry.check_size()
        # Read back before the commit: nothing is stored that a reader would choke on.
        writes, _ = read_entry(entry, self.state.chain)
        if schemas.of_decision(entry.decision) > self.writable_schema():
            msg = "a policy replica of an older version is, or may be, alive; upgrade them all"
            raise Unavailable(msg)
        return entry, writes, origin

    async def _store_next(
        self, entry: Entry, writes: tuple[Write, ...], origin: Origin, *, check: bool
    ) -> None:
        """Commit, and see that what it follows is still in the log. Raises Taken, Unavailable.

        `check` unless that was seen a moment ago.
        """
        failpoints.reach("before_commit")
        stored, head = await asyncio.gather(
            self._store.append(entry, origin.described(len(writes))),
            self._store.after(self.state.rev - 1, 1) if check else _nothing(),
            return_exceptions=True,
        )
        if isinstance(stored, BaseException):
            raise stored
        if isinstance(head, BaseException):
            raise head
        if check and not self._is_head(head):
            # A log that was restored from an older copy has lost it, and ours makes a gap.
            self._refuse_without_head()
            raise Unavailable(self.refusal or "")
        failpoints.reach("after_commit")
        self._own[entry.rev] = None
        if len(self._own) > _OWN:
            self._own.popitem(last=False)
        self._grow(entry, writes, origin)

    def _is_head(self, found: list[Entry]) -> bool:
        return bool(found) and (found[0].rev, found[0].chain) == (self.state.rev, self.state.chain)

    def _refuse_without_head(self) -> None:
        self.refuse_writes(f"the log no longer holds revision {self.state.rev} as it was")

    async def _catch_up(self) -> None:
        """Fold what others committed, after a look that our own head is still in the log."""
        while True:
            # From one before the head: a log restored from an older copy has lost the head.
            found = await self._store.after(max(self.state.rev - 1, 0))
            if self.state.rev:
                if not self._is_head(found):
                    self._refuse_without_head()
                    return
                found = found[1:]
            if not found or not self._fold(found):
                return

    def _fold(self, entries: list[Entry]) -> bool:
        for entry in entries:
            if entry.rev != self.state.rev + 1:
                self.refuse_writes(f"the log has a gap after revision {self.state.rev}")
                return False
            try:
                writes, origin = read_entry(entry, self.state.chain)
            except CorruptLog as problem:
                self.refuse_writes(str(problem))
                return False
            self._grow(entry, writes, origin)
        self._others_wrote_at = asyncio.get_running_loop().time()
        return True

    def _grow(self, entry: Entry, writes: tuple[Write, ...], origin: Origin) -> None:
        self.state.fold(entry.rev, writes, entry.chain, origin.once)
        self.log_bytes += len(entry.decision)
        self.schema_used = max(self.schema_used, schemas.of_decision(entry.decision))
        if origin.reason == ADOPTED:
            self.adopted = entry.rev
        self._recent.add(entry)
        for callback in self._on_grown:
            callback()

    def refuse_writes(self, why: str) -> None:
        """Refuse every write from now on: the history is in doubt and an operator must look."""
        if self.refusal != why:
            log.error("writes_refused", why=why)
        self.refusal = why


async def _nothing() -> list[Entry]:
    return []
