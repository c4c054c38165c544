"""Plans for users: new (with a key), update (one or many), delete with their keys."""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from services.keys.answers import user_row
from services.keys.callers import role_in
from services.keys.errors import Conflict, Forbidden, InvalidRequest, ManagementError, NotFound
from services.keys.key_management import MAX_BULK, generate, without_keys
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
    UserBulkUpdate,
    UserDelete,
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

    Raises InvalidRequest, NotFound; Conflict when the id or the address is taken, AlreadyTaken when
    the key's alias is.
    """
    user_id = given(request.user_id, None)
    user_id = ctx.new_id() if user_id is None else check_id(user_id, "user_id")
    if user_id in state.users:
        msg = f"User with id {user_id} already exists"
        raise Conflict(msg, "user_id")
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

    Raises NotFound, InvalidRequest, Conflict, Forbidden.
    """
    user, warnings = _updated(state, request, ctx)
    row = user_row(user, [team.grant.id for team in teams_of(state, user.grant.id)])
    answer: Answer = {"user_id": user.grant.id, "data": row, "warnings": warnings}
    return Plan(writes=(user,), answer=answer, reason="user/update")


def bulk_update(state: State, request: UserBulkUpdate, ctx: Context) -> Plan:
    """Change many users, or all of them alike, in one change; those that cannot be are told apart.

    Raises InvalidRequest.
    """
    asked = _asked_in_bulk(state, request)
    users: dict[str, UserRecord] = {}
    results: list[Answer] = []
    for item in asked:
        result: Answer = {
            "user_id": given(item.user_id, None),
            "user_email": given(item.user_email, None),
            "success": True,
            "error": None,
            "updated_user": None,
        }
        results.append(result)
        try:
            user, _ = _updated(state, item, ctx)
            _check_once(user, users)
        except ManagementError as error:
            result.update(success=False, error=error.message)
            continue
        users[user.grant.id] = user
        result["user_id"] = user.grant.id
    teams = teams_of_each(state, users)
    for result in results:
        if result["success"]:
            user = users[str(result["user_id"])]
            result["updated_user"] = user_row(user, teams[user.grant.id])
    answer: Answer = {
        "results": results,
        "total_requested": len(asked),
        "successful_updates": len(users),
        "failed_updates": len(asked) - len(users),
    }
    return Plan(writes=tuple(users.values()), answer=answer, reason="user/bulk_update")


def _asked_in_bulk(state: State, request: UserBulkUpdate) -> list[UserUpdate]:
    asked, alike = given(request.users, []), given(request.user_updates, None)
    if given(request.all_users, default=False):
        if asked or alike is None:
            msg = "all_users goes with user_updates, and without users"
            raise InvalidRequest(msg, "all_users")
        if alike.user_id is not UNSET or alike.user_email is not UNSET:
            msg = "user_updates are for all users: user_id and user_email name one"
            raise InvalidRequest(msg, "user_updates")
        asked = [msgspec.structs.replace(alike, user_id=user_id) for user_id in state.users]
    if not 0 < len(asked) <= MAX_BULK:
        msg = f"users must name 1 to {MAX_BULK} users"
        raise InvalidRequest(msg, "users")
    return asked


def _check_once(user: UserRecord, before: dict[str, UserRecord]) -> None:
    """Refuse a user, or an address, that an earlier part of the same call has."""
    if user.grant.id in before:
        msg = "the same user is named twice"
        raise Conflict(msg, "user_id")
    email = user.details.user_email
    if email is not None and any(_is_same(email, u.details.user_email) for u in before.values()):
        msg = "A user with this user_email already exists"
        raise Conflict(msg, "user_email")


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


def teams_of(state: State, user_id: str) -> list[TeamRecord]:
    """The teams a user belongs to."""
    return [team for team in state.teams.values() if role_in(team, user_id) is not None]


def teams_of_each(state: State, user_ids: Iterable[str]) -> dict[str, list[str]]:
    """The ids of each of these users' teams, by one look at the teams."""
    found: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
    for team in state.teams.values():
        for member in team.details.members_with_roles:
            teams = found.get(member["user_id"] or "")
            if teams is not None and team.grant.id not in teams[-1:]:
                teams.append(team.grant.id)
    return found


def _updated(state: State, request: UserUpdate, ctx: Context) -> tuple[UserRecord, list[str]]:
    old = _named(state, request)
    _check_own(ctx, old, request)
    if request.models is None:
        msg = "models must not be null: send [] for no restriction, or leave it out to keep it"
        raise InvalidRequest(msg, "models")
    return _patched(state, old, request, ctx)


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
        _is_same(email, user.details.user_email) and user.grant.id != old.grant.id
        for user in state.users.values()
    ):
        msg = "A user with this user_email already exists"
        raise Conflict(msg, "user_email")
    details = stored_changes(sent_fields(request), UserDetails)
    details.update(updated_at=ctx.now, updated_by=ctx.actor)
    return UserRecord(
        grant=msgspec.structs.replace(old.grant, models=models),
        details=msgspec.structs.replace(old.details, **details),
    ), warnings


def _is_same(one: str, other: str | None) -> bool:
    """Whether two e-mail addresses are one, in any letter case."""
    return one.casefold() == (other or "").casefold()


def _joined(state: State, user: UserRecord, team_ids: list[str], ctx: Context) -> list[TeamRecord]:
    teams = []
    for team_id in dict.fromkeys(team_ids):
        team = find_team(state, team_id, f"teams[{team_ids.index(team_id)}]")
        joined = with_role(team, user.grant.id, user.details.user_email, "user")
        details = msgspec.structs.replace(joined.details, updated_at=ctx.now, updated_by=ctx.actor)
        teams.append(TeamRecord(grant=joined.grant, details=details))
    return teams
