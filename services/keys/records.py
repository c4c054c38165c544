"""The records as keys holds them: what decides (the grant) beside what is only stored.

Field names are LiteLLM's. Times are epoch seconds, money is US dollars, limits are per minute
unless the name says otherwise. `gc=False`: nothing in a record refers back to it, and a collector
that walks half a million of them stands in the way of answers.
"""

from typing import Literal

import msgspec

from shared.catalogue import Deployment
from shared.changes import GroupGrant, KeyGrant, TeamGrant, UserGrant

KeyType = Literal["default", "llm_api", "management", "read_only"]
UserRole = Literal["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"]


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Every documented field of a key that no decision needs, as it is shown."""

    key_name: str
    created_by: str
    updated_by: str
    key_alias: str | None = None
    key_type: KeyType = "default"
    organization_id: str | None = None
    project_id: str | None = None
    agent_id: str | None = None
    config: dict[str, object] = {}
    spend: float = 0.0
    max_budget: float | None = None
    soft_budget: float | None = None
    budget_duration: str | None = None
    budget_id: str | None = None
    budget_limits: list[dict[str, object]] | None = None
    model_max_budget: dict[str, object] = {}
    budget_fallbacks: object = None
    temp_budget_increase: float | None = None
    temp_budget_expiry: str | None = None
    max_parallel_requests: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tpd_limit: int | None = None
    model_rpm_limit: dict[str, int] | None = None
    model_tpm_limit: dict[str, int] | None = None
    tag_rpm_limit: dict[str, int] | None = None
    rpm_limit_type: str | None = None
    tpm_limit_type: str | None = None
    metadata: dict[str, object] = {}
    tags: list[str] | None = None
    permissions: dict[str, object] = {}
    guardrails: list[str] | None = None
    policies: list[str] | None = None
    prompts: list[str] | None = None
    enforced_params: list[str] | None = None
    allowed_cache_controls: list[str] = []
    allowed_passthrough_routes: list[str] | None = None
    denied_passthrough_routes: list[str] | None = None
    object_permission: dict[str, object] | None = None
    router_settings: dict[str, object] | None = None
    auto_rotate: bool = False
    rotation_interval: str | None = None
    send_invite_email: bool | None = None


class KeyDetails(KeyFacts, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What of a key no decision needs.

    `acts_for_user` is the one that counts: without it the key makes no management calls for its
    user, because somebody else may know its secret. `blocked_is_set` tells a `blocked` of false
    from the null of a key nobody ever blocked.
    """

    created_at: float
    updated_at: float
    blocked_is_set: bool = False
    acts_for_user: bool = True


class Membership(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What is stored of one member of a team, besides their role and list."""

    max_budget_in_team: float | None = None
    budget_duration: str | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    temp_budget_increase: float | None = None
    temp_budget_expiry: str | None = None


class TeamFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Every documented field of a team that no decision needs, as it is shown."""

    created_by: str
    updated_by: str
    organization_id: str | None = None
    members_with_roles: list[dict[str, str | None]] = []
    admins: list[str] = []
    members: list[str] = []
    team_member_permissions: list[str] | None = None
    default_team_member_models: list[str] | None = None
    team_member_budget: float | None = None
    team_member_rpm_limit: int | None = None
    team_member_tpm_limit: int | None = None
    team_member_key_duration: str | None = None
    team_member_budget_duration: str | None = None
    metadata: dict[str, object] = {}
    tags: list[str] | None = None
    spend: float = 0.0
    max_budget: float | None = None
    soft_budget: float | None = None
    budget_duration: str | None = None
    budget_limits: list[dict[str, object]] | None = None
    model_max_budget: dict[str, object] | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    tpd_limit: int | None = None
    model_rpm_limit: dict[str, int] | None = None
    model_tpm_limit: dict[str, int] | None = None
    guardrails: list[str] | None = None
    object_permission: dict[str, object] | None = None
    router_settings: dict[str, object] | None = None


class TeamDetails(TeamFacts, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What of a team no decision needs. Nothing here is enforced."""

    created_at: float
    updated_at: float
    memberships: dict[str, Membership] = {}


class UserFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every documented field of a user that no decision needs, as it is shown.

    `user_role` is the one that counts: it says which management calls their keys may make.
    """

    created_by: str
    updated_by: str
    user_role: UserRole = "internal_user"
    user_email: str | None = None
    user_alias: str | None = None
    sso_user_id: str | None = None
    organizations: list[str] | None = None
    spend: float = 0.0
    max_budget: float | None = None
    soft_budget: float | None = None
    budget_duration: str | None = None
    max_parallel_requests: int | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None
    model_max_budget: dict[str, object] = {}
    metadata: dict[str, object] = {}


class UserDetails(UserFacts, frozen=True, kw_only=True, omit_defaults=True):
    """What of a user no decision needs."""

    created_at: float
    updated_at: float


class GroupDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a unified group no decision needs."""

    created_at: float
    updated_at: float
    created_by: str
    updated_by: str
    name: str
    description: str | None = None
    mcp_server_ids: list[str] = []
    agent_ids: list[str] = []


class ModelDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a deployment no decision needs.

    `declared_groups` are the access groups it came with; others were added at run time.
    `params` are the parameters that may be shown; `sealed` is all of them, encrypted.
    """

    source: Literal["config", "stored"] = "config"
    declared_groups: tuple[str, ...] = ()
    params: dict[str, object] = {}
    info: dict[str, object] = {}
    sealed: bytes = b""
    created_at: float | None = None
    updated_at: float | None = None
    created_by: str | None = None
    updated_by: str | None = None


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, tag="key", tag_field="kind", gc=False):
    """A whole key, but for its secret, which is nowhere."""

    grant: KeyGrant
    details: KeyDetails


class TeamRecord(msgspec.Struct, frozen=True, kw_only=True, tag="team", tag_field="kind", gc=False):
    """A whole team."""

    grant: TeamGrant
    details: TeamDetails


class UserRecord(msgspec.Struct, frozen=True, kw_only=True, tag="user", tag_field="kind"):
    """A whole user."""

    grant: UserGrant
    details: UserDetails


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True, tag="group", tag_field="kind"):
    """A whole unified group."""

    grant: GroupGrant
    details: GroupDetails


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, tag="model", tag_field="kind"):
    """A whole deployment. Its upstream credentials are in `details.sealed` alone."""

    grant: Deployment
    details: ModelDetails
