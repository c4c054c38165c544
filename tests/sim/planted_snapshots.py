"""Bugs put into the writing and reading of snapshots, and into the trimming of the stream."""

from services.keys.publisher import Publisher
from services.keys.snapshots import Snapshots
from services.policy import rebuild
from services.policy.feed import Feed
from shared import snapshots, subjects
from shared.changes import Change
from shared.replication import Epoch
from shared.snapshots import Index, Manifest
from shared.streams import SnapshotStream
from tests.sim.parts import Site, site_with


class EagerTrimmer(Publisher):
    """Trims up to the head, whatever the snapshots hold."""

    def trim_below(self, rev: int, epoch: str) -> None:
        del rev
        super().trim_below(self.published_rev, epoch)


class BehindSnapshots(Snapshots):
    """Replaces what a replica that is ahead has written."""

    async def _of_this_log(self, index: Index) -> tuple[Manifest, ...]:
        known = tuple(m for m in index.snapshots if m.rev <= self._journal.state.rev)
        return await super()._of_this_log(Index(snapshots=known))


class UnpublishedSnapshots(Snapshots):
    """Writes one after another though the stream holds none of them yet."""

    async def _write_when_due(self, publisher: Publisher) -> None:
        await super()._write_when_due(_AllPublished(publisher))


class _AllPublished:
    published_rev = 1_000_000

    def __init__(self, publisher: Publisher) -> None:
        self.epoch = publisher.epoch
        self.trim_below = publisher.trim_below


class IndexFirstStream(SnapshotStream):
    """What is put need not be there yet when the index that names it is."""

    async def put(self, subject: str, data: bytes, *, after=None) -> int:
        if subject == subjects.SNAPSHOT_INDEX:
            seq = await super().put(subject, data, after=after)
            for chunk in getattr(self, "_held", []):
                await super().put(*chunk)
            return seq
        self._held = [*getattr(self, "_held", []), (subject, data)][-3:]
        return 0


class IndexFirstSnapshots(Snapshots):
    """Names a snapshot before its chunks are stored, and does not look whether they are there."""

    async def _is_whole(self, manifest: Manifest) -> bool:
        del manifest
        return True

    def __init__(self, journal, stream, **settings) -> None:
        super().__init__(
            journal, IndexFirstStream(stream._client, beginning=stream._beginning), **settings
        )


class SnapshotIsHeadFeed(Feed):
    """Takes a table that was just built for one at the head."""

    _built = -1

    async def _rebuild(self, epoch: Epoch) -> None:
        await super()._rebuild(epoch)
        self._built = self.table.rev

    async def _follow(self, head: Change) -> str | None:
        return None if self.table.rev == self._built else await super()._follow(head)


async def _filled_somehow(manifest: Manifest, chunks, source: str):
    """Put together what chunks there are."""
    del source
    table = rebuild.GrantTable()
    async for chunk in chunks:
        table.fill(*rebuild.decode_mutations(chunk))
    table.begin_at(manifest.rev, manifest.chain)
    return table


def _unchecked(manifest: Manifest, number: int, chunk: bytes) -> None:
    """Take a chunk without a look at its hash."""


PLANTED: dict[str, type[Site]] = {
    "stream trimmed beyond the older snapshot": site_with(publisher=EagerTrimmer),
    "snapshot of one behind replaces a newer": site_with(snapshots=BehindSnapshots),
    "unpublished snapshots replace the last good": site_with(snapshots=UnpublishedSnapshots),
    "index names chunks that are not there, and nobody looks": site_with(
        snapshots=IndexFirstSnapshots
    ),
    "lease on a snapshot without following": site_with(feed=SnapshotIsHeadFeed),
    "torn snapshot trusted": site_with(patches=((rebuild, "_filled", _filled_somehow),)),
    "chunks of a snapshot not checked": site_with(patches=((snapshots, "check", _unchecked),)),
}
"""What is wrong -> a site with that wrong in it."""
