"""The bodies and queries of the user endpoints, as LiteLLM documents them."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from services.keys.records import UserRole
from services.keys.requests import Flag, KeyFields, Object, Request, Text, Texts, Whole

Number = float | None | UnsetType


class UserNew(KeyFields, frozen=True, kw_only=True):
    """`/user/new`: a user, and unless told otherwise a key of theirs with the key's fields."""

    user_email: Text = UNSET
    user_alias: Text = UNSET
    user_role: UserRole | UnsetType | None = UNSET
    teams: Texts = UNSET
    organizations: Texts = UNSET
    auto_create_key: Flag = UNSET
    sso_user_id: Text = UNSET
    key_alias: Text = UNSET


class UserUpdate(Request, frozen=True, kw_only=True):
    """`/user/update`: a user by id, else by e-mail address. Null clears a field."""

    user_id: Text = UNSET
    user_email: Text = UNSET
    user_alias: Text = UNSET
    user_role: UserRole | UnsetType | None = UNSET
    models: Texts = UNSET
    organizations: Texts = UNSET
    sso_user_id: Text = UNSET
    spend: Number = UNSET
    max_budget: Number = UNSET
    soft_budget: Number = UNSET
    budget_duration: Text = UNSET
    max_parallel_requests: Whole = UNSET
    tpm_limit: Whole = UNSET
    rpm_limit: Whole = UNSET
    model_max_budget: Object = UNSET
    metadata: Object = UNSET


class UserBulkUpdate(Request, frozen=True, kw_only=True):
    """`/user/bulk_update`: each of these users as it says, or all there are alike."""

    users: list[UserUpdate] | UnsetType | None = UNSET
    all_users: Flag = UNSET
    user_updates: UserUpdate | UnsetType | None = UNSET


class UserDelete(Request, frozen=True, kw_only=True):
    """`/user/delete`."""

    user_ids: list[str]


class UserInfoQuery(Request, frozen=True, kw_only=True):
    """`/user/info` and `/v2/user/info`: the caller when none is named."""

    user_id: str | UnsetType = UNSET


class UserListQuery(Request, frozen=True, kw_only=True):
    """`/user/list`. Pages count from 1; ids are separated by commas."""

    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    page_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 25
    role: UserRole | UnsetType = UNSET
    user_ids: str | UnsetType = UNSET
    sso_user_ids: str | UnsetType = UNSET
    user_email: str | UnsetType = UNSET
    team: str | UnsetType = UNSET
