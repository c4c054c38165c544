"""Plans for users: new (with a key), update, delete with their keys; and what is read of them."""

import msgspec
from msgspec import UNSET

from services.keys.answers import key_row, team_row, user_row
from services.keys.callers import role_in
from services.keys.errors import AlreadyTaken, Forbidden, InvalidRequest, NotFound
from services.keys.key_management import generate, without_keys
from services.keys.management import (
    Answer,
    Context,
    Plan,
    check_durations,
    check_id,
    check_models,
    check_numbers,
    find_team,
    given,
    sent_fields,
    stored_changes,
    unknown_entries,
)
from services.keys.records import TeamRecord, UserDetails, UserRecord
from services.keys.requests import KeyGenerate
from services.keys.roles import Scope
from services.keys.state import State, Write
from services.keys.team_members import with_role, without_member
from services.keys.user_requests import (
    UserDelete,
    UserInfoQuery,
    UserListQuery,
    UserNew,
    UserUpdate,
)
from shared.changes import Tombstone, UserGrant

_NOT_OF_A_USER = frozenset({"all-team-models"})
_DURATIONS = ("budget_duration",)
_THEIR_OWN = frozenset({"user_id", "user_alias", "metadata"})
"""What users may change of themselves. Not their address: admins name users by it."""


def new(state: State, request: UserNew, ctx: Context) -> Plan:
    """Make a user, put them into teams, and give them a key unless told otherwise.

    Raises InvalidRequest, AlreadyTaken (the id, the address or the key's alias), NotFound.
    """
    user_id = given(request.user_id, None)
    user_id = ctx.new_id() if user_id is None else check_id(user_id, "user_id")
    if user_id in state.users:
        msg = f"User with id {user_id} already exists"
        raise AlreadyTaken(msg, "user_id")
    blank = UserRecord(
        grant=UserGrant(id=user_id),
        details=UserDetails(
            created_at=ctx.now, updated_at=ctx.now, created_by=ctx.actor, updated_by=ctx.actor
        ),
    )
    user, warnings = _patched(state, blank, request, ctx)
    teams = _joined(state, user, given(request.teams, []), ctx)
    writes: list[Write] = [user, *teams]
    answer: Answer = {}
    if given(request.auto_create_key, default=True):
        fields = {name: getattr(request, name) for name in KeyGenerate.__struct_fields__[:-2]}
        asked = KeyGenerate(**{**fields, "user_id": user_id}, key_alias=request.key_alias)
        made = generate(state, asked, ctx)
        writes += made.writes
        answer = made.answer
    answer.update(user_row(user, [team.grant.id for team in teams]))
    answer.update(key=answer.get("key"), warnings=warnings)
    return Plan(writes=tuple(writes), answer=answer, reason="user/new")


def update(state: State, request: UserUpdate, ctx: Context) -> Plan:
    """Change the fields that were sent; users may change a few of their own.

    Raises NotFound, InvalidRequest, AlreadyTaken, Forbidden.
    """
    old = _named(state, request)
    _check_own(ctx, old, request)
    if request.models is None:
        msg = "models must not be null: send [] for no restriction, or leave it out to keep it"
        raise InvalidRequest(msg, "models")
    user, warnings = _patched(state, old, request, ctx)
    row = user_row(user, [team.grant.id for team in _teams_of(state, user.grant.id)])
    answer: Answer = {"user_id": user.grant.id, "data": row, "warnings": warnings}
    return Plan(writes=(user,), answer=answer, reason="user/update")


def delete(state: State, request: UserDelete, _ctx: Context) -> Plan:
    """Delete users, their keys and their memberships: all of them, or none. Raises NotFound."""
    if not request.user_ids:
        msg = "user_ids must name at least one user"
        raise InvalidRequest(msg, "user_ids")
    user_ids = tuple(dict.fromkeys(request.user_ids))
    for position, user_id in enumerate(request.user_ids):
        if user_id not in state.users:
            msg = f"User not found, passed user_id={user_id[:256]}. Nothing was deleted."
            raise NotFound(msg, f"user_ids[{position}]")
    keys = [key.grant.id for user_id in user_ids for key in state.keys_of_user(user_id)]
    teams: list[Write] = []
    for team in state.teams.values():
        left = team
        for user_id in user_ids:
            if role_in(left, user_id) is not None or user_id in left.grant.member_models:
                left = without_member(left, user_id)
        if left is not team:
            teams.append(left)
    return Plan(
        writes=(
            *without_keys(state, keys),
            *teams,
            *(Tombstone(of="user", id=user_id) for user_id in user_ids),
        ),
        answer={"deleted_users": list(user_ids), "deleted_keys": [key.hex() for key in keys]},
        reason="user/delete",
    )


def info(state: State, query: UserInfoQuery, ctx: Context) -> Answer:
    """Show a user with their keys and teams; the caller when none is named.

    Raises NotFound, Forbidden.
    """
    user = _shown(state, query, ctx)
    if user is None:
        own = ctx.caller.key
        keys = [] if own is None else [key_row(own, ctx.now)]
        return {"user_id": None, "user_info": None, "keys": keys, "teams": []}
    teams = _teams_of(state, user.grant.id)
    return {
        "user_id": user.grant.id,
        "user_info": user_row(user, [team.grant.id for team in teams]),
        "keys": [key_row(key, ctx.now) for key in state.keys_of_user(user.grant.id)],
        "teams": [team_row(team) for team in teams],
    }


