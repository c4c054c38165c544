"""The fields of LiteLLM's rows that are read by name, as its database and its API have them."""

from typing import Literal

import msgspec


class AccessRow(msgspec.Struct, kw_only=True):
    """What a row must say: without it, it would come to be allowed more."""

    models: list[str] | None
    access_group_ids: list[str] | None = None


class KeyRow(AccessRow, kw_only=True):
    """LiteLLM_VerificationToken."""

    token: str
    team_id: str | None
    blocked: bool | None
    expires: str | None
    user_id: str | None = None
    aliases: dict[str, str] | None = None
    allowed_routes: list[str] | None = None


class AliasesRow(msgspec.Struct, kw_only=True):
    """LiteLLM_ModelTable, as the API nests it in a team."""

    model_aliases: dict[str, str] | None = None


class LimitsRow(msgspec.Struct, kw_only=True):
    """LiteLLM_BudgetTable, as the API nests it in a membership."""

    allowed_models: list[str] | None = None
    max_budget: float | None = None
    budget_duration: str | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None


class RoleRow(msgspec.Struct, kw_only=True):
    """One of a team's `members_with_roles`."""

    role: Literal["admin", "user"]
    user_id: str | None = None
    user_email: str | None = None


class MemberRow(msgspec.Struct, kw_only=True):
    """LiteLLM_TeamMembership, as the API nests it in a team."""

    user_id: str
    litellm_budget_table: LimitsRow | None = None


class TeamRow(AccessRow, kw_only=True):
    """LiteLLM_TeamTable. Its members' own lists are in `team_memberships`."""

    team_id: str
    blocked: bool | None
    team_memberships: list[MemberRow] | None
    team_alias: str | None = None
    model_aliases: dict[str, str] | None = None
    litellm_model_table: AliasesRow | None = None
    members_with_roles: list[RoleRow] | None = None


class UserRow(AccessRow, kw_only=True):
    """LiteLLM_UserTable."""

    user_id: str


class GroupRow(msgspec.Struct, kw_only=True):
    """LiteLLM_AccessGroupTable."""

    access_group_id: str
    access_group_name: str
    access_model_names: list[str] | None = None


class ModelRow(msgspec.Struct, kw_only=True):
    """LiteLLM_ProxyModelTable; the API has the id in `model_info`."""

    model_name: str
    litellm_params: dict[str, object]
    model_info: dict[str, object] | None = None
    model_id: str | None = None
    blocked: bool | None = None

    def __repr__(self) -> str:
        """Show whose it is: the parameters may hold a credential."""
        return f"ModelRow(model_name={self.model_name!r})"
