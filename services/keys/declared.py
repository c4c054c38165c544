"""The catalogue as the configuration declares it, brought into the log as one change.

What was made at run time stays: stored models, groups added to declared ones, blocks.
"""

from collections.abc import Iterable, Sequence

import msgspec

from services.keys.errors import AlreadyTaken
from services.keys.management import Plan
from services.keys.records import ModelDetails, ModelRecord
from services.keys.state import State, Write
from shared.changes import Tombstone
from shared.model_list import ModelEntry


def declared_models(entries: Iterable[ModelEntry]) -> tuple[ModelRecord, ...]:
    """The config file's entries as records. Addresses and credentials are the gateway's alone."""
    return tuple(
        ModelRecord(
            grant=entry.deployment(),
            details=ModelDetails(
                source="config",
                declared_groups=entry.access_groups,
                params={"model": entry.model},
                info=entry.model_info,
            ),
        )
        for entry in entries
    )


def differs(state: State, declared: Sequence[ModelRecord]) -> bool:
    """Whether the log's declared catalogue is another than the configuration's."""
    return bool(_writes(state, declared))


def declare(state: State, declared: Sequence[ModelRecord]) -> Plan:
    """Plan one change that makes the log's declared catalogue this one; no writes when it is.

    Raises AlreadyTaken when an entry has the id of a stored model, which it would overwrite.
    """
    for record in declared:
        old = state.models.get(record.grant.id)
        if old is not None and old.details.source == "stored":
            msg = f"model_list: model_info.id {record.grant.id!r} is that of a stored model"
            raise AlreadyTaken(msg, "model_info.id")
    return Plan(writes=_writes(state, declared), answer={}, reason="config")


def _writes(state: State, declared: Sequence[ModelRecord]) -> tuple[Write, ...]:
    ids = {record.grant.id for record in declared}
    merged = (_merged(state.models.get(record.grant.id), record) for record in declared)
    return (
        *(record for record in merged if state.models.get(record.grant.id) != record),
        *(
            Tombstone(of="model", id=gone)
            for gone, record in state.models.items()
            if gone not in ids and record.details.source == "config"
        ),
    )


def _merged(old: ModelRecord | None, new: ModelRecord) -> ModelRecord:
    """A declared deployment with what was done to it at run time."""
    if old is None:
        return new
    added = tuple(g for g in old.grant.access_groups if g not in old.details.declared_groups)
    groups = tuple(dict.fromkeys((*new.grant.access_groups, *added)))
    details = msgspec.structs.replace(
        new.details, updated_at=old.details.updated_at, updated_by=old.details.updated_by
    )
    return ModelRecord(
        grant=msgspec.structs.replace(new.grant, access_groups=groups, blocked=old.grant.blocked),
        details=details,
    )
