"""Who makes a management call, as of one state: the master key's holder, or a virtual key's."""

import msgspec

from services.keys.errors import Denied, MayNotCall
from services.keys.records import KeyRecord, TeamRecord
from services.keys.roles import Role, Scope, Scopes, scopes_of
from services.keys.state import State
from shared.allowed_routes import route_allowed
from shared.decisions import DenyReason

_ROUTES_SHOWN = 20


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and which records this call may be about. `key` is None for the master key."""

    role: Role = Role.ADMIN
    call: str = ""
    scopes: Scopes = frozenset({Scope.ANY})
    key: KeyRecord | None = None
    user_id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether nothing is beyond this caller."""
        return self.role is Role.ADMIN

    @property
    def name(self) -> str:
        """How the log calls them: never by secret or digest."""
        if self.key is None:
            return "master_key"
        return self.user_id or self.key.details.key_alias or self.key.details.key_name


MASTER = Caller()


def identify(state: State, digest: bytes, call: str, path: str, now: float) -> Caller:
    """Who the holder of a virtual key is for this call.

    Raises Denied when the key is unknown, it or its team is out of force, or its routes leave
    this path out; MayNotCall when the role has no cell for the call.
    """
    key = _key(state, digest, now)
    if key is None:
        msg = "Authentication Error, Invalid proxy server token passed."
        raise Denied(DenyReason.KEY_UNKNOWN, msg, "key")
    _check_in_force(state, key, now)
    routes = key.grant.allowed_routes
    if not route_allowed(routes, path):
        only = f"{list(routes[:_ROUTES_SHOWN])}{' and more' * (len(routes) > _ROUTES_SHOWN)}"
        msg = (
            f"Virtual key is not allowed to call this route. Only allowed to call routes: {only}."
            f" Tried to call route: {path}"
        )
        raise Denied(DenyReason.ROUTE_NOT_ALLOWED, msg)
    user = state.users.get(key.grant.user_id or "") if key.details.acts_for_user else None
    role = Role.KEY if user is None else Role(user.details.user_role)
    scopes = scopes_of(call, role)
    user_id = None if user is None else user.grant.id
    if not scopes:
        msg = (
            "Authentication Error, Only proxy admin can be used to generate, delete, update info"
            f" for new keys/users/teams. Route={path}. Your role={role.value}."
            f" Your user_id={user_id}."
        )
        raise MayNotCall(msg)
    return Caller(role=role, call=call, scopes=scopes, key=key, user_id=user_id)


def _key(state: State, digest: bytes, now: float) -> KeyRecord | None:
    found = state.keys.get(digest)
    old = state.retired.get(digest)
    if found is None and old is not None and now < old.until:
        found = state.keys.get(old.successor)
    return found


def _check_in_force(state: State, key: KeyRecord, now: float) -> None:
    """Raise Denied as policy would: for the key's own state, then for its team's."""
    if key.grant.blocked:
        msg = "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin."
        raise Denied(DenyReason.KEY_BLOCKED, msg)
    if key.grant.expires_at is not None and key.grant.expires_at <= now:
        msg = "Authentication Error - Expired Key. Ask an admin for a new one."
        raise Denied(DenyReason.KEY_EXPIRED, msg)
    team_id = key.grant.team_id
    team = None if team_id is None else state.teams.get(team_id)
    if team_id is not None and team is None:
        msg = f"Authentication Error, Team doesn't exist. Team={team_id}."
        raise Denied(DenyReason.TEAM_UNKNOWN, msg)
    if team is not None and team.grant.blocked:
        msg = (
            f"Authentication Error, Team={team_id} is blocked."
            " Update via `/team/unblock` if you're an admin."
        )
        raise Denied(DenyReason.TEAM_BLOCKED, msg)


def role_in(team: TeamRecord, user_id: str | None) -> str | None:
    """A user's role in a team: `admin`, `user`, or None for no member."""
    if user_id is None:
        return None
    for member in team.details.members_with_roles:
        if member["user_id"] == user_id:
            return member["role"]
    return None


def leads(state: State, user_id: str | None, team_id: str | None) -> bool:
    """Whether a user is an admin of a team."""
    team = None if team_id is None else state.teams.get(team_id)
    return team is not None and role_in(team, user_id) == "admin"


def is_member(state: State, user_id: str | None, team_id: str | None) -> bool:
    """Whether a user belongs to a team."""
    team = None if team_id is None else state.teams.get(team_id)
    return team is not None and role_in(team, user_id) is not None
