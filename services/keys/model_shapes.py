"""What the answers about models and access groups look like; see `shapes`."""

from typing import Literal

import msgspec
from msgspec import UNSET

from services.keys.shapes import Shape, Warnings


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a deployment, and whatever else its `model_info` says."""

    id: str
    db_model: bool
    source: Literal["config", "stored"]
    access_groups: list[str]
    blocked: bool


class Model(Shape, frozen=True, kw_only=True):
    """A deployment. No address and no credential is among its parameters."""

    model_name: str
    litellm_params: dict[str, object]
    model_info: ModelInfo


class ModelWritten(Model, frozen=True, kw_only=True):
    """A deployment that was made or changed."""

    model_id: str
    warnings: list[str]


class ModelBlocked(Model, frozen=True, kw_only=True):
    """A deployment that was blocked or unblocked."""

    model_id: str
    blocked: bool
    warnings: Warnings = UNSET


class ModelDeleted(Shape, frozen=True, kw_only=True):
    """Word that a deployment is no more."""

    message: str
    warnings: Warnings = UNSET


class Models(Shape, frozen=True, kw_only=True):
    """The deployments a caller may use."""

    data: list[Model]


class ModelPage(Shape, frozen=True, kw_only=True):
    """A page of the deployments a caller may use."""

    data: list[Model]
    total_count: int
    current_page: int
    size: int
    total_pages: int


class ModelGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A model name, and whatever the `model_info` of its deployments says."""

    model_group: str
    providers: list[str]
    is_public_model_group: bool


class ModelGroups(Shape, frozen=True, kw_only=True):
    """The model names a caller may use."""

    data: list[ModelGroup]


class AccessGroupWritten(Shape, frozen=True, kw_only=True):
    """An access group that was made or changed, and what carries it."""

    access_group: str
    model_names: list[str]
    model_ids: list[str]
    models_updated: int
    warnings: Warnings = UNSET


class AccessGroupDeleted(Shape, frozen=True, kw_only=True):
    """Word that an access group is no more."""

    access_group: str
    models_updated: int
    message: str
    warnings: Warnings = UNSET


class AccessGroup(Shape, frozen=True, kw_only=True):
    """An access group and what carries it; `source` is where it was declared."""

    access_group: str
    model_names: list[str]
    model_ids: list[str]
    deployment_count: int
    source: Literal["config", "stored"]
    spend: float
    budget: None


class AccessGroups(Shape, frozen=True, kw_only=True):
    """Every access group."""

    access_groups: list[AccessGroup]


class Named(Shape, frozen=True, kw_only=True):
    """Something by its id, and the name it goes by."""

    id: str
    name: str | None


class UnifiedGroup(Shape, frozen=True, kw_only=True):
    """A unified group. Times are ISO 8601 in UTC."""

    access_group_id: str
    access_group_name: str
    description: str | None
    access_model_names: list[str]
    access_mcp_server_ids: list[str]
    access_agent_ids: list[str]
    access_mcp_servers: list[Named]
    access_agents: list[Named]
    assigned_team_ids: list[str]
    assigned_key_ids: list[str]
    assigned_teams: list[Named]
    assigned_keys: list[Named]
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str


class UnifiedGroupWritten(UnifiedGroup, frozen=True, kw_only=True):
    """A unified group that was made or changed."""

    warnings: list[str]
