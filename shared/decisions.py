"""The question the gateway asks policy, and the answers: the contract on `policy.decide`.

One message carries a batch: a msgpack array of asks, answered by an array of answers of the same
length in the same order. *Not knowing* is never one of the answers' meanings except `Behind`.
"""

from enum import StrEnum
from typing import TypeGuard

import msgspec

MASTER = b"master"
"""Stands where a key's digest stands when the gateway has checked the master key. Six bytes,
so no digest (32 bytes) can be mistaken for it."""

MAX_MODEL_NAME = 512

"""Characters in a requested model name; a longer one is a bad model name."""

MAX_BATCH = 256
"""Asks in one message."""

MAX_OFFERED = 2_000
"""Offered names in one question: deciding on them takes a policy some milliseconds."""


def trimmed(name: str) -> str:
    """A model name without the white space around it, which nobody means.

    Other white space, and a control character, is part of the name and makes it a bad one.
    """
    return name.strip(" \t\r\n")


class DenyReason(StrEnum):
    """Why a request is refused; wire-stable. "Unavailable" is never one of these."""

    KEY_UNKNOWN = "key_unknown"
    KEY_BLOCKED = "key_blocked"
    KEY_EXPIRED = "key_expired"
    TEAM_UNKNOWN = "team_unknown"
    TEAM_BLOCKED = "team_blocked"
    ROUTE_NOT_ALLOWED = "route_not_allowed"
    BAD_MODEL_NAME = "bad_model_name"
    KEY_MODEL_NOT_ALLOWED = "key_model_not_allowed"
    TEAM_MODEL_NOT_ALLOWED = "team_model_not_allowed"
    MEMBER_MODEL_NOT_ALLOWED = "member_model_not_allowed"
    USER_MODEL_NOT_ALLOWED = "user_model_not_allowed"
    TEAM_NOT_VISIBLE = "team_not_visible"
    MODEL_BLOCKED = "model_blocked"
    MODEL_UNKNOWN = "model_unknown"


class Question(msgspec.Struct, frozen=True, array_like=True, tag="q", gc=False):
    """May this key call this model on this route?

    `key` is the digest or `MASTER`. `model` None asks about the account and the route alone.
    `floor` is the revision the answer must not be older than.
    """

    key: bytes
    model: str | None
    route: str
    floor: int = 0


class ListOptions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a list is asked for beyond the names a key may call; then it says `More` too.

    `team` asks for what that team's list allows, in place of the key's: of `MASTER` and of the
    team's keys alone. `offered` are names that deployments (by ref) are said to have: then those
    are decided on, in place of the catalogue's. At most MAX_OFFERED.
    """

    team: str | None = None
    offered: dict[str, tuple[str, ...]] | None = None


class ListQuestion(msgspec.Struct, frozen=True, array_like=True, tag="l", gc=False):
    """Which model names may this key call? The same decision, over every listable name."""

    key: bytes
    route: str
    floor: int = 0
    options: ListOptions | None = None


class Allow(msgspec.Struct, frozen=True, array_like=True, tag="a", gc=False):
    """Yes, as of `revision`: `model` is what to dispatch, to one of `deployments` (their refs).

    Both are empty when the question named no model. `retires_at` (epoch seconds) is when a
    secret that was regenerated stops to work.
    """

    revision: int
    model: str = ""
    deployments: tuple[str, ...] = ()
    team: str | None = None
    retires_at: float | None = None


class Deny(msgspec.Struct, frozen=True, array_like=True, tag="d", gc=False):
    """No, as of `revision`, and what a refusal's message needs.

    `entries` are the first of the list that refused (of a key, team, member, user, or routes), of
    `entries_total`; `team` is the team's id, `team_label` its alias or id; `model` the name the
    lists were checked for (the alias's target).
    """

    revision: int
    reason: DenyReason
    model: str = ""
    entries: tuple[str, ...] = ()
    entries_total: int = 0
    team: str | None = None
    team_label: str | None = None


class More(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a list with options says beside its names.

    `groups` are the access groups that every list grants and that hold something to call.
    `patterns` has, for each listed pattern, the refs of its deployments that may be called.
    """

    groups: tuple[str, ...] = ()
    patterns: dict[str, tuple[str, ...]] = {}


class Listing(msgspec.Struct, frozen=True, array_like=True, tag="m", gc=False):
    """The exact names and wildcard patterns a key may call, in the order they were declared.

    `retires_at` as in Allow. `more` is there exactly when the question had options.
    """

    revision: int
    models: tuple[str, ...] = ()
    more: More | None = None
    retires_at: float | None = None


class Behind(msgspec.Struct, frozen=True, array_like=True, tag="b", gc=False):
    """This replica cannot answer this ask now (older than the floor, or no lease): ask another."""

    revision: int


Ask = Question | ListQuestion
Answer = Allow | Deny | Listing | Behind


def is_answer(found: Answer, ask: Ask) -> TypeGuard[Allow | Deny | Listing]:
    """Whether this is an answer to the ask. A list without `more` is no answer to one with options.

    It comes from a replica of a version before them, which took the question for the plain one.
    """
    if isinstance(found, Deny):
        return True
    if isinstance(ask, Question):
        return isinstance(found, Allow)
    return isinstance(found, Listing) and (found.more is None) == (ask.options is None)


ENTRIES_SHOWN = 20
"""How many entries of a refusing list travel with a denial; the rest is counted."""

_encoder = msgspec.msgpack.Encoder()
_asks = msgspec.msgpack.Decoder(list[Ask])
_answers = msgspec.msgpack.Decoder(list[Answer])


def encode_asks(asks: list[Ask]) -> bytes:
    """One message for a batch."""
    return _encoder.encode(asks)


def decode_asks(data: bytes) -> list[Ask]:
    """Read a batch. Raises one of UNDECODABLE."""
    return _asks.decode(data)


def encode_answers(answers: list[Answer]) -> bytes:
    """One message with the answers of a batch, in its order."""
    return _encoder.encode(answers)


def decode_answers(data: bytes) -> list[Answer]:
    """Read a batch's answers. Raises one of UNDECODABLE."""
    return _answers.decode(data)
