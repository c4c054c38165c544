"""The names of a JSON body's members, beyond what its reading as a dict tells of them.

A dict has every name once and remembers no twin; and it is slow to make of a million names.
"""

import itertools
import json

import msgspec

from services.gateway.errors import Rejected

_PLAIN = b'"model"'
_ESCAPED = b"\\u006"
"""How every escape of a letter of `model` begins."""

_ESCAPED_NAMES_AT_MOST = 64 * 1024
"""Bytes of a body whose names are read once more: the reading is slow, and nobody needs it."""

MAX_MEMBERS = 1000
"""Members of a body's top level; each costs a normalisation, and no API has a tenth of it."""

_FEW_NAMES = 64 * 1024
"""Bytes, or colons, of a body that cannot have names enough to be worth counting first."""


class _Name(str):
    """A member's name on its way through `refuse_too_many`."""

    __slots__ = ()


def refuse_too_many(data: bytes) -> None:
    """Raise Rejected at the first member too many: to keep a million of them takes a second."""
    if len(data) <= _FEW_NAMES or data.count(b":") <= _FEW_NAMES:
        return
    names = itertools.count(1)

    def count(_: type, name: str) -> _Name:
        if next(names) > MAX_MEMBERS:
            raise too_many()
        return _Name(name)

    msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=count).decode(data)


def too_many() -> Rejected:
    """400: what both counts, of a body's names and of its dict's, are refused with."""
    return Rejected(400, f"The body has more than {MAX_MEMBERS} members.")


def _names(pairs: list[tuple[str, object]]) -> list[str]:
    return [name for name, _ in pairs]


def _nothing(_: str) -> None:
    """Read no number: a long one would cost more than the rest of the body."""


_names_of = json.JSONDecoder(
    object_pairs_hook=_names, parse_int=_nothing, parse_float=_nothing, parse_constant=_nothing
)


def refuse_duplicates(data: bytes, members: dict[str, msgspec.Raw]) -> bool:
    """Raise Rejected when `model` occurs twice at the top level, however it is escaped.

    The value is whether nothing else in the body could be taken for it.

    What is not within the members' values is their names, and the values of earlier twins; so
    bytes are counted, which costs no more for a large body than reading it did.
    """
    plain, escaped = data.count(_PLAIN), data.count(_ESCAPED)
    if plain == 1 and not escaped:
        return True
    for raw in members.values():
        value = bytes(raw)
        plain -= value.count(_PLAIN)
        escaped -= value.count(_ESCAPED)
    if plain > 1:
        message = "The body names 'model', or a member that holds one, more than once."
        raise Rejected(400, message, param="model")
    if not escaped:
        return False
    if len(data) > _ESCAPED_NAMES_AT_MOST:
        raise Rejected(400, "In so large a body member names must be written without escapes.")
    try:
        names = _names_of.decode(data.decode())
    except (ValueError, RecursionError):
        raise Rejected(400, "The body is not valid JSON.") from None
    if names.count("model") > 1:
        raise Rejected(400, "The body names 'model' more than once.", param="model")
    return False
