"""The whole table at one revision, in pieces: how it is cut, named, checked and put together.

A snapshot is its manifest and its chunks. It counts only when every chunk has the hash that the
manifest gives; anything else is no snapshot at all.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from shared.changes import Mutation, encode_mutation, encode_mutations
from shared.decoding import UNDECODABLE

CHUNK_RECORDS = 4000
CHUNK_BYTES = 512 * 1024
"""A chunk ends before it passes either of the two; only one record alone may be longer."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A longer frame in a file or an answer is taken for damage."""

MAGIC = b"grantgate snapshot 1\n"
_LENGTH = 4
_HASH = 32


class BadSnapshot(Exception):
    """What was read is not a whole, undamaged snapshot."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is of, and the SHA-256 of each chunk.

    `id` is new for every attempt to write one. `epoch` is the stream's when it was written, ""
    before the stream had one. `log_bytes` are the decision bytes of the log up to `rev`.
    """

    id: str
    rev: int
    chain: bytes
    epoch: str
    schema: int
    records: int
    log_bytes: int
    chunks: tuple[bytes, ...]


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """The complete snapshots on the bus, newest first."""

    snapshots: tuple[Manifest, ...] = ()


_encoder = msgspec.json.Encoder()
encode = _encoder.encode
_decode_manifest = msgspec.json.Decoder(Manifest).decode
_decode_index = msgspec.json.Decoder(Index).decode


def decode_index(data: bytes) -> Index:
    """Read the index. Raises BadSnapshot."""
    try:
        return _decode_index(data)
    except UNDECODABLE as error:
        raise BadSnapshot from error


def cut(records: Iterable[Mutation]) -> Iterator[bytes]:
    """The records as chunks, each decodable by itself; the same records give the same chunks."""
    pending: list[msgspec.Raw] = []
    size = 0
    for record in records:
        encoded = encode_mutation(record)
        length = len(memoryview(encoded))
        if pending and (len(pending) >= CHUNK_RECORDS or size + length > CHUNK_BYTES):
            yield encode_mutations(tuple(pending))
            pending, size = [], 0
        pending.append(encoded)
        size += length
    if pending:
        yield encode_mutations(tuple(pending))


def digest(chunk: bytes) -> bytes:
    """What the manifest says of a chunk."""
    return hashlib.sha256(chunk).digest()


def check(manifest: Manifest, number: int, chunk: bytes) -> None:
    """Raise BadSnapshot unless `chunk` is the manifest's chunk of this number."""
    if number >= len(manifest.chunks) or digest(chunk) != manifest.chunks[number]:
        msg = f"chunk {number} of the snapshot of revision {manifest.rev} is damaged"
        raise BadSnapshot(msg)


def frame(payload: bytes) -> bytes:
    """A payload with its length before it, as files and HTTP answers carry it."""
    return len(payload).to_bytes(_LENGTH, "big") + payload


def heading(manifest: Manifest) -> bytes:
    """What a snapshot in a file or an answer begins with; the chunks follow as frames."""
    data = encode(manifest)
    return MAGIC + frame(data + hashlib.sha256(data).digest())


def read_heading(payload: bytes) -> Manifest:
    """The manifest in the first frame after the magic. Raises BadSnapshot."""
    data, told = payload[:-_HASH], payload[-_HASH:]
    if hashlib.sha256(data).digest() != told:
        msg = "the snapshot's heading is damaged"
        raise BadSnapshot(msg)
    try:
        return _decode_manifest(data)
    except UNDECODABLE as error:
        raise BadSnapshot from error


class Frames:
    """Cuts a stream of bytes back into its frames, however the bytes arrive."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises BadSnapshot for one that cannot be."""
        self._buffer += data
        found: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH:
            length = int.from_bytes(self._buffer[at : at + _LENGTH], "big")
            if length > MAX_FRAME_BYTES:
                msg = f"a frame of {length} bytes"
                raise BadSnapshot(msg)
            end = at + _LENGTH + length
            if len(self._buffer) < end:
                break
            found.append(bytes(self._buffer[at + _LENGTH : end]))
            at = end
        del self._buffer[:at]
        return found

    @property
    def is_clean(self) -> bool:
        """Whether what arrived ended with a whole frame."""
        return not self._buffer


def newest_two(added: Manifest, kept: Sequence[Manifest]) -> Index:
    """The index with `added`: it and the newest of those that were kept."""
    others = sorted(
        (manifest for manifest in kept if manifest.rev < added.rev),
        key=lambda manifest: -manifest.rev,
    )
    return Index(snapshots=(added, *others[:1]))
