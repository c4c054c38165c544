"""A replica's own copy of the newest snapshot, on its disk: read at start instead of the bus."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import structlog

from shared import snapshots
from shared.snapshots import BadSnapshot, Frames, Manifest

log = structlog.get_logger()

_READ_BYTES = 1024 * 1024


class OwnCopy:
    """One file in a folder of this replica's own. Damage is found by checksum and ignored."""

    def __init__(self, folder: Path) -> None:
        """Keep the copy in `folder`, which is made when it is written."""
        self._path = folder / "snapshot"

    async def manifest(self) -> Manifest | None:
        """What the copy is of; None: there is none that can be read."""
        async with aclosing(self._frames()) as frames:
            try:
                async for frame in frames:
                    return snapshots.read_heading(frame)
            except FileNotFoundError:
                return None
            except (BadSnapshot, OSError) as problem:
                log.warning("own_copy_ignored", why=str(problem))
        return None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The chunks, to be checked by whoever takes them. Raises BadSnapshot, OSError."""
        first = True
        async with aclosing(self._frames()) as frames:
            async for frame in frames:
                if not first:
                    yield frame
                first = False

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        cutter = Frames()
        with await asyncio.to_thread(self._path.open, "rb") as file:
            magic = await asyncio.to_thread(file.read, len(snapshots.MAGIC))
            if magic != snapshots.MAGIC:
                msg = "not a snapshot of this version"
                raise BadSnapshot(msg)
            while data := await asyncio.to_thread(file.read, _READ_BYTES):
                for frame in cutter.feed(data):
                    yield frame
        if not cutter.is_clean:
            msg = "the file ends in the middle"
            raise BadSnapshot(msg)

    async def write(self, manifest: Manifest, chunks: AsyncIterator[bytes]) -> None:
        """Replace the copy, all at once; a crash leaves the old one. Raises OSError, and as chunks.

        Chunks are checked on their way: a damaged one never replaces a good copy.
        """
        unfinished = self._path.with_suffix(f".{os.getpid()}")
        await asyncio.to_thread(self._path.parent.mkdir, parents=True, exist_ok=True)
        try:
            with await asyncio.to_thread(unfinished.open, "wb") as file:
                await asyncio.to_thread(file.write, snapshots.heading(manifest))
                number = 0
                async for chunk in chunks:
                    snapshots.check(manifest, number, chunk)
                    await asyncio.to_thread(file.write, snapshots.frame(chunk))
                    number += 1
                if number != len(manifest.chunks):
                    msg = "chunks are missing"
                    raise BadSnapshot(msg)
                await asyncio.to_thread(file.flush)
                await asyncio.to_thread(os.fsync, file.fileno())
            await asyncio.to_thread(unfinished.replace, self._path)
        finally:
            await asyncio.to_thread(unfinished.unlink, missing_ok=True)
        log.info("own_copy_written", revision=manifest.rev)
