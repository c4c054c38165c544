"""Snapshots in the simulated world: where copies lie, how they are lost, what the bus must hold."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from services.keys import snapshots as writing
from services.keys.errors import Unavailable
from services.keys.snapshots import Capture, parts
from services.policy import sources
from services.policy.sources import KeysOverHttp, Unreachable
from shared import snapshots, subjects
from shared.changes import decode_change, encode_change
from shared.replication import decode_epoch
from shared.snapshots import BadSnapshot, Index, Manifest

if TYPE_CHECKING:
    from tests.sim.clockwork import Process
    from tests.sim.parts import Site

SCALE: tuple[tuple[ModuleType, str, Any], ...] = (
    (writing, "_FILL_AT_MOST", 4),
    (writing, "_FAILED_PAUSE_S", 2.0),
    (snapshots, "CHUNK_RECORDS", 1),
    (sources, "_CHUNKS_AT_ONCE", 2),
    (sources, "_COPY_EVERY_S", 3.0),
    (os, "fsync", lambda _: None),
)
"""A log of some dozen changes needs what the product needs with millions."""

_HTTP_S = 2.0


class KeysNearby(KeysOverHttp):
    """keys over HTTP: some keys process answers as its routes do; an answer may break off."""

    def __init__(self, site: "Site", process: "Process") -> None:
        super().__init__("", None)
        self._site = site
        self._process = process

    @asynccontextmanager
    async def _get(self, path: str) -> AsyncIterator["_Body"]:  # type: ignore[override]
        world, loop = self._site.world, self._process.loop
        answer = loop.create_future()
        alive = [keys for keys in self._site.all_keys if not keys.is_dead]
        if not alive or not self._process.links[0].is_up:
            raise Unreachable(path)
        keys = world.rng.choice(alive)

        def heard(body: bytes) -> None:
            if not answer.done():
                answer.set_result(body)

        async def serve() -> None:
            try:
                body = await _answer(keys, path)
            except Unavailable:
                return
            if world.rng.random() < self._site.server.losing:
                body = body[: world.rng.randrange(len(body) + 1)]
            world.after(world.rng.random() * 0.01, loop.call_soon, heard, body)

        world.after(world.rng.random() * 0.01, lambda: keys.spawn(serve(), "an HTTP answer"))
        try:
            async with asyncio.timeout(_HTTP_S):
                yield _Body(await answer)
        except TimeoutError:
            raise Unreachable(path) from None


async def _answer(keys: Any, path: str) -> bytes:
    """What services.keys.internal gives."""
    state = await keys.journal.current()
    if path == "/internal/snapshot":
        capture = Capture(state, keys.journal.log_bytes, "", keys.site.new_id())
        return b"".join([part async for part in parts(capture)])
    found = await keys.journal.entries_after(int(path.rpartition("=")[2]), 1000)
    return b"".join(snapshots.frame(encode_change(entry.as_change())) for entry in found)


class _Body:
    """As much of aiohttp's answer as policy reads."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.content = self

    async def readexactly(self, size: int) -> bytes:
        if len(self._data) < size:
            raise asyncio.IncompleteReadError(self._data, size)
        head, self._data = self._data[:size], self._data[size:]
        return head

    async def iter_any(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 100):
            yield self._data[start : start + 100]

    async def read(self) -> bytes:
        return self._data


class Folder:
    """A folder that outlives its process, and the files in it: as much of Path as OwnCopy uses."""

    def __init__(self, files: dict[str, bytes] | None = None, name: str = "") -> None:
        self.files = {} if files is None else files
        self._name = name

    @property
    def parent(self) -> "Folder":
        return Folder(self.files)

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.files, name)

    def with_suffix(self, suffix: str) -> "Folder":
        return Folder(self.files, self._name + suffix)

    def mkdir(self, **_: bool) -> None:
        pass

    def open(self, mode: str) -> io.BytesIO:
        if mode == "wb":
            return _Written(self.files, self._name)
        if self._name not in self.files:
            raise FileNotFoundError
        return io.BytesIO(self.files[self._name])

    def replace(self, other: "Folder") -> None:
        self.files[other._name] = self.files.pop(self._name)

    def unlink(self, **_: bool) -> None:
        self.files.pop(self._name, None)


class _Written(io.BytesIO):
    """Each write is in the file at once, so that a crash leaves the beginning."""

    def __init__(self, files: dict[str, bytes], name: str) -> None:
        super().__init__()
        self._files, self._name = files, name
        files[name] = b""

    def write(self, data: Any) -> int:
        written = super().write(data)
        self._files[self._name] = self.getvalue()
        return written

    def fileno(self) -> int:
        return 0


class Judge:
    """Whether who has nothing can start from the bus alone, wherever the stream was trimmed."""

    def __init__(self, site: "Site") -> None:
        self._site = site
        self._is_harmed = False
        self._left: tuple[int, bytes] | None = None

    def harmed(self) -> None:
        """A fault took or damaged a snapshot: nothing is expected until a new index is whole.

        The index that the fault left does not count, whole as it may be: a snapshot that was
        being written may have lost its chunks, and is written once more.
        """
        self._is_harmed = True
        self._left = self._held().get(subjects.SNAPSHOT_INDEX)

    def look(self) -> None:
        server = self._site.server
        found = (
            server.streams[subjects.STREAM].messages if subjects.STREAM in server.streams else {}
        )
        if subjects.EPOCH not in found:
            return
        epoch = decode_epoch(found[subjects.EPOCH][1])
        if not epoch.complete or epoch.first_rev <= 1:
            return
        named = self._index().snapshots
        whole = [manifest for manifest in named if self._is_whole(manifest)]
        is_open = any(m.rev >= epoch.first_rev and _stands(m, found) for m in whole)
        if self._is_harmed:
            is_left = self._held().get(subjects.SNAPSHOT_INDEX) == self._left
            self._is_harmed = is_left or not is_open or len(whole) < len(named)
        elif not is_open:
            at = [manifest.rev for manifest in named]
            self._site.world.fail(
                f"the stream begins at {epoch.first_rev}; no snapshot goes on from there: {at}"
            )

    def _index(self) -> Index:
        held = self._held()
        try:
            return snapshots.decode_index(held[subjects.SNAPSHOT_INDEX][1])
        except (KeyError, BadSnapshot):
            return Index()

    def _held(self) -> dict[str, tuple[int, bytes]]:
        streams = self._site.server.streams
        return streams[subjects.SNAPSHOTS].messages if subjects.SNAPSHOTS in streams else {}

    def _is_whole(self, manifest: Manifest) -> bool:
        held = self._held()
        return all(
            snapshots.digest(held.get(subjects.snapshot_chunk(manifest.id, number), (0, b""))[1])
            == told
            for number, told in enumerate(manifest.chunks)
        )


def _stands(manifest: Manifest, found: dict[str, tuple[int, bytes]]) -> bool:
    """Whether the stream holds the change the snapshot is as of."""
    stored = found.get(subjects.change(manifest.rev))
    return stored is not None and decode_change(stored[1]).chain == manifest.chain
