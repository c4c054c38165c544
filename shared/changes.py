"""The change log's entries as they travel: mutations of the decision part, chained by hash.

A change is atomic everywhere. Its decision part (digests, lists, flags, times) is all that policy
needs and all that goes on the bus; of the rest (metadata, actor) only the hash travels, so the
chain protects both.
"""

import hashlib
from typing import Any, Literal

import msgspec

from shared.catalogue import Deployment
from shared.decoding import UNDECODABLE

SCHEMA = 1
"""The version of these shapes. keys writes nothing newer than the oldest replica understands."""

MAX_CHANGE_BYTES = 1024 * 1024
"""A change above this on the bus is refused before it is committed."""

GENESIS = bytes(32)
"""The chain value before the first change."""

Kind = Literal["key", "team", "model", "user", "group"]


class KeyGrant(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="key",
    tag_field="kind",
    omit_defaults=True,
    gc=False,
):
    """What a decision needs of a key. `id` is the secret's SHA-256; `expires_at` epoch seconds.

    `groups` are the ids of unified groups, whose models add to `models`; with no `models` they
    are all the key may call.
    """

    id: bytes
    models: tuple[str, ...] = ()
    team_id: str | None = None
    blocked: bool = False
    expires_at: float | None = None
    aliases: dict[str, str] = {}
    allowed_routes: tuple[str, ...] = ()
    user_id: str | None = None
    groups: tuple[str, ...] = ()


class RetiredKey(msgspec.Struct, frozen=True, kw_only=True, tag="retired", tag_field="kind"):
    """A key's secret from before it was regenerated: it stands for its successor until then.

    `id` and `successor` are digests, `until` epoch seconds. It goes by a Tombstone of a key.
    """

    id: bytes
    successor: bytes
    until: float


class TeamGrant(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="team",
    tag_field="kind",
    omit_defaults=True,
    gc=False,
):
    """What a decision needs of a team. `member_models`: the lists of members who have one."""

    id: str
    alias: str | None = None
    models: tuple[str, ...] = ()
    blocked: bool = False
    model_aliases: dict[str, str] = {}
    groups: tuple[str, ...] = ()
    member_models: dict[str, tuple[str, ...]] = {}


class UserGrant(
    msgspec.Struct, frozen=True, kw_only=True, tag="user", tag_field="kind", omit_defaults=True
):
    """What a decision needs of a user: the list that binds their keys without a team."""

    id: str
    models: tuple[str, ...] = ()


class GroupGrant(
    msgspec.Struct, frozen=True, kw_only=True, tag="group", tag_field="kind", omit_defaults=True
):
    """What a decision needs of a unified group: the entries it adds to a list."""

    id: str
    models: tuple[str, ...] = ()


class Tombstone(msgspec.Struct, frozen=True, kw_only=True, tag="gone", tag_field="kind"):
    """A record that is no more. `id` is a key's digest (bytes), else a str."""

    of: Kind
    # msgspec has no union of two string-like types, so the two are told apart below.
    id: Any

    def __post_init__(self) -> None:
        """Raise TypeError when the id is not of its kind's type."""
        if not isinstance(self.id, bytes if self.of == "key" else str):
            msg = f"not an id of a {self.of}"
            raise TypeError(msg)


Mutation = KeyGrant | RetiredKey | TeamGrant | UserGrant | GroupGrant | Deployment | Tombstone

_NAMED_BY: dict[str, tuple[Kind, type]] = {
    "key": ("key", bytes),
    "retired": ("key", bytes),
    "team": ("team", str),
    "model": ("model", str),
    "user": ("user", str),
    "group": ("group", str),
}
"""The kind of record each tag is about, and the type of its id."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log on the bus. `decision` is the encoded mutations, exactly as hashed."""

    rev: int
    chain: bytes
    decision: bytes
    rest_hash: bytes


