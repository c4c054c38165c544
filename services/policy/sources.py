"""Where a whole table comes from: snapshots on the bus, the own copy on disk, keys over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus

import aiohttp
import structlog

from services.policy.own_copy import OwnCopy
from shared import snapshots, subjects
from shared.bus import BusUnavailable
from shared.credentials import SNAPSHOT_TOKEN_HEADER, Secret
from shared.snapshots import BadSnapshot, Frames, Index, Manifest
from shared.streams import SnapshotStream

log = structlog.get_logger()

_CHUNKS_AT_ONCE = 8
_COPY_EVERY_S = 15.0
_HTTP_IDLE_S = 10.0


class Unreachable(Exception):
    """keys did not give what it was asked for over HTTP."""


class Bucket:
    """The snapshots that keys has put on the bus."""

    def __init__(self, stream: SnapshotStream) -> None:
        """Read them from this stream."""
        self._stream = stream

    async def index(self) -> Index:
        """The complete ones, newest first. Raises BusUnavailable, BadSnapshot."""
        found = await self._stream.last(subjects.SNAPSHOT_INDEX)
        return Index() if found is None else snapshots.decode_index(found[1])

    async def chunks(self, manifest: Manifest) -> AsyncGenerator[bytes, None]:
        """The chunks, a few in memory at a time. Raises BusUnavailable, BadSnapshot."""
        pattern = subjects.snapshot_chunks(manifest.id)
        left, seq = len(manifest.chunks), 1
        while left:
            found = await self._stream.following(seq, pattern, min(left, _CHUNKS_AT_ONCE))
            if not found:
                msg = f"{left} chunks of the snapshot of revision {manifest.rev} are gone"
                raise BadSnapshot(msg)
            for _, chunk in found:
                yield chunk
            left -= len(found)
            seq = found[-1][0] + 1


class KeysOverHttp:
    """keys, asked by HTTP when the bus has not got it."""

    def __init__(self, url: str, token: Secret | None) -> None:
        """Ask at `url`, showing `token` if there is one."""
        self._url = url
        self._headers = {} if token is None else {SNAPSHOT_TOKEN_HEADER: token.reveal()}

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[tuple[Manifest, AsyncIterator[bytes]]]:
        """A snapshot of the log's head. Raises Unreachable, BadSnapshot."""
        async with self._get("/internal/snapshot") as answer, aclosing(_framed(answer)) as frames:
            try:
                heading = await anext(frames)
            except StopAsyncIteration:
                msg = "an empty answer"
                raise BadSnapshot(msg) from None
            yield snapshots.read_heading(heading), frames

    async def changes(self, after: int) -> list[bytes]:
        """Some of the changes that follow a revision, in order. Raises Unreachable, BadSnapshot."""
        async with self._get(f"/internal/changes?after={after}") as answer:
            return Frames().feed(await answer.read())

    @asynccontextmanager
    async def _get(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=_HTTP_IDLE_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session,
                session.get(self._url + path, allow_redirects=False) as answer,
            ):
                if answer.status != HTTPStatus.OK:
                    msg = f"keys answered {answer.status}"
                    raise Unreachable(msg)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            msg = f"keys does not answer ({type(error).__name__})"
            raise Unreachable(msg) from error


async def _framed(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    cutter = Frames()
    try:
        magic = await answer.content.readexactly(len(snapshots.MAGIC))
    except asyncio.IncompleteReadError as error:
        magic = error.partial
    if magic != snapshots.MAGIC:
        msg = "not a snapshot of this version"
        raise BadSnapshot(msg)
    async for data in answer.content.iter_any():
        for frame in cutter.feed(data):
            yield frame
    if not cutter.is_clean:
        msg = "the answer ends in the middle"
        raise BadSnapshot(msg)


async def keep_copy(bucket: Bucket, copy: OwnCopy) -> None:
    """Keep the copy on disk that of the newest snapshot on the bus, until cancelled."""
    while True:
        try:
            index = await bucket.index()
            have = await copy.manifest()
            if index.snapshots and (have is None or have.id != index.snapshots[0].id):
                newest = index.snapshots[0]
                await copy.write(newest, bucket.chunks(newest))
        except BusUnavailable:
            pass  # what was copied stays
        except (BadSnapshot, OSError) as problem:
            log.warning("own_copy_not_written", why=str(problem))
        await asyncio.sleep(_COPY_EVERY_S)
