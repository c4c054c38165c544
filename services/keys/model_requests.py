"""The bodies and queries of the model and access group endpoints, as LiteLLM documents them."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from services.keys.requests import Object, Request, Text, Texts


class ModelNew(Request, frozen=True, kw_only=True):
    """`/model/new`: one entry as it would stand in `model_list`."""

    model_name: str
    litellm_params: dict[str, object]
    model_info: Object = UNSET


class ModelFields(Request, frozen=True, kw_only=True):
    """What of a model can be changed; parameters merge."""

    model_name: Text = UNSET
    litellm_params: Object = UNSET
    model_info: Object = UNSET


class ModelUpdate(ModelFields, frozen=True, kw_only=True):
    """`/model/update`, which names the model by `model_info.id`, or by `id` as LiteLLM's client."""

    id: Text = UNSET


class ModelPatch(ModelFields, frozen=True, kw_only=True):
    """PATCH `/model/{model_id}/update`."""

    model_id: str


class ModelDelete(Request, frozen=True, kw_only=True):
    """`/model/delete`."""

    id: str


class ModelNamed(Request, frozen=True, kw_only=True):
    """`/model/block` and `/model/unblock`."""

    model_id: str


class ModelInfoQuery(Request, frozen=True, kw_only=True):
    """`/model/info` and `/v1/model/info`."""

    litellm_model_id: str | UnsetType = UNSET


class ModelPageQuery(Request, frozen=True, kw_only=True):
    """`/v2/model/info`. Pages count from 1."""

    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    size: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    model: str | UnsetType = UNSET
    modelId: str | UnsetType = UNSET  # noqa: N815 - LiteLLM's spelling
    search: str | UnsetType = UNSET


class ModelGroupQuery(Request, frozen=True, kw_only=True):
    """`/model_group/info`."""

    model_group: str | UnsetType = UNSET


class AccessGroupFields(Request, frozen=True, kw_only=True):
    """The deployments an access group is to be on, by model name or by id; ids win."""

    model_names: Texts = UNSET
    model_ids: Texts = UNSET


class AccessGroupNew(AccessGroupFields, frozen=True, kw_only=True):
    """`/access_group/new`."""

    access_group: str


class AccessGroupUpdate(AccessGroupFields, frozen=True, kw_only=True):
    """PUT `/access_group/{access_group}/update`."""

    access_group: str


class AccessGroupNamed(Request, frozen=True, kw_only=True):
    """GET `/access_group/{access_group}/info`, DELETE `/access_group/{access_group}/delete`."""

    access_group: str


class UnifiedFields(Request, frozen=True, kw_only=True):
    """Every field of a unified group."""

    description: Text = UNSET
    access_model_names: Texts = UNSET
    access_mcp_server_ids: Texts = UNSET
    access_agent_ids: Texts = UNSET
    assigned_team_ids: Texts = UNSET
    assigned_key_ids: Texts = UNSET


class UnifiedNew(UnifiedFields, frozen=True, kw_only=True):
    """POST `/v1/access_group`."""

    access_group_name: str


class UnifiedUpdate(UnifiedFields, frozen=True, kw_only=True):
    """PUT `/v1/access_group/{access_group_id}`; null keeps a list, and clears the description."""

    access_group_id: str
    access_group_name: Text = UNSET


class UnifiedNamed(Request, frozen=True, kw_only=True):
    """GET and DELETE `/v1/access_group/{access_group_id}`."""

    access_group_id: str
