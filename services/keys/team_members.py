"""Plans for a team's members: add, change, remove, and what they may do with its keys."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from services.keys.answers import membership_rows, team_row
from services.keys.callers import role_in
from services.keys.errors import AlreadyMember, Forbidden, InvalidRequest, NotFound
from services.keys.key_management import without_keys
from services.keys.management import (
    Answer,
    Context,
    Plan,
    address_of,
    check_models,
    check_numbers,
    check_temporary_budget,
    find_team,
    given,
    sent_fields,
    unknown_entries,
    user_named,
)
from services.keys.permits import check_permissions
from services.keys.records import Membership, TeamRecord
from services.keys.roles import Scope
from services.keys.state import State, Write
from services.keys.team_requests import (
    Member,
    MemberAdd,
    MemberBulkAdd,
    MemberDelete,
    MemberUpdate,
    TeamPermissions,
)

_STORED = Membership.__struct_fields__
_MAX_MEMBERS = 10_000
MAX_BULK = 500
"""Users added to a team by one call, as in LiteLLM."""


def check_leads(ctx: Context, team: TeamRecord) -> None:
    """Raise Forbidden unless the caller is an admin, of everything or of this team."""
    if Scope.ANY in ctx.caller.scopes or role_in(team, ctx.caller.user_id) == "admin":
        return
    msg = f"Call not allowed. User not proxy admin or team admin. team_id={team.grant.id}"
    raise Forbidden(msg, "team_id")


def add(state: State, request: MemberAdd, ctx: Context) -> Plan:
    """Make users members of a team. Who is one stays as they are: `update` changes members.

    Raises NotFound, Forbidden, InvalidRequest; AlreadyMember when all of them are.
    """
    members = request.member if isinstance(request.member, list) else [request.member]
    team = find_team(state, request.team_id)
    return _added(state, team, members, request, ctx, "team/member_add")


def bulk_add(state: State, request: MemberBulkAdd, ctx: Context) -> Plan:
    """Make several users, or every known one, members of a team.

    Who is a member already stays as they are: no bulk call may take a team its admins.
    Raises NotFound, Forbidden, InvalidRequest.
    """
    members = given(request.members, [])
    if given(request.all_users, default=False):
        if Scope.ANY not in ctx.caller.scopes:
            msg = "all_users: only a proxy admin adds every user; name the members"
            raise Forbidden(msg, "all_users")
        known = (Member(role="user", user_id=user_id) for user_id in state.users)
        members = [*members, *known]
    team = find_team(state, request.team_id)
    return _added(state, team, members, request, ctx, "team/bulk_member_add")


def _added(
    state: State,
    team: TeamRecord,
    members: Sequence[Member],
    request: MemberAdd | MemberBulkAdd,
    ctx: Context,
    reason: str,
) -> Plan:
    check_leads(ctx, team)
    is_one = isinstance(request, MemberAdd) and isinstance(request.member, Member)
    field = "member" if isinstance(request, MemberAdd) else "members"
    if not 0 < len(members) <= MAX_BULK:
        msg = f"{field} must name 1 to {MAX_BULK} users"
        raise InvalidRequest(msg, field)
    named, added = [], []
    for position, member in enumerate(members):
        where = field if is_one else f"{field}[{position}]"
        user_id = user_named(state, member.user_id, member.user_email, where)
        named.append(user_id)
        if role_in(team, user_id) is None:
            email = member.user_email or address_of(state, user_id)
            team = with_role(team, user_id, email, member.role)
            team = _with_membership(team, user_id, request)
            added.append(user_id)
    if not added and isinstance(request, MemberAdd):
        who = f"User already in team: user_id={named[0]}" if is_one else "All users already in team"
        msg = f"{who}. Use /team/member_update to change a member."
        raise AlreadyMember(msg, "member")
    if len(team.details.members_with_roles) > _MAX_MEMBERS:
        msg = f"a team has at most {_MAX_MEMBERS} members"
        raise InvalidRequest(msg, field)
    warnings = unknown_entries(state, given(request.allowed_models, []))
    answer: Answer = {
        **team_row(team),
        "updated_users": [{"user_id": user_id} for user_id in added],
        "updated_team_memberships": [
            row for row in membership_rows(team) if row["user_id"] in added
        ],
        "warnings": warnings,
    }
    if isinstance(request, MemberBulkAdd):
        answer.update(_counted(team, named))
    return Plan(writes=(_touched(team, ctx),), answer=answer, reason=reason)


def _counted(team: TeamRecord, named: list[str]) -> Answer:
    """What a bulk call answers beside the team."""
    emails = {m["user_id"]: m["user_email"] for m in team.details.members_with_roles}
    return {
        "results": [
            {"user_id": user, "user_email": emails[user], "success": True, "error": None}
            for user in named
        ],
        "total_requested": len(named),
        "successful_additions": len(named),
        "failed_additions": 0,
        "updated_team": team_row(team),
    }


def update(state: State, request: MemberUpdate, ctx: Context) -> Plan:
    """Change what was sent of one member; null clears. Raises NotFound, Forbidden."""
    team = find_team(state, request.team_id)
    check_leads(ctx, team)
    user_id = _member_of(state, team, request.user_id, request.user_email)
    check_temporary_budget(request.temp_budget_increase, request.temp_budget_expiry)
    if isinstance(request.role, str):
        team = with_role(team, user_id, None, request.role)
    team = _with_membership(team, user_id, request)
    answer: Answer = {"team_id": request.team_id, "user_id": user_id}
    answer["user_email"] = given(request.user_email, None)
    answer.update(next(row for row in membership_rows(team) if row["user_id"] == user_id))
    answer["warnings"] = unknown_entries(state, given(request.allowed_models, []))
    return Plan(writes=(_touched(team, ctx),), answer=answer, reason="team/member_update")


def delete(state: State, request: MemberDelete, ctx: Context) -> Plan:
    """Take a user out of a team, with their keys in it. Raises NotFound, Forbidden."""
    team = find_team(state, request.team_id)
    check_leads(ctx, team)
    user_id = _member_of(state, team, request.user_id, request.user_email)
    team = without_member(team, user_id)
    keys = [
        key.grant.id for key in state.keys_of_user(user_id) if key.grant.team_id == request.team_id
    ]
    writes: tuple[Write, ...] = (_touched(team, ctx), *without_keys(state, keys))
    return Plan(writes=writes, answer=team_row(team), reason="team/member_delete")


def update_permissions(state: State, request: TeamPermissions, ctx: Context) -> Plan:
    """Say what members may do with the team's keys. Raises NotFound, Forbidden, InvalidRequest."""
    team = find_team(state, request.team_id)
    check_leads(ctx, team)
    permissions = check_permissions(request.team_member_permissions)
    details = msgspec.structs.replace(team.details, team_member_permissions=permissions)
    team = _touched(TeamRecord(grant=team.grant, details=details), ctx)
    return Plan(writes=(team,), answer=team_row(team), reason="team/permissions_update")


