"""Every management call: its method, path, request type, and what carries it out."""

from collections.abc import Callable
from typing import Any, NamedTuple

from services.keys import (
    access_groups,
    key_lookups,
    key_management,
    key_rotation,
    model_lookups,
    model_management,
    model_requests,
    requests,
    team_lookups,
    team_management,
    team_members,
    team_requests,
    unified_groups,
    user_lookups,
    user_management,
    user_requests,
)
from services.keys.management import Context, Plan
from services.keys.requests import Request
from services.keys.state import State


class Write(NamedTuple):
    """A call that changes something. `named` is the field that stands in the path.

    A body may be left out when `may_be_empty`. `status` answers it once it is in force.
    """

    method: str
    path: str
    request: type[Request]
    plan: Callable[[State, Any, Context], Plan]
    named: str | None = None
    may_be_empty: bool = False
    status: int = 200

    @property
    def call(self) -> str:
        """The call's name in the table of roles."""
        return f"{self.method} {self.path}"


class Read(NamedTuple):
    """A call that changes nothing. By POST it takes a body, else a query."""

    method: str
    path: str
    request: type[Request]
    look: Callable[[State, Any, Context], object]
    named: str | None = None

    @property
    def call(self) -> str:
        """The call's name in the table of roles."""
        return f"{self.method} {self.path}"


WRITES = (
    Write("POST", "/key/generate", requests.KeyGenerate, key_management.generate),
    Write(
        "POST",
        "/key/service-account/generate",
        requests.KeyGenerate,
        key_management.generate_service_account,
    ),
    Write("POST", "/key/update", requests.KeyUpdate, key_management.update),
    Write("POST", "/key/bulk_update", requests.KeyBulkUpdate, key_management.bulk_update),
    Write("POST", "/key/delete", requests.KeyDelete, key_management.delete),
    Write("POST", "/key/block", requests.KeyNamed, key_management.block),
    Write("POST", "/key/unblock", requests.KeyNamed, key_management.unblock),
    Write("POST", "/key/regenerate", requests.KeyRegenerate, key_rotation.regenerate),
    Write(
        "POST",
        "/key/{key}/regenerate",
        requests.KeyRegenerate,
        key_rotation.regenerate,
        "key",
        may_be_empty=True,
    ),
    Write("POST", "/team/new", team_requests.TeamNew, team_management.new),
    Write("POST", "/team/update", team_requests.TeamUpdate, team_management.update),
    Write("PATCH", "/team/{team_id}", team_requests.TeamUpdate, team_management.update, "team_id"),
    Write("POST", "/team/delete", team_requests.TeamDelete, team_management.delete),
    Write("POST", "/team/block", team_requests.TeamNamed, team_management.block),
    Write("POST", "/team/unblock", team_requests.TeamNamed, team_management.unblock),
    Write("POST", "/team/model/add", team_requests.TeamModels, team_management.add_models),
    Write("POST", "/team/model/delete", team_requests.TeamModels, team_management.delete_models),
    Write("POST", "/team/member_add", team_requests.MemberAdd, team_members.add),
    Write("POST", "/team/member_update", team_requests.MemberUpdate, team_members.update),
    Write("POST", "/team/member_delete", team_requests.MemberDelete, team_members.delete),
    Write("POST", "/team/bulk_member_add", team_requests.MemberBulkAdd, team_members.bulk_add),
    Write(
        "POST",
        "/team/permissions_update",
        team_requests.TeamPermissions,
        team_members.update_permissions,
    ),
    Write("POST", "/user/new", user_requests.UserNew, user_management.new),
    Write("POST", "/user/update", user_requests.UserUpdate, user_management.update),
    Write("POST", "/user/bulk_update", user_requests.UserBulkUpdate, user_management.bulk_update),
    Write("POST", "/user/delete", user_requests.UserDelete, user_management.delete),
    Write("POST", "/access_group/new", model_requests.AccessGroupNew, access_groups.new),
    Write(
        "PUT",
        "/access_group/{access_group}/update",
        model_requests.AccessGroupUpdate,
        access_groups.update,
        "access_group",
    ),
    Write(
        "DELETE",
        "/access_group/{access_group}/delete",
        model_requests.AccessGroupNamed,
        access_groups.delete,
        "access_group",
        may_be_empty=True,
    ),
    Write("POST", "/v1/access_group", model_requests.UnifiedNew, unified_groups.new, status=201),
    Write(
        "PUT",
        "/v1/access_group/{access_group_id}",
        model_requests.UnifiedUpdate,
        unified_groups.update,
        "access_group_id",
    ),
    Write(
        "DELETE",
        "/v1/access_group/{access_group_id}",
        model_requests.UnifiedNamed,
        unified_groups.delete,
        "access_group_id",
        may_be_empty=True,
        status=204,
    ),
    Write("POST", "/model/new", model_requests.ModelNew, model_management.new),
    Write("POST", "/model/update", model_requests.ModelUpdate, model_management.update),
    Write(
        "PATCH",
        "/model/{model_id}/update",
        model_requests.ModelPatch,
        model_management.patch,
        "model_id",
    ),
    Write("POST", "/model/delete", model_requests.ModelDelete, model_management.delete),
    Write("POST", "/model/block", model_requests.ModelNamed, model_management.block),
    Write("POST", "/model/unblock", model_requests.ModelNamed, model_management.unblock),
)
"""Every call that changes something."""

READS = (
    Read("GET", "/key/info", requests.KeyInfoQuery, key_lookups.key_info),
    Read("POST", "/v2/key/info", requests.KeyInfos, key_lookups.keys_info),
    Read("POST", "/key/health", requests.Nothing, key_lookups.key_health),
    Read("GET", "/key/list", requests.KeyListQuery, key_lookups.key_list),
    Read("GET", "/key/aliases", requests.KeyAliasesQuery, key_lookups.key_aliases),
    Read("GET", "/team/info", team_requests.TeamInfoQuery, team_lookups.team_info),
    Read("GET", "/team/list", team_requests.TeamListQuery, team_lookups.team_list),
    Read("GET", "/team/available", requests.Nothing, team_lookups.available),
    Read("GET", "/v2/team/list", team_requests.TeamPageQuery, team_lookups.team_page),
    Read(
        "GET",
        "/team/permissions_list",
        team_requests.TeamPermissionsQuery,
        team_lookups.permissions_list,
    ),
    Read("GET", "/user/info", user_requests.UserInfoQuery, user_lookups.info),
    Read("GET", "/v2/user/info", user_requests.UserInfoQuery, user_lookups.info_v2),
    Read("GET", "/user/list", user_requests.UserListQuery, user_lookups.user_list),
    Read("GET", "/access_group/list", requests.Nothing, access_groups.listing),
    Read(
        "GET",
        "/access_group/{access_group}/info",
        model_requests.AccessGroupNamed,
        access_groups.info,
        "access_group",
    ),
    Read("GET", "/v1/access_group", requests.Nothing, unified_groups.listing),
    Read(
        "GET",
        "/v1/access_group/{access_group_id}",
        model_requests.UnifiedNamed,
        unified_groups.info,
        "access_group_id",
    ),
    Read("GET", "/model/info", model_requests.ModelInfoQuery, model_lookups.model_info),
    Read("GET", "/v1/model/info", model_requests.ModelInfoQuery, model_lookups.model_info),
    Read("GET", "/v2/model/info", model_requests.ModelPageQuery, model_lookups.model_page),
    Read("GET", "/model_group/info", model_requests.ModelGroupQuery, model_lookups.model_groups),
)
"""Every call that changes nothing."""
