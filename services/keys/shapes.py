"""What the answers of the management API look like: one Struct for each, for its description.

Answers are made in other modules, as LiteLLM shows them; these say what a client can count on:
a field is always there unless it may be UNSET, and nothing else is unless a Struct is open.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from services.keys.records import KeyFacts

Warnings = list[str] | UnsetType
"""What a write warns of; fields that were ignored among them."""


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer, or a part of one."""


class KeyWithoutToken(KeyFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key. Times are ISO 8601 in UTC; `status` is `revoked` for a blocked one."""

    models: list[str]
    team_id: str | None
    user_id: str | None
    access_group_ids: list[str]
    blocked: bool | None
    expires: str | None
    aliases: dict[str, str]
    allowed_routes: list[str]
    created_at: str
    updated_at: str
    budget_reset_at: None
    litellm_budget_table: None
    status: Literal["active", "expired", "revoked"]


class Key(KeyWithoutToken, frozen=True, kw_only=True):
    """A key; `token` is its digest."""

    token: str


class KeyMade(Key, frozen=True, kw_only=True):
    """A new key. `key` is its secret, which is shown nowhere else."""

    key: str
    token_id: str
    duration: str | None
    warnings: list[str]


class KeyRegenerated(KeyMade, frozen=True, kw_only=True):
    """A key with its new secret; `old_key_works_until` is null when it does not."""

    old_key_works_until: str | None


class KeyWritten(Key, frozen=True, kw_only=True):
    """A key that was blocked or unblocked."""

    warnings: Warnings = UNSET


class KeyUpdated(Key, frozen=True, kw_only=True):
    """A key that was changed; `key` as the caller named it."""

    key: str
    warnings: list[str]


class BulkUpdated(Shape, frozen=True, kw_only=True):
    """One key of a bulk update that was changed."""

    key: str
    key_info: Key


class BulkFailed(Shape, frozen=True, kw_only=True):
    """One key of a bulk update that was not changed."""

    key: str
    key_info: None
    failed_reason: str


class KeysUpdated(Shape, frozen=True, kw_only=True):
    """What became of each key of a bulk update."""

    total_requested: int
    successful_updates: list[BulkUpdated]
    failed_updates: list[BulkFailed]
    warnings: Warnings = UNSET


class KeysDeleted(Shape, frozen=True, kw_only=True):
    """The keys that are no more, as the caller named them."""

    deleted_keys: list[str]
    warnings: Warnings = UNSET


class KeyInfo(Shape, frozen=True, kw_only=True):
    """A key, as the caller named it, and what it is."""

    key: str
    info: KeyWithoutToken


class KeysInfo(Shape, frozen=True, kw_only=True):
    """Keys, as the caller named them, and what they are."""

    key: list[str]
    info: list[Key]


class KeyHealth(Shape, frozen=True, kw_only=True):
    """The calling key works."""

    key: Literal["healthy"]
    logging_callbacks: None


class KeyOwner(Shape, frozen=True, kw_only=True):
    """Whose key it is."""

    user_id: str
    user_email: str | None
    user_alias: str | None


class KeyListed(Key, frozen=True, kw_only=True):
    """A key of a list; `user` is there when it was asked for."""

    user: KeyOwner | UnsetType | None = UNSET


class KeyPage(Shape, frozen=True, kw_only=True):
    """A page of keys: their digests, or the whole of them."""

    keys: list[str | KeyListed]
    total_count: int
    current_page: int
    total_pages: int


class AliasPage(Shape, frozen=True, kw_only=True):
    """A page of the aliases of keys."""

    aliases: list[str]
    total_count: int
    current_page: int
    total_pages: int
    size: int
