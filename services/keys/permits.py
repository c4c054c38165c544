"""Which records a caller's call may be about, and what may be put into a key by whom."""

import msgspec
from msgspec import UNSET

from services.keys.callers import Caller, is_member, leads
from services.keys.durations import iso_utc
from services.keys.errors import Forbidden, InvalidRequest, NotPermitted
from services.keys.key_lists import check_models_given
from services.keys.records import KeyRecord
from services.keys.requests import KeyFields
from services.keys.roles import Scope
from services.keys.state import State
from shared.allowed_routes import routes_within

BUDGET_FIELDS = (
    "spend",
    "max_budget",
    "soft_budget",
    "budget_duration",
    "budget_id",
    "budget_limits",
    "model_max_budget",
    "temp_budget_increase",
    "temp_budget_expiry",
)
"""What of an existing key only an admin may change."""

DEFAULT_PERMISSIONS = ("/key/info", "/key/health")
"""What every member of a team may do."""

AVAILABLE_PERMISSIONS = (
    *DEFAULT_PERMISSIONS,
    "/key/generate",
    "/key/service-account/generate",
    "/key/update",
    "/key/delete",
    "/key/regenerate",
    "/key/{key_id}/regenerate",
    "/key/list",
    "/key/aliases",
    "/key/block",
    "/key/unblock",
    "/key/bulk_update",
    "/team/key/bulk_update",
    "/key/{key_id}/reset_spend",
    "/key/access_group_assignment",
    "/auto_router/manage",
    "/team/daily/activity",
    "/team/daily/activity/aggregated",
    "/spend/logs",
    "/spend/logs/v2",
)
"""What a team's members may be permitted: LiteLLM's words."""

_ASSIGN_GROUPS = "/key/access_group_assignment"


def check_permissions(given: list[str]) -> list[str]:
    """`team_member_permissions` as they are stored, each once. Raises InvalidRequest."""
    for position, permission in enumerate(given):
        if permission not in AVAILABLE_PERMISSIONS:
            where = f"team_member_permissions[{position}]"
            msg = f"{where} is not one of {list(AVAILABLE_PERMISSIONS)}"
            raise InvalidRequest(msg, where)
    return list(dict.fromkeys(given))


def permissions_of(state: State, team_id: str) -> frozenset[str]:
    """What the members of a team may do with its keys."""
    team = state.teams.get(team_id)
    given = () if team is None else (team.details.team_member_permissions or ())
    return frozenset((*DEFAULT_PERMISSIONS, *given))


def may_see_key(state: State, caller: Caller, key: KeyRecord) -> bool:
    """Whether a caller may be shown a key."""
    scopes, grant = caller.scopes, key.grant
    return (
        Scope.ANY in scopes
        or (caller.key is not None and caller.key.grant.id == grant.id)
        or (Scope.OWN in scopes and caller.user_id is not None and grant.user_id == caller.user_id)
        or (Scope.LED in scopes and leads(state, caller.user_id, grant.team_id))
        or (Scope.MEMBER in scopes and is_member(state, caller.user_id, grant.team_id))
    )


def check_may_see_key(state: State, caller: Caller, key: KeyRecord) -> None:
    """Raise Forbidden when a caller may not be shown a key."""
    if not may_see_key(state, caller, key):
        msg = "You are not allowed to access this key's info."
        raise Forbidden(msg, "key")


def check_key(state: State, caller: Caller, key: KeyRecord) -> None:
    """Raise Forbidden or NotPermitted unless the call may be about this key as it is."""
    check_place(state, caller, key.grant.user_id, key.grant.team_id)


def check_place(state: State, caller: Caller, user_id: str | None, team_id: str | None) -> None:
    """Raise Forbidden or NotPermitted unless the call may be about a key of this user and team."""
    if Scope.ANY in caller.scopes:
        return
    if Scope.LED in caller.scopes and leads(state, caller.user_id, team_id):
        return
    is_own = caller.user_id is not None and user_id == caller.user_id
    if team_id is None:
        if is_own and Scope.OWN in caller.scopes:
            return
    elif is_own and Scope.PERMITTED in caller.scopes and is_member(state, user_id, team_id):
        permission = caller.call.partition(" ")[2].replace("{key}", "{key_id}")
        if permission in permissions_of(state, team_id):
            return
        msg = (
            f"Team member does not have permissions for endpoint: {permission}."
            f" Team={team_id}. An admin of the team can give it."
        )
        raise NotPermitted(msg)
    msg = (
        "This key is neither your own nor of a team you administer:"
        f" your user_id={caller.user_id}, the key's user_id={user_id}, team_id={team_id}"
    )
    raise Forbidden(msg, "user_id" if user_id is not None and not is_own else "key")