def info_v2(state: State, query: UserInfoQuery, ctx: Context) -> Answer:
    """Show a user alone. Raises NotFound, Forbidden."""
    user = _shown(state, query, ctx)
    if user is None:
        msg = "User not found: the calling key belongs to no user. Name one with ?user_id="
        raise NotFound(msg, "user_id")
    return user_row(user, [team.grant.id for team in _teams_of(state, user.grant.id)])


def user_list(state: State, query: UserListQuery, _ctx: Context) -> Answer:
    """Show a page of the users that pass every filter sent, newest first."""
    wanted = None if query.user_ids is UNSET else frozenset(query.user_ids.split(","))
    signed_on = None if query.sso_user_ids is UNSET else query.sso_user_ids.split(",")
    team = None if query.team is UNSET else state.teams.get(query.team)
    part = given(query.user_email, "").casefold()
    found = [
        user
        for user in state.users.values()
        if query.role in (UNSET, user.details.user_role)
        and (wanted is None or user.grant.id in wanted)
        and (signed_on is None or user.details.sso_user_id in signed_on)
        and part in (user.details.user_email or "").casefold()
        and (query.team is UNSET or (team is not None and role_in(team, user.grant.id)))
    ]
    found.sort(key=lambda user: (user.details.created_at, user.grant.id), reverse=True)
    start = (query.page - 1) * query.page_size
    page = found[start : start + query.page_size]
    teams: dict[str | None, list[str]] = {user.grant.id: [] for user in page}
    for team in state.teams.values():
        for member in team.details.members_with_roles:
            if member["user_id"] in teams:
                teams[member["user_id"]].append(team.grant.id)
    return {
        "users": [
            {
                **user_row(user, dict.fromkeys(teams[user.grant.id])),
                "key_count": len(state.keys_of_user(user.grant.id)),
            }
            for user in page
        ],
        "total": len(found),
        "page": query.page,
        "page_size": query.page_size,
        "total_pages": -(-len(found) // query.page_size),
    }


def _shown(state: State, query: UserInfoQuery, ctx: Context) -> UserRecord | None:
    caller = ctx.caller
    user_id = caller.user_id if query.user_id is UNSET else query.user_id
    if user_id is None:
        return None
    if Scope.ANY not in caller.scopes and user_id != caller.user_id:
        msg = "You are not allowed to access this user's info."
        raise Forbidden(msg, "user_id")
    found = state.users.get(user_id)
    if found is None:
        msg = f"User {user_id[:256]} not found"
        raise NotFound(msg, "user_id")
    return found


def _teams_of(state: State, user_id: str) -> list[TeamRecord]:
    return [team for team in state.teams.values() if role_in(team, user_id) is not None]


def _named(state: State, request: UserUpdate) -> UserRecord:
    user_id, email = given(request.user_id, ""), given(request.user_email, "")
    if not user_id and not email:
        msg = "user_id (or user_email) must name the user to update"
        raise InvalidRequest(msg, "user_id")
    found = (
        state.users.get(user_id)
        if user_id
        else next((u for u in state.users.values() if u.details.user_email == email), None)
    )
    if found is None:
        msg = "User not found."
        raise NotFound(msg, "user_id")
    return found


def _check_own(ctx: Context, old: UserRecord, request: UserUpdate) -> None:
    if Scope.ANY in ctx.caller.scopes:
        return
    if old.grant.id != ctx.caller.user_id:
        msg = "user_id: only a proxy admin changes other users"
        raise Forbidden(msg, "user_id")
    for field, value in sent_fields(request).items():
        is_as_it_was = field == "user_email" and value == old.details.user_email
        if field not in _THEIR_OWN and not is_as_it_was:
            msg = f"{field}: only a proxy admin changes it"
            raise Forbidden(msg, field)


def _patched(
    state: State, old: UserRecord, request: UserNew | UserUpdate, ctx: Context
) -> tuple[UserRecord, list[str]]:
    check_numbers(request)
    check_durations(request, _DURATIONS, ctx.now)
    models, warnings = old.grant.models, []
    if request.models is not UNSET:
        models = check_models(request.models or [], refused=_NOT_OF_A_USER)
        warnings = unknown_entries(state, models)
    email = given(request.user_email, None)
    if email not in (None, old.details.user_email) and any(
        (user.details.user_email or "").casefold() == email.casefold()
        and user.grant.id != old.grant.id
        for user in state.users.values()
    ):
        msg = "A user with this user_email already exists"
        raise AlreadyTaken(msg, "user_email")
    details = stored_changes(sent_fields(request), UserDetails)
    details.update(updated_at=ctx.now, updated_by=ctx.actor)
    return UserRecord(
        grant=msgspec.structs.replace(old.grant, models=models),
        details=msgspec.structs.replace(old.details, **details),
    ), warnings


def _joined(state: State, user: UserRecord, team_ids: list[str], ctx: Context) -> list[TeamRecord]:
    teams = []
    for team_id in dict.fromkeys(team_ids):
        team = find_team(state, team_id, f"teams[{team_ids.index(team_id)}]")
        joined = with_role(team, user.grant.id, user.details.user_email, "user")
        details = msgspec.structs.replace(joined.details, updated_at=ctx.now, updated_by=ctx.actor)
        teams.append(TeamRecord(grant=joined.grant, details=details))
    return teams
