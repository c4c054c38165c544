"""The records beside the changes on the stream: its epoch, and each replica's heartbeat."""

import msgspec

from shared.changes import Unreadable
from shared.decoding import UNDECODABLE


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """This stream's identity, and everyone's one lease length.

    No replica takes a lease before `complete` (filled from the log up to `head`). Until it is
    `settled` every barrier waits in full: replicas of the epoch before may still hold a lease and
    have no member record here. `lease_s` and `margin_s` are seconds. `is_first`: there was no
    epoch before, so nobody can hold a lease of one.
    """

    id: str
    first_rev: int
    head: int
    complete: bool
    settled: bool
    lease_s: float
    margin_s: float
    schema: int
    is_first: bool = False


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy replica has applied, of which epoch: its heartbeat and its report."""

    replica: str
    epoch: str
    rev: int
    chain: bytes
    schema: int


LEFT = b""
"""In the place of its record: the replica has stopped answering, for good. keys takes it away."""

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
_epoch = msgspec.json.Decoder(Epoch)
_member = msgspec.json.Decoder(Member)


def decode_epoch(data: bytes) -> Epoch:
    """Read the message of `grants.epoch`. Raises Unreadable."""
    try:
        return _epoch.decode(data)
    except UNDECODABLE as error:
        raise Unreadable(("epoch", "")) from error


def decode_member(data: bytes, replica: str | None = None) -> Member:
    """Read a replica's heartbeat or report. Raises Unreadable, also when it is not `replica`'s."""
    try:
        member = _member.decode(data)
    except UNDECODABLE as error:
        raise Unreadable(("member", replica or "")) from error
    if replica not in (None, member.replica):
        raise Unreadable(("member", replica))
    return member