def permitted(
    state: State,
    caller: Caller,
    old: KeyRecord | None,
    new: KeyRecord,
    request: KeyFields,
    *,
    keeps_old: bool = False,
) -> KeyRecord:
    """Give a key as its caller may have it made or changed; `old` is None for a new one.

    With another digest than before it is a regenerated one; `keeps_old` says that its old
    secret stays for a while. Raises Forbidden when a caller who is no admin puts into it what
    only an admin may. Every restriction on the calling key holds for the keys it makes: its
    routes (an admin's too), its end, its list, and its team's when that is another.
    """
    _check_routes(caller, old, new)
    if not caller.is_admin:
        _check_owner(state, caller, old, new)
        _check_fields(state, caller, old, new, request)
        _check_end(caller, old, new)
        check_models_given(state, caller, new)
    acts = _acts(caller, old, new, keeps_old=keeps_old)
    details = msgspec.structs.replace(new.details, acts_for_user=acts)
    return KeyRecord(grant=new.grant, details=details)


def _acts(caller: Caller, old: KeyRecord | None, new: KeyRecord, *, keeps_old: bool) -> bool:
    """Whether a key makes management calls for its user.

    Only when nobody but that user or an admin was ever given a secret of it, or an admin
    said that it is that user's: else whoever makes a key in another's name becomes them.
    """
    user_id = new.grant.user_id
    acts = old is None or old.details.acts_for_user
    if old is not None and user_id != old.grant.user_id:
        acts = caller.is_admin
    is_shown = old is None or old.grant.id != new.grant.id
    if caller.is_admin:
        return acts or (is_shown and not keeps_old)
    return acts and (not is_shown or user_id == caller.user_id)


def _check_owner(state: State, caller: Caller, old: KeyRecord | None, new: KeyRecord) -> None:
    user_id, team_id = new.grant.user_id, new.grant.team_id
    if old is not None and old.grant.team_id is not None and team_id != old.grant.team_id:
        msg = "team_id: only a proxy admin takes a key out of its team"
        raise Forbidden(msg, "team_id")
    kept = old is not None and old.grant.user_id == user_id
    if kept or user_id in (None, caller.user_id) or is_member(state, user_id, team_id):
        return
    msg = f"user_id: {user_id!r} is neither you nor a member of the key's team"
    raise Forbidden(msg, "user_id")


def _check_fields(
    state: State, caller: Caller, old: KeyRecord | None, new: KeyRecord, request: KeyFields
) -> None:
    if old is not None:
        is_leader = leads(state, caller.user_id, old.grant.team_id)
        if new.grant.blocked != old.grant.blocked and not is_leader:
            msg = "blocked: only an admin of the proxy or of the key's team changes it"
            raise Forbidden(msg, "blocked")
        for field in BUDGET_FIELDS:
            was = getattr(old.details, field)
            if getattr(request, field) is not UNSET and getattr(new.details, field) != was:
                msg = f"{field}: only a proxy admin changes it"
                raise Forbidden(msg, field)
    had = () if old is None else old.grant.groups
    if any(group not in had for group in new.grant.groups):
        team_id = new.grant.team_id
        permitted = team_id is not None and _ASSIGN_GROUPS in permissions_of(state, team_id)
        if not permitted and not leads(state, caller.user_id, team_id):
            msg = f"access_group_ids: needs the team's permission {_ASSIGN_GROUPS}"
            raise Forbidden(msg, "access_group_ids")


def _check_routes(caller: Caller, old: KeyRecord | None, new: KeyRecord) -> None:
    routes = new.grant.allowed_routes
    is_changed = old is not None and routes != old.grant.allowed_routes
    own = () if caller.key is None else caller.key.grant.allowed_routes
    # A key type stands for routes and only narrows a new key, as the calling key's own do; other
    # routes are an admin's.
    by_hand = old is None and routes and new.details.key_type == "default" and not own
    if not caller.is_admin and (is_changed or by_hand):
        msg = "allowed_routes and key_type: only a proxy admin sets or changes them"
        raise Forbidden(msg, "allowed_routes")
    # What a key may do is also changed by giving it, or its new secret, to somebody else.
    is_given = old is None or (old.grant.id, old.grant.user_id) != (new.grant.id, new.grant.user_id)
    if (is_given or is_changed) and not routes_within(routes, own):
        msg = f"allowed_routes: the calling key has no others than {list(own)}; send some of these"
        raise Forbidden(msg, "allowed_routes")


def _check_end(caller: Caller, old: KeyRecord | None, new: KeyRecord) -> None:
    """A key that ends makes none that outlives it, and does not put off its own end."""
    ends = None if caller.key is None else caller.key.grant.expires_at
    until = new.grant.expires_at
    is_given = old is None or old.grant.id != new.grant.id or until != old.grant.expires_at
    if ends is not None and is_given and (until is None or until > ends):
        msg = (
            f"duration: the calling key ends at {iso_utc(ends)}, and no key it makes or changes"
            " lasts longer; send a duration that ends before, or ask an admin"
        )
        raise Forbidden(msg, "duration")