class Unreadable(Exception):
    """A change, or a mutation in it, that this version cannot read.

    `record` is the (kind, id) it is about when that much could be read.
    """

    def __init__(self, record: tuple[str, str | bytes] | None) -> None:
        """Name the record, or None when even that is not known."""
        super().__init__(f"unreadable record: {record and record[0]}")
        self.record = record


_encoder = msgspec.msgpack.Encoder()
_change = msgspec.msgpack.Decoder(Change)
_mutations = msgspec.msgpack.Decoder(tuple[Mutation, ...])
_mutation = msgspec.msgpack.Decoder(Mutation)
_raw_mutations = msgspec.msgpack.Decoder(list[msgspec.Raw])


def encode_change(change: Change) -> bytes:
    """The message for `grants.change.<rev>`."""
    return _encoder.encode(change)


def decode_change(data: bytes) -> Change:
    """Read a message of `grants.change.<rev>`. Raises Unreadable."""
    try:
        return _change.decode(data)
    except UNDECODABLE as error:
        raise Unreadable(None) from error


def encode_mutation(mutation: Mutation) -> msgspec.Raw:
    """One mutation as it stands among others; `encode_mutations` takes it in its place."""
    return msgspec.Raw(_encoder.encode(mutation))


def encode_mutations(mutations: tuple[Mutation | msgspec.Raw, ...]) -> bytes:
    """The decision part of a change: the bytes that are hashed, stored and sent."""
    return _encoder.encode(mutations)


def decode_mutations(
    decision: bytes,
) -> tuple[tuple[Mutation, ...], tuple[tuple[str, str | bytes], ...]]:
    """The mutations of a decision part, and the (kind, id) of each that cannot be read.

    One unreadable record must not stop the others. Raises Unreadable when a mutation does not
    even say which record it is about.
    """
    try:
        return _mutations.decode(decision), ()
    except UNDECODABLE:
        return _decode_one_by_one(decision)


def _decode_one_by_one(
    decision: bytes,
) -> tuple[tuple[Mutation, ...], tuple[tuple[str, str | bytes], ...]]:
    try:
        raws = _raw_mutations.decode(decision)
    except UNDECODABLE as error:
        raise Unreadable(None) from error
    good, bad = [], []
    for raw in raws:
        try:
            good.append(_mutation.decode(raw))
        except UNDECODABLE as error:
            record = _record_named(raw)
            if record is None:
                raise Unreadable(None) from error
            bad.append(record)
    return tuple(good), tuple(bad)


def _record_named(raw: msgspec.Raw) -> tuple[str, str | bytes] | None:
    try:
        fields = msgspec.msgpack.decode(raw)
    except UNDECODABLE:
        return None
    if not isinstance(fields, dict):
        return None
    tag, record_id = fields.get("of", fields.get("kind")), fields.get("id")
    named = _NAMED_BY.get(tag) if isinstance(tag, str) else None
    if named is None or not isinstance(record_id, str | bytes):
        return None
    kind, id_type = named
    return (kind, record_id) if isinstance(record_id, id_type) else None


def record_of(mutation: Mutation) -> tuple[str, str | bytes]:
    """The kind and id of the record that a mutation writes."""
    match mutation:
        case KeyGrant() | RetiredKey():
            return "key", mutation.id
        case TeamGrant():
            return "team", mutation.id
        case UserGrant():
            return "user", mutation.id
        case GroupGrant():
            return "group", mutation.id
        case Deployment():
            return "model", mutation.id
        case Tombstone():
            return mutation.of, mutation.id


def link(previous: bytes, rev: int, decision: bytes, rest_hash: bytes) -> bytes:
    """The chain value of a change: SHA-256 over the one before, the revision and both parts."""
    body = previous + rev.to_bytes(8, "big") + hashlib.sha256(decision).digest() + rest_hash
    return hashlib.sha256(body).digest()


def hash_rest(rest: bytes) -> bytes:
    """The hash of a change's part that stays in MongoDB."""
    return hashlib.sha256(rest).digest()
