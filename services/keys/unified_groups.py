"""Unified groups: a named set of models that keys and teams are given by id."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from services.keys.durations import iso_utc
from services.keys.errors import Conflict, InvalidRequest, NotFound
from services.keys.giving import still_restricted
from services.keys.management import (
    Answer,
    Context,
    Plan,
    check_id,
    check_models,
    find_key,
    find_team,
    given,
    unknown_entries,
)
from services.keys.model_requests import UnifiedFields, UnifiedNamed, UnifiedNew, UnifiedUpdate
from services.keys.records import GroupDetails, GroupRecord, KeyRecord, TeamRecord
from services.keys.requests import Nothing
from services.keys.state import State, Write
from shared.catalogue import SENTINELS
from shared.changes import GroupGrant, Tombstone


def new(state: State, request: UnifiedNew, ctx: Context) -> Plan:
    """Make a group, and assign it. Raises InvalidRequest; NotFound; Conflict for a name in use."""
    group_id = ctx.new_id()
    blank = GroupRecord(
        grant=GroupGrant(id=group_id),
        details=GroupDetails(
            name=request.access_group_name,
            created_at=ctx.now,
            updated_at=ctx.now,
            created_by=ctx.actor,
            updated_by=ctx.actor,
        ),
    )
    return _planned(state, blank, request, ctx, "access_group/unified/new")


def update(state: State, request: UnifiedUpdate, ctx: Context) -> Plan:
    """Change what was sent; `assigned_...` replace. Raises as `new` does."""
    old = _existing(state, request.access_group_id)
    return _planned(state, old, request, ctx, "access_group/unified/update")


def delete(state: State, request: UnifiedNamed, _ctx: Context) -> Plan:
    """Delete a group. Keys and teams that have it keep the id, which allows nothing any more.

    Raises NotFound.
    """
    _existing(state, request.access_group_id)
    gone = Tombstone(of="group", id=request.access_group_id)
    return Plan(writes=(gone,), answer={}, reason="access_group/unified/delete")


def listing(state: State, _query: Nothing, _ctx: Context) -> list[Answer]:
    """Show every group."""
    return [_row(state, r, *_assigned(state, r.grant.id)) for r in state.groups.values()]


def info(state: State, query: UnifiedNamed, _ctx: Context) -> Answer:
    """Show one group. Raises NotFound."""
    record = _existing(state, query.access_group_id)
    return _row(state, record, *_assigned(state, record.grant.id))


def _existing(state: State, group_id: str) -> GroupRecord:
    found = state.groups.get(group_id)
    if found is None:
        msg = f"Access group '{group_id[:256]}' not found"
        raise NotFound(msg, "access_group_id")
    return found


def _planned(
    state: State,
    old: GroupRecord,
    request: UnifiedNew | UnifiedUpdate,
    ctx: Context,
    reason: str,
) -> Plan:
    record, warnings = _patched(state, old, request, ctx)
    group_id = record.grant.id
    teams = _assigned_teams(state, group_id, request, ctx)
    keys = _assigned_keys(state, group_id, request, ctx)
    writes: tuple[Write, ...] = (record, *teams, *keys)
    team_ids, key_ids = _assigned(state, group_id)
    if request.assigned_team_ids is not UNSET and request.assigned_team_ids is not None:
        team_ids = list(dict.fromkeys(request.assigned_team_ids))
    if request.assigned_key_ids is not UNSET and request.assigned_key_ids is not None:
        found = (find_key(state, named) for named in request.assigned_key_ids)
        key_ids = list(dict.fromkeys(key.grant.id for key in found if key is not None))
    answer = {**_row(state, record, team_ids, key_ids), "warnings": warnings}
    return Plan(writes=writes, answer=answer, reason=reason)


def _patched(
    state: State, old: GroupRecord, request: UnifiedNew | UnifiedUpdate, ctx: Context
) -> tuple[GroupRecord, list[str]]:
    details: dict[str, object] = {"updated_at": ctx.now, "updated_by": ctx.actor}
    name = given(request.access_group_name, None)
    if name is not None:
        details["name"] = check_id(name, "access_group_name")
        for other in state.groups.values():
            if other.details.name == name and other.grant.id != old.grant.id:
                msg = f"Access group '{name}' already exists"
                raise Conflict(msg, "access_group_name")
    if request.description is not UNSET:
        details["description"] = request.description
    servers = given(request.access_mcp_server_ids, old.details.mcp_server_ids)
    details["mcp_server_ids"] = servers
    details["agent_ids"] = given(request.access_agent_ids, old.details.agent_ids)
    models, warnings = old.grant.models, []
    if request.access_model_names is not UNSET and request.access_model_names is not None:
        models = _check_names(request.access_model_names)
        warnings = unknown_entries(state, models)
    return GroupRecord(
        grant=msgspec.structs.replace(old.grant, models=models),
        details=msgspec.structs.replace(old.details, **details),
    ), warnings


def _check_names(names: list[str]) -> tuple[str, ...]:
    for position, name in enumerate(names):
        if name.startswith("!"):
            where = f"access_model_names[{position}]"
            msg = f"{where}: a group adds to lists, so it denies nothing"
            raise InvalidRequest(msg, where)
    return check_models(names, "access_model_names", refused=SENTINELS - {"all-proxy-models"})


def _assigned_teams(
    state: State, group_id: str, request: UnifiedFields, ctx: Context
) -> list[TeamRecord]:
    if request.assigned_team_ids is UNSET or request.assigned_team_ids is None:
        return []
    wanted = {
        team_id: find_team(state, team_id, f"assigned_team_ids[{position}]")
        for position, team_id in enumerate(request.assigned_team_ids)
    }
    changed = []
    for team_id, team in {**state.teams, **wanted}.items():
        groups = _moved(team.grant.groups, group_id, is_in=team_id in wanted)
        if groups != team.grant.groups:
            models = still_restricted(team.grant.models, team.grant.groups, groups)
            grant = msgspec.structs.replace(team.grant, groups=groups, models=models)
            details = msgspec.structs.replace(
                team.details, updated_at=ctx.now, updated_by=ctx.actor
            )
            changed.append(TeamRecord(grant=grant, details=details))
    return changed


def _assigned_keys(
    state: State, group_id: str, request: UnifiedFields, ctx: Context
) -> list[KeyRecord]:
    if request.assigned_key_ids is UNSET or request.assigned_key_ids is None:
        return []
    wanted: dict[bytes, None] = {}
    for position, named in enumerate(request.assigned_key_ids):
        record = find_key(state, named)
        if record is None:
            where = f"assigned_key_ids[{position}]"
            msg = f"Key not found: {where}"
            raise NotFound(msg, where)
        wanted[record.grant.id] = None
    changed = []
    had = dict.fromkeys(key.grant.id for key in state.keys_with("access_group_id", group_id))
    for digest in {**had, **wanted}:
        key = state.keys[digest]
        groups = _moved(key.grant.groups, group_id, is_in=digest in wanted)
        if groups != key.grant.groups:
            models = still_restricted(key.grant.models, key.grant.groups, groups)
            grant = msgspec.structs.replace(key.grant, groups=groups, models=models)
            details = msgspec.structs.replace(key.details, updated_at=ctx.now, updated_by=ctx.actor)
            changed.append(KeyRecord(grant=grant, details=details))
    return changed


def _moved(groups: tuple[str, ...], group_id: str, *, is_in: bool) -> tuple[str, ...]:
    others = tuple(group for group in groups if group != group_id)
    if not is_in:
        return others
    return groups if group_id in groups else (*groups, group_id)


def _assigned(state: State, group_id: str) -> tuple[list[str], list[bytes]]:
    """The ids of the teams, and the digests of the keys, that have a group."""
    teams = [team_id for team_id, team in state.teams.items() if group_id in team.grant.groups]
    return teams, [key.grant.id for key in state.keys_with("access_group_id", group_id)]


def _row(
    state: State, record: GroupRecord, team_ids: Sequence[str], key_ids: Sequence[bytes]
) -> Answer:
    details = record.details
    return {
        "access_group_id": record.grant.id,
        "access_group_name": details.name,
        "description": details.description,
        "access_model_names": list(record.grant.models),
        "access_mcp_server_ids": details.mcp_server_ids,
        "access_agent_ids": details.agent_ids,
        "access_mcp_servers": [{"id": i, "name": None} for i in details.mcp_server_ids],
        "access_agents": [{"id": i, "name": None} for i in details.agent_ids],
        "assigned_team_ids": list(team_ids),
        "assigned_key_ids": [digest.hex() for digest in key_ids],
        "assigned_teams": [{"id": i, "name": state.teams[i].grant.alias} for i in team_ids],
        "assigned_keys": [
            {"id": i.hex(), "name": state.keys[i].details.key_alias} for i in key_ids
        ],
        "created_at": iso_utc(details.created_at),
        "created_by": details.created_by,
        "updated_at": iso_utc(details.updated_at),
        "updated_by": details.updated_by,
    }
