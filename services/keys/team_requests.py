"""The bodies and queries of the team endpoints, as LiteLLM documents them."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from services.keys.requests import (
    Budgets,
    Flag,
    Limits,
    Names,
    Number,
    Object,
    Request,
    Text,
    Texts,
    Whole,
)


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a team, by id or e-mail address."""

    role: Literal["admin", "user"]
    user_id: str | None = None
    user_email: str | None = None


class TeamFields(Request, frozen=True, kw_only=True):
    """Every field of a team a caller may set, but for its id."""

    team_alias: Text = UNSET
    models: Texts = UNSET
    blocked: Flag = UNSET
    model_aliases: Names = UNSET
    members_with_roles: list[Member] | UnsetType | None = UNSET
    admins: Texts = UNSET
    members: Texts = UNSET
    team_member_permissions: Texts = UNSET
    default_team_member_models: Texts = UNSET
    team_member_budget: Number = UNSET
    team_member_rpm_limit: Whole = UNSET
    team_member_tpm_limit: Whole = UNSET
    team_member_key_duration: Text = UNSET
    team_member_budget_duration: Text = UNSET
    organization_id: Text = UNSET
    metadata: Object = UNSET
    tags: Texts = UNSET
    max_budget: Number = UNSET
    soft_budget: Number = UNSET
    budget_duration: Text = UNSET
    budget_limits: Budgets = UNSET
    model_max_budget: Object = UNSET
    tpm_limit: Whole = UNSET
    rpm_limit: Whole = UNSET
    tpd_limit: Whole = UNSET
    model_rpm_limit: Limits = UNSET
    model_tpm_limit: Limits = UNSET
    guardrails: Texts = UNSET
    object_permission: Object = UNSET
    router_settings: Object = UNSET
    access_group_ids: Texts = UNSET


class TeamNew(TeamFields, frozen=True, kw_only=True):
    """`/team/new`."""

    team_id: Text = UNSET


class TeamUpdate(TeamFields, frozen=True, kw_only=True):
    """`/team/update`. Null keeps a field as it is, like leaving it out."""

    team_id: str


class TeamDelete(Request, frozen=True, kw_only=True):
    """`/team/delete`."""

    team_ids: list[str]


class TeamNamed(Request, frozen=True, kw_only=True):
    """`/team/block` and `/team/unblock`."""

    team_id: str


class TeamModels(Request, frozen=True, kw_only=True):
    """`/team/model/add` and `/team/model/delete`."""

    team_id: str
    models: list[str]


class TeamInfoQuery(Request, frozen=True, kw_only=True):
    """`/team/info`. `key_limit` is how many of its keys to show at most."""

    team_id: str
    key_limit: Annotated[int, msgspec.Meta(ge=0)] | UnsetType = UNSET


class TeamListQuery(Request, frozen=True, kw_only=True):
    """`/team/list`."""

    user_id: str | UnsetType = UNSET
    organization_id: str | UnsetType = UNSET


class TeamPageQuery(TeamListQuery, frozen=True, kw_only=True):
    """`/v2/team/list`. Pages count from 1; `sort_order` means nothing without `sort_by`."""

    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    page_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    team_id: str | UnsetType = UNSET
    team_alias: str | UnsetType = UNSET
    status: Literal["deleted"] | UnsetType = UNSET
    sort_by: Literal["team_id", "team_alias", "created_at"] | UnsetType = UNSET
    sort_order: Literal["asc", "desc"] = "asc"


class MemberFields(Request, frozen=True, kw_only=True):
    """What is kept of a member of a team; `allowed_models` binds their keys in it."""

    team_id: str
    allowed_models: Texts = UNSET
    max_budget_in_team: Number = UNSET
    budget_duration: Text = UNSET
    tpm_limit: Whole = UNSET
    rpm_limit: Whole = UNSET


class MemberAdd(MemberFields, frozen=True, kw_only=True):
    """`/team/member_add`."""

    member: Member | list[Member]


class MemberBulkAdd(MemberFields, frozen=True, kw_only=True):
    """`/team/bulk_member_add`: these users, or all there are."""

    members: list[Member] | UnsetType | None = UNSET
    all_users: Flag = UNSET


class MemberUpdate(MemberFields, frozen=True, kw_only=True):
    """`/team/member_update`: a member by id or e-mail address."""

    user_id: Text = UNSET
    user_email: Text = UNSET
    role: Literal["admin", "user"] | UnsetType | None = UNSET
    temp_budget_increase: Number = UNSET
    temp_budget_expiry: Text = UNSET


class MemberDelete(Request, frozen=True, kw_only=True):
    """`/team/member_delete`: a member by id or e-mail address."""

    team_id: str
    user_id: Text = UNSET
    user_email: Text = UNSET


class TeamPermissionsQuery(Request, frozen=True, kw_only=True):
    """`/team/permissions_list`."""

    team_id: str


class TeamPermissions(Request, frozen=True, kw_only=True):
    """`/team/permissions_update`."""

    team_id: str
    team_member_permissions: list[str]
