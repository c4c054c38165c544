"""The bodies and queries of the key endpoints, as LiteLLM documents them.

A field that was not sent is UNSET; null is something else (see each function that reads it).
"""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from services.keys.records import KeyType

Text = str | None | UnsetType
Texts = list[str] | None | UnsetType
Whole = int | None | UnsetType
Number = float | None | UnsetType
Flag = bool | None | UnsetType
Object = dict[str, object] | None | UnsetType
Limits = dict[str, int] | None | UnsetType
Names = dict[str, str] | None | UnsetType
Budgets = list[dict[str, object]] | None | UnsetType

IDEMPOTENCY_KEY = "Idempotency-Key"
"""The header by which a caller names a write."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller sent, decoded.

    `shown_as` are fields of the rows we show that are no fields here, though they look like it.
    """

    shown_as: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        """Show what was asked for and nothing of it: a key or a credential may be among it."""
        return f"{type(self).__name__}(***)"


class KeyFields(Request, frozen=True, kw_only=True):
    """Every field of a key a caller may set, but for the ones that name the key."""

    models: Texts = UNSET
    team_id: Text = UNSET
    duration: Text = UNSET
    blocked: Flag = UNSET
    aliases: Names = UNSET
    allowed_routes: Texts = UNSET
    key_type: KeyType | UnsetType | None = UNSET
    user_id: Text = UNSET
    organization_id: Text = UNSET
    project_id: Text = UNSET
    agent_id: Text = UNSET
    config: Object = UNSET
    spend: Number = UNSET
    max_budget: Number = UNSET
    soft_budget: Number = UNSET
    budget_duration: Text = UNSET
    budget_id: Text = UNSET
    budget_limits: Budgets = UNSET
    model_max_budget: Object = UNSET
    budget_fallbacks: object = UNSET
    temp_budget_increase: Number = UNSET
    temp_budget_expiry: Text = UNSET
    max_parallel_requests: Whole = UNSET
    tpm_limit: Whole = UNSET
    rpm_limit: Whole = UNSET
    tpd_limit: Whole = UNSET
    model_rpm_limit: Limits = UNSET
    model_tpm_limit: Limits = UNSET
    tag_rpm_limit: Limits = UNSET
    rpm_limit_type: Text = UNSET
    tpm_limit_type: Text = UNSET
    metadata: Object = UNSET
    tags: Texts = UNSET
    permissions: Object = UNSET
    guardrails: Texts = UNSET
    policies: Texts = UNSET
    prompts: Texts = UNSET
    enforced_params: Texts = UNSET
    allowed_cache_controls: Texts = UNSET
    allowed_passthrough_routes: Texts = UNSET
    denied_passthrough_routes: Texts = UNSET
    object_permission: Object = UNSET
    access_group_ids: Texts = UNSET
    router_settings: Object = UNSET
    auto_rotate: Flag = UNSET
    rotation_interval: Text = UNSET
    send_invite_email: Flag = UNSET


class KeyGenerate(KeyFields, frozen=True, kw_only=True):
    """`/key/generate`. `key` is the caller's own secret instead of a minted one."""

    key: Text = UNSET
    key_alias: Text = UNSET


class KeyUpdate(KeyFields, frozen=True, kw_only=True):
    """`/key/update`. Without `key`, `key_alias` names the key; with it, it is the new alias."""

    shown_as: ClassVar[frozenset[str]] = frozenset({"expires", "user"})

    key: Text = UNSET
    key_alias: Text = UNSET


class KeyRegenerate(KeyFields, frozen=True, kw_only=True):
    """`/key/regenerate` and `/key/{key}/regenerate`: what else is sent is changed with it."""

    key: str
    key_alias: Text = UNSET
    new_key: Text = UNSET
    new_master_key: Text = UNSET
    grace_period: Text = UNSET


class KeyBulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One key of `/key/bulk_update`, with the fields LiteLLM lets it change."""

    key: str
    budget_id: Text = UNSET
    max_budget: Number = UNSET
    team_id: Text = UNSET
    tags: Texts = UNSET
    object_permission: Object = UNSET

    def __repr__(self) -> str:
        """Show that it is one of a call's keys, and nothing of it."""
        return "KeyBulkItem(***)"


class KeyBulkUpdate(Request, frozen=True, kw_only=True):
    """`/key/bulk_update`."""

    keys: list[KeyBulkItem]


class KeyInfos(Request, frozen=True, kw_only=True):
    """`/v2/key/info`: keys by secret or digest."""

    keys: Annotated[list[str], msgspec.Meta(max_length=1000)]


class Nothing(Request, frozen=True, kw_only=True):
    """A call that takes no fields."""


class KeyDelete(Request, frozen=True, kw_only=True):
    """`/key/delete`: at least one key, by secret or digest or by alias."""

    keys: Texts = UNSET
    key_aliases: Texts = UNSET


class KeyNamed(Request, frozen=True, kw_only=True):
    """`/key/block` and `/key/unblock`."""

    key: str


class KeyInfoQuery(Request, frozen=True, kw_only=True):
    """`/key/info`."""

    key: str | UnsetType = UNSET


class KeyListQuery(Request, frozen=True, kw_only=True):
    """`/key/list`. Pages count from 1.

    `expires` is about time alone: a blocked key that has not expired is `active` by it, and
    `revoked` by `status`. Deleted keys are not kept, so `status=deleted` is always empty.
    """

    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    user_id: str | UnsetType = UNSET
    team_id: str | UnsetType = UNSET
    organization_id: str | UnsetType = UNSET
    project_id: str | UnsetType = UNSET
    agent_id: str | UnsetType = UNSET
    access_group_id: str | UnsetType = UNSET
    key_hash: str | UnsetType = UNSET
    key_alias: str | UnsetType = UNSET
    search: str | UnsetType = UNSET
    substring_matching: bool = False
    return_full_object: bool = False
    include_team_keys: bool = False
    include_created_by_keys: bool = False
    status: Literal["active", "expired", "revoked", "deleted"] | UnsetType = UNSET
    expires: Literal["active", "expired"] | UnsetType = UNSET
    dangling: bool = False
    expand: str | UnsetType = UNSET
    sort_by: (
        Literal["spend", "max_budget", "created_at", "updated_at", "token", "key_alias", "expires"]
        | UnsetType
    ) = UNSET
    sort_order: Literal["asc", "desc"] = "desc"


class KeyAliasesQuery(Request, frozen=True, kw_only=True):
    """`/key/aliases`. Pages count from 1."""

    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    search: str | UnsetType = UNSET