def without_member(team: TeamRecord, user_id: str) -> TeamRecord:
    """A team without one of its members, and without what was kept of them."""
    kept = {u: models for u, models in team.grant.member_models.items() if u != user_id}
    details = msgspec.structs.replace(
        team.details,
        members_with_roles=[
            member for member in team.details.members_with_roles if member["user_id"] != user_id
        ],
        memberships={u: m for u, m in team.details.memberships.items() if u != user_id},
    )
    grant = msgspec.structs.replace(team.grant, member_models=kept)
    return TeamRecord(grant=grant, details=details)


def _member_of(
    state: State,
    team: TeamRecord,
    user_id: "str | msgspec.UnsetType | None",
    email: "str | msgspec.UnsetType | None",
) -> str:
    found = given(user_id, None)
    if found is None:
        address = given(email, None)
        # What the team remembers of an address counts for who is no known user.
        of_team = (
            m
            for m in team.details.members_with_roles
            if (address_of(state, m["user_id"] or "") or m.get("user_email")) == address
        )
        member = next(of_team, None) if address else None
        found = (member and member["user_id"]) or user_named(state, None, address, "")
    if role_in(team, found) is None:
        msg = f"User not found in team. user_id={found[:256]}, team_id={team.grant.id}"
        raise NotFound(msg, "user_id")
    return found


def with_role(team: TeamRecord, user_id: str, email: str | None, role: str) -> TeamRecord:
    """A team in which a user has this role."""
    members = [dict(member) for member in team.details.members_with_roles]
    for member in members:
        if member["user_id"] == user_id:
            member["role"] = role
            member["user_email"] = email or member.get("user_email")
            break
    else:
        members.append({"role": role, "user_id": user_id, "user_email": email})
    details = msgspec.structs.replace(team.details, members_with_roles=members)
    return TeamRecord(grant=team.grant, details=details)


def _with_membership(
    team: TeamRecord, user_id: str, request: MemberAdd | MemberBulkAdd | MemberUpdate
) -> TeamRecord:
    """Put a member's list into the grant, and what is only stored into the details."""
    check_numbers(request)
    models = dict(team.grant.member_models)
    if request.allowed_models is None:
        models.pop(user_id, None)
    elif request.allowed_models is not UNSET:
        models[user_id] = check_models(request.allowed_models, "allowed_models")
    elif user_id not in models and not isinstance(request, MemberUpdate):
        default = team.details.default_team_member_models
        if default:
            models[user_id] = check_models(default, "default_team_member_models")
    sent = sent_fields(request)
    stored = {field: sent[field] for field in _STORED if field in sent}
    memberships = dict(team.details.memberships)
    memberships[user_id] = msgspec.structs.replace(memberships.get(user_id, Membership()), **stored)
    return TeamRecord(
        grant=msgspec.structs.replace(team.grant, member_models=models),
        details=msgspec.structs.replace(team.details, memberships=memberships),
    )


def _touched(team: TeamRecord, ctx: Context) -> TeamRecord:
    details = msgspec.structs.replace(team.details, updated_at=ctx.now, updated_by=ctx.actor)
    return TeamRecord(grant=team.grant, details=details)
