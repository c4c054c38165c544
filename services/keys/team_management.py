"""Plans for teams: new, update, delete with its keys, block, unblock, one model more or less."""

import msgspec
from msgspec import UNSET

from services.keys.answers import team_row
from services.keys.errors import AlreadyTaken, InvalidRequest, NotFound
from services.keys.giving import still_restricted
from services.keys.key_management import without_keys
from services.keys.management import (
    Answer,
    Context,
    Plan,
    address_of,
    check_aliases,
    check_durations,
    check_groups,
    check_id,
    check_models,
    check_numbers,
    find_team,
    sent_fields,
    stored_changes,
    unknown_entries,
    user_named,
)
from services.keys.permits import check_permissions
from services.keys.records import TeamDetails, TeamRecord
from services.keys.state import State
from services.keys.team_requests import (
    Member,
    TeamDelete,
    TeamFields,
    TeamModels,
    TeamNamed,
    TeamNew,
    TeamUpdate,
)
from shared.changes import TeamGrant, Tombstone

_RESERVED = frozenset({"litellm-dashboard"})
_NOT_OF_A_TEAM = frozenset({"all-team-models"})
_DURATIONS = ("budget_duration", "team_member_key_duration", "team_member_budget_duration")


def new(state: State, request: TeamNew, ctx: Context) -> Plan:
    """Make a team. Raises InvalidRequest; AlreadyTaken when the id is in use."""
    team_id = ctx.new_id()
    if isinstance(request.team_id, str):
        team_id = check_id(request.team_id, "team_id")
    if team_id in state.teams or team_id in _RESERVED:
        msg = f"Team id = {team_id} already exists. Please use a different team id."
        raise AlreadyTaken(msg, "team_id")
    blank = TeamRecord(
        grant=TeamGrant(id=team_id),
        details=TeamDetails(
            created_at=ctx.now, updated_at=ctx.now, created_by=ctx.actor, updated_by=ctx.actor
        ),
    )
    record, warnings = _patched(state, blank, request, ctx)
    answer = team_row(record)
    answer["warnings"] = warnings
    return Plan(writes=(record,), answer=answer, reason="team/new")


def update(state: State, request: TeamUpdate, ctx: Context) -> Plan:
    """Change the fields that were sent and are not null. Raises NotFound, InvalidRequest."""
    old = find_team(state, request.team_id)
    record, warnings = _patched(state, old, request, ctx)
    answer: Answer = {"team_id": record.grant.id, "data": team_row(record), "warnings": warnings}
    return Plan(writes=(record,), answer=answer, reason="team/update")


def delete(state: State, request: TeamDelete, _ctx: Context) -> Plan:
    """Delete teams and all their keys: all of them, or none. Raises NotFound, InvalidRequest."""
    if not request.team_ids:
        msg = "team_ids must name at least one team"
        raise InvalidRequest(msg, "team_ids")
    team_ids = tuple(dict.fromkeys(request.team_ids))
    for position, team_id in enumerate(request.team_ids):
        if team_id not in state.teams:
            msg = f"Team not found, passed team id: {team_id[:256]}. Nothing was deleted."
            raise NotFound(msg, f"team_ids[{position}]")
    keys = [key.grant.id for team_id in team_ids for key in state.keys_of_team(team_id)]
    return Plan(
        writes=(
            *without_keys(state, keys),
            *(Tombstone(of="team", id=team_id) for team_id in team_ids),
        ),
        answer={"deleted_teams": list(team_ids), "deleted_keys": [k.hex() for k in keys]},
        reason="team/delete",
    )


def block(state: State, request: TeamNamed, ctx: Context) -> Plan:
    """Refuse all the team's keys from now on. Raises NotFound."""
    return _set_blocked(state, request, ctx, blocked=True)


def unblock(state: State, request: TeamNamed, ctx: Context) -> Plan:
    """Let the team's keys work again. Raises NotFound."""
    return _set_blocked(state, request, ctx, blocked=False)


def add_models(state: State, request: TeamModels, ctx: Context) -> Plan:
    """Allow the team more models. Raises NotFound, InvalidRequest.

    A team that may call everything still may: its list begins with `all-proxy-models` then.
    """
    old = find_team(state, request.team_id)
    added = check_models(request.models, refused=_NOT_OF_A_TEAM)
    models = old.grant.models if _restricts(old.grant.models) else _open(old.grant.models)
    record = _with_models(old, check_models([*models, *added]), ctx)
    answer = team_row(record)
    answer["warnings"] = unknown_entries(state, added)
    return Plan(writes=(record,), answer=answer, reason="team/model/add")


