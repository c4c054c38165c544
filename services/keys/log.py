"""The log's entries as MongoDB holds them: a change, and the part of it that stays at home."""

from collections.abc import Iterable

import msgspec

from services.keys.errors import TooLarge
from services.keys.records import (
    GroupDetails,
    GroupRecord,
    KeyDetails,
    KeyRecord,
    ModelDetails,
    ModelRecord,
    TeamDetails,
    TeamRecord,
    UserDetails,
    UserRecord,
)
from services.keys.state import Once, Write
from shared.catalogue import Deployment
from shared.changes import (
    MAX_CHANGE_BYTES,
    Change,
    GroupGrant,
    KeyGrant,
    Mutation,
    RetiredKey,
    TeamGrant,
    Tombstone,
    UserGrant,
    decode_mutations,
    encode_change,
    encode_mutations,
    hash_rest,
    link,
    record_of,
)

MAX_REST_BYTES = 14 * 1024 * 1024
"""MongoDB takes documents of 16 MiB: this, a change of 1 MiB, and what describes them."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a change, when (epoch seconds) and by which request; `op_id` is unique.

    `once` is set when the caller named the write, so that it is carried out once.
    """

    op_id: str
    at: float
    actor: str
    request_id: str
    reason: str
    once: Once | None = None

    def described(self, size: int) -> dict[str, object]:
        """What a person reading the collection wants to see beside an entry."""
        return {
            "at": self.at,
            "actor": self.actor,
            "request_id": self.request_id,
            "reason": self.reason,
            "mutations": size,
        }


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """What of a change never leaves keys: its origin, and each mutation's details by position."""

    origin: Origin
    keys: dict[int, KeyDetails]
    teams: dict[int, TeamDetails]
    users: dict[int, UserDetails] = {}
    groups: dict[int, GroupDetails] = {}
    models: dict[int, ModelDetails] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log. `decision` and `rest` are the very bytes that are hashed."""

    rev: int
    chain: bytes
    op_id: str
    decision: bytes
    rest: bytes

    @property
    def size(self) -> int:
        """Bytes of both parts."""
        return len(self.decision) + len(self.rest)

    def as_change(self) -> Change:
        """The entry as it travels."""
        return Change(
            rev=self.rev,
            chain=self.chain,
            decision=self.decision,
            rest_hash=hash_rest(self.rest),
        )

    def check_size(self) -> None:
        """Raise TooLarge when the bus or MongoDB would not take it."""
        if len(encode_change(self.as_change())) > MAX_CHANGE_BYTES:
            raise TooLarge(MAX_CHANGE_BYTES)
        if len(self.rest) > MAX_REST_BYTES:
            raise TooLarge(MAX_REST_BYTES)


class CorruptLog(Exception):
    """The log in MongoDB contradicts itself: an operator must look."""


_encode = msgspec.msgpack.Encoder().encode
_decode_rest = msgspec.msgpack.Decoder(Rest).decode


def make_entry(rev: int, previous: bytes, writes: Iterable[Write], origin: Origin) -> Entry:
    """The entry that puts `writes` at `rev`, after the chain value `previous`."""
    mutations: list[Mutation] = []
    rest = Rest(origin=origin, keys={}, teams={}, users={}, groups={}, models={})
    for position, write in enumerate(writes):
        match write:
            case KeyRecord():
                rest.keys[position] = write.details
            case TeamRecord():
                rest.teams[position] = write.details
            case UserRecord():
                rest.users[position] = write.details
            case GroupRecord():
                rest.groups[position] = write.details
            case ModelRecord():
                rest.models[position] = write.details
            case _:
                mutations.append(write)
                continue
        mutations.append(write.grant)
    decision = encode_mutations(tuple(mutations))
    encoded = _encode(rest)
    chain = link(previous, rev, decision, hash_rest(encoded))
    return Entry(rev=rev, chain=chain, op_id=origin.op_id, decision=decision, rest=encoded)


def read_entry(entry: Entry, previous: bytes) -> tuple[tuple[Write, ...], Origin]:
    """The writes and origin of an entry that must follow `previous`. Raises CorruptLog."""
    if link(previous, entry.rev, entry.decision, hash_rest(entry.rest)) != entry.chain:
        msg = f"revision {entry.rev} does not continue the history before it"
        raise CorruptLog(msg)
    try:
        mutations, unreadable = decode_mutations(entry.decision)
        rest = _decode_rest(entry.rest)
    except Exception as error:
        msg = f"revision {entry.rev} cannot be read by this version"
        raise CorruptLog(msg) from error
    if unreadable:
        msg = f"revision {entry.rev} holds records this version cannot read"
        raise CorruptLog(msg)
    return tuple(_write(m, rest, p) for p, m in enumerate(mutations)), rest.origin


def name_of(write: Write | Mutation) -> tuple[str, str | bytes]:
    """The kind and id of the record that this writes."""
    if isinstance(write, KeyRecord | TeamRecord | UserRecord | GroupRecord | ModelRecord):
        return record_of(write.grant)
    return record_of(write)


def _write(mutation: Mutation, rest: Rest, position: int) -> Write:
    match mutation:
        case KeyGrant():
            return KeyRecord(grant=mutation, details=rest.keys[position])
        case TeamGrant():
            return TeamRecord(grant=mutation, details=rest.teams[position])
        case UserGrant():
            return UserRecord(grant=mutation, details=rest.users[position])
        case GroupGrant():
            return GroupRecord(grant=mutation, details=rest.groups[position])
        case Deployment() if position in rest.models:
            return ModelRecord(grant=mutation, details=rest.models[position])
        case Deployment() | RetiredKey() | Tombstone():
            return mutation
