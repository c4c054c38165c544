"""A table built beside the one in use, from the best snapshot there is; swapped in when done."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial

import structlog
from prometheus_client import Counter

from services.policy.own_copy import OwnCopy
from services.policy.sources import Bucket, KeysOverHttp, Unreachable
from services.policy.table import GrantTable
from shared import snapshots, subjects
from shared.bus import BusUnavailable
from shared.changes import Unreadable, decode_change, decode_mutations
from shared.replication import Epoch
from shared.snapshots import BadSnapshot, Manifest
from shared.streams import ChangeStream

log = structlog.get_logger()

BUILT = Counter("policy_tables_built", "Tables built from a whole copy", ["source"])


class NothingToStartFrom(Exception):
    """The stream does not go back to the first change, and no snapshot could be had."""


class Rebuilder:
    """Knows the places a whole table may come from, in the order in which they are tried."""

    def __init__(
        self,
        stream: ChangeStream,
        bucket: Bucket | None = None,
        copy: OwnCopy | None = None,
        keys: KeysOverHttp | None = None,
    ) -> None:
        """Build for `stream`; a place that is None is not tried."""
        self._stream = stream
        self._bucket = bucket
        self._copy = copy
        self.keys = keys

    async def build(self, epoch: Epoch) -> GrantTable:
        """A table at the newest snapshot that the stream goes on from.

        Raises NothingToStartFrom, BusUnavailable.
        """
        built = await self._from_snapshots(epoch) or await self._from_keys(epoch)
        if built is not None:
            return built
        if epoch.first_rev <= 1:
            return GrantTable()
        msg = f"the stream begins at revision {epoch.first_rev}, and there is no snapshot of it"
        raise NothingToStartFrom(msg)

    async def _from_snapshots(self, epoch: Epoch) -> GrantTable | None:
        offers: list[tuple[Manifest, str, Callable[[], AsyncGenerator[bytes, None]]]] = []
        if self._copy is not None and (own := await self._copy.manifest()) is not None:
            offers.append((own, "disk", self._copy.chunks))
        if self._bucket is not None:
            try:
                kept = (await self._bucket.index()).snapshots
                offers += [(each, "bus", partial(self._bucket.chunks, each)) for each in kept]
            except (BusUnavailable, BadSnapshot) as problem:
                log.warning("snapshots_unreadable", why=str(problem))
        # Newest first; of the same revision the one on disk, which costs the bus nothing.
        for manifest, source, read in sorted(offers, key=lambda offer: -offer[0].rev):
            if not await self._joins(manifest, epoch):
                continue
            try:
                async with aclosing(read()) as chunks:
                    return await _filled(manifest, chunks, source)
            except (BadSnapshot, BusUnavailable, OSError, Unreadable) as problem:
                log.warning("snapshot_ignored", source=source, why=str(problem))
        return None

    async def _from_keys(self, epoch: Epoch) -> GrantTable | None:
        # A stream that holds every change needs no help of keys.
        if self.keys is None or epoch.first_rev <= 1:
            return None
        try:
            async with self.keys.snapshot() as (manifest, chunks):
                if await self._joins(manifest, epoch):
                    return await _filled(manifest, chunks, "keys")
        except (BadSnapshot, Unreachable, Unreadable) as problem:
            log.warning("snapshot_ignored", source="keys", why=str(problem))
        return None

    async def _joins(self, manifest: Manifest, epoch: Epoch) -> bool:
        """Whether the stream holds the very change the snapshot is as of: one history."""
        if manifest.rev < epoch.first_rev:
            return False
        stored = await self._stream.last(subjects.change(manifest.rev))
        try:
            return stored is not None and decode_change(stored[1]).chain == manifest.chain
        except Unreadable as problem:
            log.warning("change_unreadable", revision=manifest.rev, why=str(problem))
            return False


async def _filled(manifest: Manifest, chunks: AsyncIterator[bytes], source: str) -> GrantTable:
    """A table of a snapshot's chunks, each checked. Raises BadSnapshot, Unreadable."""
    table = GrantTable()
    number = 0
    async for chunk in chunks:
        snapshots.check(manifest, number, chunk)
        mutations, unreadable = decode_mutations(chunk)
        table.fill(mutations, unreadable)
        number += 1
        await asyncio.sleep(0)  # the table in use goes on answering
    if number != len(manifest.chunks):
        msg = f"{len(manifest.chunks) - number} chunks are missing"
        raise BadSnapshot(msg)
    table.begin_at(manifest.rev, manifest.chain)
    BUILT.labels(source).inc()
    log.info("table_built", source=source, revision=manifest.rev, records=manifest.records)
    return table