def delete_models(state: State, request: TeamModels, ctx: Context) -> Plan:
    """Take entries off the team's list. Raises NotFound.

    Taking away never lets a team call more, whatever is left of the list, except by taking
    away a denial (`!name`).
    """
    old = find_team(state, request.team_id)
    before = old.grant.models
    removed = frozenset(request.models)
    after = tuple(entry for entry in before if entry not in removed)
    if before and not _restricts(after):
        after = ("no-default-models", *after) if _restricts(before) else _open(after)
    record = _with_models(old, after, ctx)
    answer = team_row(record)
    answer["warnings"] = [
        f"models: {entry!r} was not in the team's list"
        for entry in dict.fromkeys(request.models)
        if entry not in before
    ]
    return Plan(writes=(record,), answer=answer, reason="team/model/delete")


def _restricts(models: tuple[str, ...]) -> bool:
    """Whether a list names what is allowed; an empty one, or denials alone, do not."""
    return any(not entry.startswith("!") for entry in models)


def _open(models: tuple[str, ...]) -> tuple[str, ...]:
    return ("all-proxy-models", *models)


def _with_models(old: TeamRecord, models: tuple[str, ...], ctx: Context) -> TeamRecord:
    return TeamRecord(
        grant=msgspec.structs.replace(old.grant, models=models),
        details=_touched(old.details, ctx),
    )


def _touched(details: TeamDetails, ctx: Context) -> TeamDetails:
    return msgspec.structs.replace(details, updated_at=ctx.now, updated_by=ctx.actor)


def _set_blocked(state: State, request: TeamNamed, ctx: Context, *, blocked: bool) -> Plan:
    old = find_team(state, request.team_id)
    # Written even when nothing changes, as for keys.
    record = TeamRecord(
        grant=msgspec.structs.replace(old.grant, blocked=blocked),
        details=_touched(old.details, ctx),
    )
    reason = "team/block" if blocked else "team/unblock"
    return Plan(writes=(record,), answer=team_row(record), reason=reason)


def _patched(
    state: State, old: TeamRecord, request: TeamFields, ctx: Context
) -> tuple[TeamRecord, list[str]]:
    """Apply what was sent to a record, and warn of what will not do what it seems to."""
    check_numbers(request)
    check_durations(request, _DURATIONS, ctx.now)
    grant: dict[str, object] = {}
    if request.models is not UNSET and request.models is not None:
        grant["models"] = check_models(request.models, refused=_NOT_OF_A_TEAM)
    if request.team_alias is not UNSET and request.team_alias is not None:
        grant["alias"] = check_id(request.team_alias, "team_alias")
    if request.blocked is not UNSET and request.blocked is not None:
        grant["blocked"] = request.blocked
    if request.model_aliases is not UNSET and request.model_aliases is not None:
        grant["model_aliases"] = check_aliases(request.model_aliases, "model_aliases")
    if request.access_group_ids is not UNSET and request.access_group_ids is not None:
        grant["groups"] = groups = check_groups(request.access_group_ids)
        if request.models is UNSET or request.models is None:
            grant["models"] = still_restricted(old.grant.models, old.grant.groups, groups)
    sent = {field: value for field, value in sent_fields(request).items() if value is not None}
    details = stored_changes(sent, TeamDetails)
    if isinstance(request.members_with_roles, list):
        details["members_with_roles"] = _members(state, request.members_with_roles)
    if isinstance(request.team_member_permissions, list):
        details["team_member_permissions"] = check_permissions(request.team_member_permissions)
    record = TeamRecord(
        grant=msgspec.structs.replace(old.grant, **grant),
        details=msgspec.structs.replace(_touched(old.details, ctx), **details),
    )
    _check_soft_budget(record.details)
    return record, unknown_entries(state, record.grant.models, record.grant.groups)


def _members(state: State, members: list[Member]) -> list[dict[str, str | None]]:
    """Render members, each once, by the id of the user they are; the last word on one counts."""
    found: dict[str, dict[str, str | None]] = {}
    for position, member in enumerate(members):
        where = f"members_with_roles[{position}]"
        user_id = user_named(state, member.user_id, member.user_email, where)
        found[user_id] = {
            "role": member.role,
            "user_id": user_id,
            "user_email": member.user_email or address_of(state, user_id),
        }
    return list(found.values())


def _check_soft_budget(details: TeamDetails) -> None:
    soft, hard = details.soft_budget, details.max_budget
    if soft is not None and hard is not None and soft >= hard:
        msg = "soft_budget must be lower than max_budget"
        raise InvalidRequest(msg, "soft_budget")
