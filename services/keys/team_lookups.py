"""What the management API reads of teams, as of one state."""

from collections.abc import Callable

from msgspec import UNSET

from services.keys.answers import key_row, membership_rows, team_row
from services.keys.callers import role_in
from services.keys.errors import Forbidden
from services.keys.management import Answer, Context, find_team
from services.keys.permits import AVAILABLE_PERMISSIONS, DEFAULT_PERMISSIONS
from services.keys.records import TeamRecord
from services.keys.requests import Nothing
from services.keys.roles import Scope
from services.keys.state import State
from services.keys.team_members import check_leads
from services.keys.team_requests import (
    TeamInfoQuery,
    TeamListQuery,
    TeamPageQuery,
    TeamPermissionsQuery,
)

_ORDERS: dict[str, Callable[[TeamRecord], tuple[object, str]]] = {
    "team_id": lambda record: ("", record.grant.id),
    "team_alias": lambda record: (record.grant.alias or "", record.grant.id),
    "created_at": lambda record: (record.details.created_at, record.grant.id),
}
"""What a page of teams can be sorted by."""


def team_info(state: State, query: TeamInfoQuery, ctx: Context) -> Answer:
    """Show a team with its keys. Raises NotFound, Forbidden."""
    record = find_team(state, query.team_id)
    if not _sees(ctx, record):
        msg = f"You are not a member of this team: {query.team_id[:256]}"
        raise Forbidden(msg, "team_id")
    keys = state.keys_of_team(query.team_id)
    shown = keys if query.key_limit is UNSET else keys[: query.key_limit]
    groups = [state.groups[g] for g in record.grant.groups if g in state.groups]
    return {
        "team_id": query.team_id,
        "team_info": {
            **team_row(record),
            "access_group_models": sorted({m for group in groups for m in group.grant.models}),
            "caller_edit_access": {"kind": _edit_access(ctx, record)},
        },
        "keys": [key_row(key, ctx.now) for key in shown],
        "team_memberships": membership_rows(record),
    }


def team_list(state: State, query: TeamListQuery, ctx: Context) -> list[Answer]:
    """Show every team the caller may see (a member's, an organisation's) with its keys."""
    rows = []
    for record in _listed(state, query, ctx):
        row = team_row(record)
        row["keys"] = [key_row(key, ctx.now) for key in state.keys_of_team(record.grant.id)]
        row["team_memberships"] = membership_rows(record)
        rows.append(row)
    return rows


def team_page(state: State, query: TeamPageQuery, ctx: Context) -> Answer:
    """Show a page of the teams that pass every filter sent, newest first unless asked otherwise."""
    found = [] if query.status == "deleted" else _listed(state, query, ctx)
    if query.team_id is not UNSET:
        found = [record for record in found if record.grant.id == query.team_id]
    if query.team_alias is not UNSET:
        found = [
            r for r in found if query.team_alias.casefold() in (r.grant.alias or "").casefold()
        ]
    order = "created_at" if query.sort_by is UNSET else query.sort_by
    is_descending = query.sort_by is UNSET or query.sort_order == "desc"
    found.sort(key=_ORDERS[order], reverse=is_descending)
    start = (query.page - 1) * query.page_size
    return {
        "teams": [team_row(record) for record in found[start : start + query.page_size]],
        "total": len(found),
        "page": query.page,
        "page_size": query.page_size,
        "total_pages": -(-len(found) // query.page_size),
    }


def available(_state: State, _query: Nothing, _ctx: Context) -> list[Answer]:
    """Show the teams anybody may join by themselves: there are none."""
    return []


def permissions_list(state: State, query: TeamPermissionsQuery, ctx: Context) -> Answer:
    """Show what a team's members may do with its keys. Raises NotFound, Forbidden."""
    record = find_team(state, query.team_id)
    check_leads(ctx, record)
    given = record.details.team_member_permissions
    return {
        "team_id": query.team_id,
        "team_member_permissions": list(DEFAULT_PERMISSIONS) if given is None else given,
        "all_available_permissions": list(AVAILABLE_PERMISSIONS),
    }


def _listed(state: State, query: TeamListQuery, ctx: Context) -> list[TeamRecord]:
    return [
        record
        for record in state.teams.values()
        if _sees(ctx, record)
        and (query.user_id is UNSET or role_in(record, query.user_id) is not None)
        and query.organization_id in (UNSET, record.details.organization_id)
    ]


def _edit_access(ctx: Context, team: TeamRecord) -> str:
    """LiteLLM's word for what the caller may change of a team itself."""
    if ctx.caller.is_admin:
        return "unrestricted"
    leads = role_in(team, ctx.caller.user_id) == "admin"
    return "team_admin_disabled" if leads else "none"


def _sees(ctx: Context, team: TeamRecord) -> bool:
    """Whether the caller may be shown a team: an admin's all, a member's, the calling key's."""
    caller = ctx.caller
    return (
        Scope.ANY in caller.scopes
        or (Scope.MEMBER in caller.scopes and role_in(team, caller.user_id) is not None)
        or (caller.key is not None and caller.key.grant.team_id == team.grant.id)
    )
