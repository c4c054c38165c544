"""Changes that push did not bring, or brought too early, put in their order."""

from collections.abc import Mapping

import structlog
from prometheus_client import Counter

from services.policy.sources import KeysOverHttp, Unreachable
from services.policy.table import Gap, GrantTable
from shared import subjects
from shared.bus import BusUnavailable
from shared.changes import Change, decode_change
from shared.replication import decode_epoch
from shared.snapshots import BadSnapshot
from shared.streams import ChangeStream

log = structlog.get_logger()

_BATCH = 500
_HELD_AT_MOST = 4096
_HELD_BYTES = 64 * 1024 * 1024

FETCHED = Counter("changes_fetched", "Changes that push had not brought and were read")


class Trimmed(Exception):
    """The next change is no longer on the stream; snapshots hold it."""


class Hole(Exception):
    """The stream should hold a change and does not, and nobody else has it."""


def is_answer(headers: Mapping[str, str] | None) -> bool:
    """Whether a message was read out of a stream: nobody pushed it here who may.

    Another replica may have had a record of its own, with any content, sent to any subject.
    """
    return headers is not None and "Nats-Stream" in headers


class CatchUp:
    """Applies changes to a table in order, however they come."""

    def __init__(self, stream: ChangeStream, keys: KeysOverHttp | None) -> None:
        """Read from `stream`; what is not there is asked of `keys`."""
        self._stream = stream
        self._keys = keys
        self._held: dict[int, Change] = {}
        self._held_bytes = 0

    def forget(self) -> None:
        """Drop what is held: it may be of another history."""
        self._held.clear()
        self._held_bytes = 0

    def pushed(self, table: GrantTable, data: bytes) -> int:
        """Apply a change that was pushed, and those held that follow; says how many.

        Raises Gap when ones before it are missing (it is held meanwhile), Forked, Unreadable.
        """
        change = decode_change(data)
        try:
            applied = int(table.apply(change))
        except Gap:
            self._hold(change)
            raise
        return applied + self._apply_held(table) if applied else 0

    def _hold(self, change: Change) -> None:
        """Keep it for when its turn comes, if there is room; else it is read from the stream."""
        self._take_held(change.rev)
        size = self._held_bytes + len(change.decision)
        if len(self._held) < _HELD_AT_MOST and size <= _HELD_BYTES:
            self._held[change.rev] = change
            self._held_bytes = size

    def _take_held(self, rev: int) -> Change | None:
        change = self._held.pop(rev, None)
        if change is not None:
            self._held_bytes -= len(change.decision)
        return change

    def _apply_held(self, table: GrantTable) -> int:
        applied = 0
        while (change := self._take_held(table.rev + 1)) is not None:
            applied += table.apply(change)
        for old in [rev for rev in self._held if rev <= table.rev]:
            self._take_held(old)
        return applied

    async def follow(self, table: GrantTable, head: int) -> None:
        """Apply everything up to `head`.

        Raises Trimmed, Hole, Forked, Unreadable, BusUnavailable; what was applied stays.
        """
        self._apply_held(table)
        while table.rev < head:
            # From the leader: where the missing ones begin. The rest of them by the batch.
            stored = await self._stream.last(subjects.change(table.rev + 1))
            if stored is None:
                await self._elsewhere(table)
                continue
            seq, data = stored
            self._take(table, decode_change(data))
            while table.rev < head:
                try:
                    found = await self._stream.following(seq + 1, subjects.CHANGES, _BATCH)
                except BusUnavailable:
                    break  # an older server's stream gives no batches: one by one then
                before = table.rev
                for at, change in found:
                    seq = at
                    self._take(table, decode_change(change))
                if table.rev == before:
                    break

    def _take(self, table: GrantTable, change: Change) -> None:
        if change.rev == table.rev + 1:
            FETCHED.inc()
            table.apply(change)
            self._apply_held(table)

    async def _elsewhere(self, table: GrantTable) -> None:
        """Find the next change off the stream: in a snapshot when it was trimmed, else at keys."""
        missing = table.rev + 1
        stored = await self._stream.last(subjects.EPOCH)
        if stored is not None and decode_epoch(stored[1]).first_rev > missing:
            msg = f"revision {missing} was trimmed from the stream"
            raise Trimmed(msg)
        # Pushed meanwhile, perhaps.
        if table.rev >= missing:
            return
        if self._keys is not None:
            try:
                found = await self._keys.changes(table.rev)
            except (Unreachable, BadSnapshot) as problem:
                log.warning("changes_not_fetched", why=str(problem))
            else:
                for data in found:
                    self._take(table, decode_change(data))
        if table.rev < missing:
            msg = f"the stream does not hold revision {missing}"
            raise Hole(msg)
