"""Writes the whole table to the bus now and then, so that no replica reads the log from its start.

A snapshot is chunks and, last of all, a new index that names it: until then it does not exist.
The index is replaced conditionally, so of several keys replicas that write at once one wins.
A stream that was lost and made anew meanwhile has none of the chunks: what the index names counts
only when all of it is there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import structlog
from prometheus_client import Counter, Gauge

from services.keys.errors import Unavailable
from services.keys.publisher import Publisher
from services.keys.state import Record, State
from shared import snapshots, subjects
from shared.bus import BusUnavailable
from shared.changes import SCHEMA, Mutation, RetiredKey
from shared.snapshots import BadSnapshot, Index, Manifest
from shared.streams import SnapshotStream, Superseded

log = structlog.get_logger()

_LOOK_S = 1.0
_FAILED_PAUSE_S = 30.0
_CHECK_LOOKS = 10
"""Each so many looks the index is read though none is due: the bus may have lost it."""
_FILL_AT_MOST = 500
"""Changes a new epoch is filled with one by one; above, it begins with a snapshot."""

WRITTEN = Counter("keys_snapshots_written", "Snapshots put on the bus")
FAILED = Counter("keys_snapshots_failed", "Snapshots that could not be put on the bus")
REVISION = Gauge("keys_snapshot_revision", "The revision of the newest snapshot on the bus")


class Journal(Protocol):
    """What is snapshotted: the state at the log's head."""

    refusal: str | None
    log_bytes: int

    @property
    def state(self) -> State:
        """The state at the head."""

    async def current(self) -> State:
        """The state at the head, as of now. Raises Unavailable."""

    async def chain_at(self, rev: int) -> bytes | None:
        """The chain value of a committed revision. Raises Unavailable."""


class Capture:
    """The decision parts at one moment; the state may go on meanwhile."""

    def __init__(self, state: State, log_bytes: int, epoch: str, snapshot: str) -> None:
        """Hold the records as they are now, without copying them."""
        self.rev, self.chain, self.log_bytes = state.rev, state.chain, log_bytes
        self.epoch, self.id = epoch, snapshot
        self._records: Sequence[Record] = list(state.records())

    def chunks(self) -> Iterator[bytes]:
        """The same chunks each time."""
        return snapshots.cut(_decision(record) for record in self._records)

    def manifest(self, digests: Sequence[bytes]) -> Manifest:
        """The manifest, once the digest of every chunk is known."""
        return Manifest(
            id=self.id,
            rev=self.rev,
            chain=self.chain,
            epoch=self.epoch,
            schema=SCHEMA,
            records=len(self._records),
            log_bytes=self.log_bytes,
            chunks=tuple(digests),
        )


def _decision(record: Record) -> Mutation:
    return record if isinstance(record, RetiredKey) else record.grant


async def parts(capture: Capture) -> AsyncIterator[bytes]:
    """A snapshot as a file or an HTTP answer has it; other work gets its turn between chunks."""
    digests = []
    for chunk in capture.chunks():
        digests.append(snapshots.digest(chunk))
        await asyncio.sleep(0)
    yield snapshots.heading(capture.manifest(digests))
    for chunk in capture.chunks():
        yield snapshots.frame(chunk)


class Found(NamedTuple):
    """What is on the bus: the index's sequence, 0 for none, and of its snapshots those that serve.

    They are whole, and tell this log's history; newest first.
    """

    seq: int
    kept: tuple[Manifest, ...]


