"""Which schema version a record needs its readers to understand."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from shared.changes import Mutation, decode_mutations

SINCE: Mapping[str, int] = MappingProxyType({})
"""`kind.field` to the schema that brought it, for fields newer than schema 1.

A reader drops a field it does not know, and with it perhaps a restriction: so a record that sets
one of these is written only once no older reader can answer.
"""


def needed(mutations: Iterable[Mutation], since: Mapping[str, int] = SINCE) -> int:
    """The oldest schema whose readers understand all of these."""
    if not since:
        return 1
    return max((_needed(mutation, since) for mutation in mutations), default=1)


def of_decision(decision: bytes) -> int:
    """The oldest schema whose readers understand the decision part of a change."""
    return needed(decode_mutations(decision)[0], SINCE) if SINCE else 1


def _needed(mutation: Mutation, since: Mapping[str, int]) -> int:
    kind = mutation.__struct_config__.tag
    return max(
        (
            since.get(f"{kind}.{field.name}", 1)
            for field in msgspec.structs.fields(mutation)
            if getattr(mutation, field.name) != _default(field)
        ),
        default=1,
    )


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default
