"""What the management API reads of users: one with their keys and teams, or a page of them."""

from msgspec import UNSET

from services.keys.answers import key_row, team_row, user_row
from services.keys.callers import role_in
from services.keys.errors import Forbidden, NotFound
from services.keys.management import Answer, Context, given
from services.keys.records import UserRecord
from services.keys.roles import Scope
from services.keys.state import State
from services.keys.user_management import teams_of, teams_of_each
from services.keys.user_requests import UserInfoQuery, UserListQuery


def info(state: State, query: UserInfoQuery, ctx: Context) -> Answer:
    """Show a user with their keys and teams; the caller when none is named.

    Raises NotFound, Forbidden.
    """
    user = _shown(state, query, ctx)
    if user is None:
        own = ctx.caller.key
        keys = [] if own is None else [key_row(own, ctx.now)]
        return {"user_id": None, "user_info": None, "keys": keys, "teams": []}
    teams = teams_of(state, user.grant.id)
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
    return user_row(user, [team.grant.id for team in teams_of(state, user.grant.id)])


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
    teams = teams_of_each(state, [user.grant.id for user in page])
    return {
        "users": [
            {
                **user_row(user, teams[user.grant.id]),
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
