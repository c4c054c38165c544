"""Who may make which management call: one table, and nothing else that grants one.

A row is a call, a column who makes it, a cell which records it may then be about. What a cell
does not name is refused. LiteLLM's table, where ours is not stricter: a key without a user makes
no keys, and `allowed_routes` of a key only ever takes away.
"""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a caller is: a user's role, or a key that belongs to no known user."""

    ADMIN = "proxy_admin"
    VIEWER = "proxy_admin_viewer"
    USER = "internal_user"
    USER_VIEWER = "internal_user_viewer"
    KEY = "key"


class Scope(StrEnum):
    """Which records a call may be about."""

    ANY = "any"
    LED = "led"
    """Of teams the caller is an admin of."""
    PERMITTED = "permitted"
    """The caller's own, in teams whose members have the permission for this call."""
    MEMBER = "member"
    """Of teams the caller belongs to."""
    OWN = "own"
    """The caller's own: their user, and their keys without a team."""
    SELF = "self"
    """The very key that calls, and its team."""


Scopes = frozenset[Scope]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `team_admin` is what leading a team adds to an internal user's cell."""

    viewer: Scopes = frozenset()
    team_admin: Scopes = frozenset()
    user: Scopes = frozenset()
    user_viewer: Scopes = frozenset()
    key: Scopes = frozenset()


def _only(*scopes: Scope) -> Scopes:
    return frozenset(scopes)


_ANY, _LED, _OWN, _SELF = (_only(s) for s in (Scope.ANY, Scope.LED, Scope.OWN, Scope.SELF))
_ADMINS_ONLY = Rule()
_ADMINS_READ = Rule(viewer=_ANY)
_OWN_OR_PERMITTED = _only(Scope.OWN, Scope.PERMITTED)
_OWN_KEYS = Rule(team_admin=_LED, user=_OWN_OR_PERMITTED)
_TEAM_KEYS = Rule(team_admin=_LED, user=_only(Scope.PERMITTED))
_LEADERS = Rule(team_admin=_LED)
_SEE_KEYS = _only(Scope.SELF, Scope.OWN, Scope.MEMBER)
_KEY_INFO = Rule(viewer=_ANY, team_admin=_LED, user=_SEE_KEYS, user_viewer=_SEE_KEYS, key=_SELF)
_LIST_KEYS = Rule(viewer=_ANY, team_admin=_LED, user=_OWN, user_viewer=_OWN)
_SEE_TEAMS = _only(Scope.MEMBER, Scope.SELF)
_TEAM_INFO = Rule(viewer=_ANY, team_admin=_LED, user=_SEE_TEAMS, user_viewer=_SEE_TEAMS, key=_SELF)
_MODEL_INFO = Rule(viewer=_ANY, user=_SELF, user_viewer=_SELF, key=_SELF)
_USER_INFO = Rule(viewer=_ANY, user=_OWN, user_viewer=_OWN, key=_SELF)

RULES: dict[str, Rule] = {
    "POST /key/generate": _OWN_KEYS,
    "POST /key/service-account/generate": _TEAM_KEYS,
    "POST /key/update": _OWN_KEYS,
    "POST /key/delete": _OWN_KEYS,
    "POST /key/regenerate": _OWN_KEYS,
    "POST /key/{key}/regenerate": _OWN_KEYS,
    "POST /key/block": _LEADERS,
    "POST /key/unblock": _LEADERS,
    "POST /key/bulk_update": _ADMINS_ONLY,
    "GET /key/info": _KEY_INFO,
    "POST /v2/key/info": _KEY_INFO,
    "POST /key/health": Rule(viewer=_SELF, user=_SELF, user_viewer=_SELF, key=_SELF),
    "GET /key/list": _LIST_KEYS,
    "GET /key/aliases": _LIST_KEYS,
    "POST /team/new": _ADMINS_ONLY,
    "POST /team/update": _ADMINS_ONLY,
    "PATCH /team/{team_id}": _ADMINS_ONLY,
    "POST /team/delete": _ADMINS_ONLY,
    "POST /team/block": _ADMINS_ONLY,
    "POST /team/unblock": _ADMINS_ONLY,
    "POST /team/model/add": _ADMINS_ONLY,
    "POST /team/model/delete": _ADMINS_ONLY,
    "POST /team/member_add": _LEADERS,
    "POST /team/member_update": _LEADERS,
    "POST /team/member_delete": _LEADERS,
    "POST /team/bulk_member_add": _LEADERS,
    "GET /team/permissions_list": _LEADERS,
    "POST /team/permissions_update": _LEADERS,
    "GET /team/info": _TEAM_INFO,
    "GET /team/list": _TEAM_INFO,
    "GET /team/available": _TEAM_INFO,
    "GET /v2/team/list": _TEAM_INFO,
    "POST /user/new": _ADMINS_ONLY,
    "POST /user/update": Rule(user=_OWN),
    "POST /user/bulk_update": _ADMINS_ONLY,
    "POST /user/delete": _ADMINS_ONLY,
    "GET /user/info": _USER_INFO,
    "GET /v2/user/info": _USER_INFO,
    "GET /user/list": _ADMINS_READ,
    "POST /access_group/new": _ADMINS_ONLY,
    "GET /access_group/list": _ADMINS_ONLY,
    "GET /access_group/{access_group}/info": _ADMINS_ONLY,
    "PUT /access_group/{access_group}/update": _ADMINS_ONLY,
    "DELETE /access_group/{access_group}/delete": _ADMINS_ONLY,
    "POST /v1/access_group": _ADMINS_ONLY,
    "GET /v1/access_group": _ADMINS_READ,
    "GET /v1/access_group/{access_group_id}": _ADMINS_READ,
    "PUT /v1/access_group/{access_group_id}": _ADMINS_ONLY,
    "DELETE /v1/access_group/{access_group_id}": _ADMINS_ONLY,
    "POST /model/new": _ADMINS_ONLY,
    "POST /model/update": _ADMINS_ONLY,
    "PATCH /model/{model_id}/update": _ADMINS_ONLY,
    "POST /model/delete": _ADMINS_ONLY,
    "POST /model/block": _ADMINS_ONLY,
    "POST /model/unblock": _ADMINS_ONLY,
    "GET /model/info": _MODEL_INFO,
    "GET /v1/model/info": _MODEL_INFO,
    "GET /v2/model/info": _MODEL_INFO,
    "GET /model_group/info": _MODEL_INFO,
}
"""Every management call, by method and path."""


def scopes_of(call: str, role: Role) -> Scopes:
    """Which records a caller of this role may make this call about; none: it is refused."""
    rule = RULES[call]
    match role:
        case Role.ADMIN:
            return _ANY
        case Role.VIEWER:
            return rule.viewer
        case Role.USER:
            return rule.user | rule.team_admin
        case Role.USER_VIEWER:
            return rule.user_viewer
        case Role.KEY:
            return rule.key
