"""The records beside the changes on the stream: its epoch, and each replica's heartbeat."""

import msgspec


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """This stream's identity, and everyone's one lease length.

    No replica takes a lease before `complete` (filled from the log up to `head`). Until it is
    `settled` every barrier waits in full: replicas of the epoch before may still hold a lease and
    have no member record here. `lease_s` and `margin_s` are seconds.
    """

    id: str
    first_rev: int
    head: int
    complete: bool
    settled: bool
    lease_s: float
    margin_s: float
    schema: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy replica has applied, of which epoch: its heartbeat and its report."""

    replica: str
    epoch: str
    rev: int
    chain: bytes
    schema: int


_encoder = msgspec.json.Encoder()
encode = _encoder.encode
decode_epoch = msgspec.json.Decoder(Epoch).decode
decode_member = msgspec.json.Decoder(Member).decode
