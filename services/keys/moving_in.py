"""Plans for taking records over from elsewhere: what is missing is added, in few large changes.

What is here already stays as it is, unless it is to be replaced, so a second time changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from services.keys.errors import AlreadyTaken, InvalidRequest, ManagementError
from services.keys.litellm_rows import BadRow, LiteLLMModel
from services.keys.log import name_of
from services.keys.management import Context, Plan
from services.keys.model_management import FIRST_STORED, new
from services.keys.model_requests import ModelNew
from services.keys.records import GroupRecord, KeyRecord, ModelRecord, TeamRecord, UserRecord
from services.keys.state import Record, State
from shared.changes import MAX_CHANGE_BYTES

_DECISION_BYTES = MAX_CHANGE_BYTES * 9 // 10
"""Of one change on the bus, with room for what surrounds the records."""
_REST_BYTES = 8 * 1024 * 1024
"""Of one change in MongoDB, whose documents end at 16 MiB."""

_size = msgspec.msgpack.Encoder().encode


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a record: `added`, `replaced`, `same` as here, or `kept` as it is here."""

    record: Record
    what: str


def model_record(model: LiteLLMModel, ctx: Context, position: int) -> ModelRecord:
    """Give the record of a model, its parameters sealed. Raises InvalidRequest.

    `position` is its place in the catalogue's order.
    """
    request = ModelNew(model_name=model.name, litellm_params=model.params, model_info=model.info)
    made = new(State(), request, ctx, is_imported=True).writes[0]
    if not isinstance(made, ModelRecord):
        raise TypeError(made)
    return ModelRecord(
        grant=msgspec.structs.replace(made.grant, blocked=model.blocked, position=position),
        details=msgspec.structs.replace(
            made.details,
            created_at=model.created_at,
            updated_at=model.updated_at,
            created_by=model.created_by,
            updated_by=model.updated_by,
        ),
    )


def next_position(state: State) -> int:
    """Give the place after every model of the catalogue."""
    last = max((deployment.position for deployment in state.catalogue.deployments), default=0)
    return max(FIRST_STORED, last + 1)


def fate(state: State, record: Record, ctx: Context, *, replace: bool) -> Fate:
    """Say what becomes of a record. Raises ManagementError when it cannot be here."""
    old = _existing(state, record)
    if isinstance(record, KeyRecord):
        _check_key(state, record, ctx)
    if isinstance(record, GroupRecord):
        _check_group(state, record)
    if old is None:
        return Fate(record=record, what="added")
    if isinstance(old, ModelRecord) and isinstance(record, ModelRecord):
        if old.details.source == "config":
            return Fate(record=old, what="kept")
        record = _as_stored(old, record, ctx)
    if old == record:
        return Fate(record=old, what="same")
    return Fate(record=record, what="replaced") if replace else Fate(record=old, what="kept")


def take_over(state: State, records: Iterable[Record], ctx: Context, *, replace: bool) -> Plan:
    """Plan one change that brings these records in. Raises ManagementError."""
    fates = (fate(state, record, ctx, replace=replace) for record in records)
    writes = tuple(each.record for each in fates if each.what in ("added", "replaced"))
    return Plan(writes=writes, answer={}, reason="import")


def in_changes(records: Iterable[Record]) -> Iterator[Sequence[Record]]:
    """Cut into as few parts as a change can hold each; the order stays."""
    part: list[Record] = []
    decision = rest = 0
    for record in records:
        adds, more = _sizes(record)
        if part and (decision + adds > _DECISION_BYTES or rest + more > _REST_BYTES):
            yield part
            part, decision, rest = [], 0, 0
        part.append(record)
        decision += adds
        rest += more
    if part:
        yield part


def check_distinct(numbered: Iterable[tuple[int, Record]]) -> Iterator[tuple[int, BadRow]]:
    """Give the rows that are about what an earlier one is about, by id or by unique name."""
    seen: dict[object, int] = {}
    for number, record in numbered:
        names: list[tuple[str, object]] = [("the id", name_of(record))]
        if isinstance(record, KeyRecord) and record.details.key_alias is not None:
            names.append(("key_alias", ("alias", record.details.key_alias)))
        if isinstance(record, GroupRecord):
            names.append(("access_group_name", ("name", record.details.name)))
        for field, name in names:
            first = seen.setdefault(name, number)
            if first != number:
                yield number, BadRow(field=field, problem=f"is that of row {first}")


def _existing(state: State, record: Record) -> Record | None:
    match record:
        case KeyRecord():
            return state.keys.get(record.grant.id)
        case TeamRecord():
            return state.teams.get(record.grant.id)
        case UserRecord():
            return state.users.get(record.grant.id)
        case GroupRecord():
            return state.groups.get(record.grant.id)
        case ModelRecord():
            return state.models.get(record.grant.id)
        case _:
            raise TypeError(record)


def _check_key(state: State, record: KeyRecord, ctx: Context) -> None:
    if record.grant.id in ctx.reserved or record.grant.id in state.retired:
        msg = "token is the master key's, or an old secret of a regenerated key"
        raise AlreadyTaken(msg, "token")
    alias = record.details.key_alias
    holder = None if alias is None else state.key_by_alias(alias)
    if holder is not None and holder.grant.id != record.grant.id:
        msg = "another key here has it"
        raise AlreadyTaken(msg, "key_alias")


def _check_group(state: State, record: GroupRecord) -> None:
    for other in state.groups.values():
        if other.details.name == record.details.name and other.grant.id != record.grant.id:
            msg = "another unified group here has it"
            raise AlreadyTaken(msg, "access_group_name")


def _as_stored(old: ModelRecord, record: ModelRecord, ctx: Context) -> ModelRecord:
    """A model with what does not come from its row as it is here: place, version, sealing."""
    grant = msgspec.structs.replace(
        record.grant, position=old.grant.position, version=old.grant.version
    )
    same = msgspec.structs.replace(record.details, sealed=old.details.sealed)
    name = old.grant.id
    if ctx.unseal(name, old.details.sealed) == ctx.unseal(name, record.details.sealed):
        return ModelRecord(grant=grant, details=same)
    newer = msgspec.structs.replace(grant, version=old.grant.version + 1)
    return ModelRecord(grant=newer, details=record.details)


def _sizes(record: Record) -> tuple[int, int]:
    if isinstance(record, KeyRecord | TeamRecord | UserRecord | GroupRecord | ModelRecord):
        return len(_size(record.grant)), len(_size(record.details))
    return len(_size(record)), 0


def problem_of(error: ManagementError) -> BadRow:
    """Tell of a record that cannot be here as of a row."""
    text = error.message
    if isinstance(error, InvalidRequest):
        text = text.removeprefix(f"{error.param} ").removeprefix(f"{error.param}: ")
    return BadRow(field=error.param or "row", problem=text)