class Snapshots:
    """The snapshots on the bus: written when the log has grown, the last two kept."""

    def __init__(
        self,
        journal: Journal,
        stream: SnapshotStream,
        *,
        every: int,
        every_bytes: int,
        new_id: Callable[[], str],
    ) -> None:
        """Write one each `every` changes, or `every_bytes` of decisions, whichever is first."""
        self._journal = journal
        self._stream = stream
        self._every = every
        self._every_bytes = every_bytes
        self._new_id = new_id
        self._writing = asyncio.Lock()
        self._newest: Manifest | None = None
        self._looks = 0

    async def run(self, publisher: Publisher) -> None:
        """Write when one is due, until cancelled; then let the stream be trimmed."""
        while True:
            pause = _LOOK_S
            try:
                await self._write_when_due(publisher)
            except Superseded:
                pass  # another replica wrote one meanwhile
            except (BusUnavailable, Unavailable) as problem:
                FAILED.inc()
                log.warning("snapshot_failed", why=str(problem))
                pause = _FAILED_PAUSE_S
            await asyncio.sleep(pause)

    async def _write_when_due(self, publisher: Publisher) -> None:
        epoch = publisher.epoch
        if epoch is None or not epoch.complete or self._journal.refusal is not None:
            return
        self._looks += 1
        if self._looks % _CHECK_LOOKS != 1 and not self._is_due(self._newest):
            return
        found = await self.read()
        kept = found.kept
        if kept and kept[0].rev > publisher.published_rev:
            return  # nobody can start from it yet; one more would push out the one that serves
        # A trimmed stream without a snapshot would be one nobody can start from.
        if self._is_due(kept[0] if kept else None) or (epoch.first_rev > 1 and not kept):
            kept = (await self.write(epoch.id, found)).snapshots
        if kept:
            self._newest = kept[0]
            REVISION.set(kept[0].rev)
        if len(kept) > 1:
            publisher.trim_below(kept[-1].rev, epoch.id)

    def _is_due(self, newest: Manifest | None) -> bool:
        rev, size = (0, 0) if newest is None else (newest.rev, newest.log_bytes)
        grown = self._journal.state.rev - rev
        return grown >= self._every or (
            grown > 0 and self._journal.log_bytes - size >= self._every_bytes
        )

    async def base(self) -> int:
        """From which revision a new epoch of the stream is to be filled.

        The log's first, when it is short; else the revision of a snapshot that is on the bus,
        written now if need be. The change at that revision is published too, so that a snapshot
        is recognised by its chain. Raises BusUnavailable, Superseded, Unavailable.
        """
        head = self._journal.state.rev
        if head <= _FILL_AT_MOST:
            return 1
        found = await self.read()
        kept = found.kept
        if not kept or head - kept[0].rev > _FILL_AT_MOST:
            kept = (await self.write("", found)).snapshots
        return kept[0].rev

    async def write(self, epoch: str, found: Found) -> Index:
        """Put a snapshot of the head on the bus, in place of what was found there.

        Returns the index that names it. Raises Superseded when another replica has put one there
        since; BusUnavailable, also when a chunk is gone by then, as when the stream was made anew
        meanwhile.
        """
        async with self._writing:
            await self._stream.create()
            capture = Capture(self._journal.state, self._journal.log_bytes, epoch, self._new_id())
            digests = []
            for number, chunk in enumerate(capture.chunks()):
                await self._stream.put(subjects.snapshot_chunk(capture.id, number), chunk)
                digests.append(snapshots.digest(chunk))
            made = capture.manifest(digests)
            new = snapshots.newest_two(made, found.kept)
            seq = await self._stream.put(
                subjects.SNAPSHOT_INDEX,
                snapshots.encode(new),
                after=(subjects.SNAPSHOT_INDEX, found.seq),
            )
            await self._settle(new, seq)
            WRITTEN.inc()
            log.info("snapshot_written", revision=made.rev, records=made.records)
            return new

    async def _settle(self, index: Index, seq: int) -> None:
        """Make sure of what was just put there, and remove the chunks it does not name.

        Of those none that was written after it. A replica that began to write before it cannot
        finish: its index is refused.
        """
        there = await self._stream.subjects_under(subjects.SNAPSHOT_CHUNKS)
        if await self._stream.last(subjects.SNAPSHOT_INDEX) != (seq, snapshots.encode(index)):
            raise Superseded  # what is there may be of a newer index, in a stream made anew even
        named = {manifest.id for manifest in index.snapshots}
        for gone in sorted({subjects.snapshot_of(subject) for subject in there} - named):
            await self._stream.purge(subject=subjects.snapshot_chunks(gone), up_to=seq)
        if not await self._is_whole(index.snapshots[0]):
            msg = "it lost a chunk of the snapshot that was just written"
            raise BusUnavailable(msg)

    async def read(self) -> Found:
        """Look what is there. Raises BusUnavailable, Unavailable."""
        seq, index = await self._index()
        whole = tuple([each for each in index.snapshots if await self._is_whole(each)])
        return Found(seq, await self._of_this_log(Index(snapshots=whole)))

    async def _is_whole(self, manifest: Manifest) -> bool:
        # Of all chunks there are, the server would name so many and no more.
        there = await self._stream.subjects_under(subjects.snapshot_chunks(manifest.id))
        return len(there) == len(manifest.chunks)

    async def _index(self) -> tuple[int, Index]:
        found = await self._stream.last(subjects.SNAPSHOT_INDEX)
        if found is None:
            return 0, Index()
        try:
            return found[0], snapshots.decode_index(found[1])
        except BadSnapshot:
            log.warning("snapshot_index_unreadable")
            return found[0], Index()

    async def _of_this_log(self, index: Index) -> tuple[Manifest, ...]:
        """The snapshots that tell this log's history, newest first."""
        if any(manifest.rev > self._journal.state.rev for manifest in index.snapshots):
            # Another replica's, of changes not seen here: it is not to be replaced by an older.
            await self._journal.current()
        return tuple([m for m in index.snapshots if m.chain == await self._journal.chain_at(m.rev)])
