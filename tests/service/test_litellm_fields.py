"""Every answer has the fields LiteLLM documents, of the types it documents, over HTTP.

A table: each management call, what is sent, and what must be in the answer. A type with a `?`
may be null; a nested table stands for an object, one in a list for each member of a list that
must not be empty.
"""

import pytest
import pytest_asyncio

from services.keys.endpoints import READS, WRITES
from tests.service.keys_world import CAROLS, OWN, keys_world, populate

TYPES = {
    "str": str,
    "int": int,
    "number": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
}


def fields(text):
    """Read `name:type` pairs."""
    return dict(pair.split(":") for pair in text.split())


# What is sent for each field of a key: the answer must have it back.
KEY_SENT = {
    "models": ["gpt-4"],
    "key_alias": "fields/of-a-key",
    "team_id": "t",
    "user_id": "user",
    "organization_id": "org",
    "project_id": "project",
    "agent_id": "agent",
    "aliases": {"cheap": "gpt-4"},
    "config": {},
    "spend": 1.5,
    "max_budget": 10.0,
    "soft_budget": 5.0,
    "budget_duration": "30d",
    "budget_id": "budget",
    "budget_limits": [{"budget_duration": "1d", "max_budget": 1.0}],
    "model_max_budget": {"gpt-4": {"budget_limit": 1.0, "time_period": "1d"}},
    "budget_fallbacks": {"gpt-4": ["gpt-4o"]},
    "max_parallel_requests": 1,
    "tpm_limit": 2,
    "rpm_limit": 3,
    "tpd_limit": 4,
    "model_rpm_limit": {"gpt-4": 1},
    "model_tpm_limit": {"gpt-4": 1},
    "tag_rpm_limit": {"tag": 1},
    "rpm_limit_type": "best_effort_throughput",
    "tpm_limit_type": "best_effort_throughput",
    "metadata": {"owner": "me"},
    "tags": ["a"],
    "permissions": {"a": True},
    "guardrails": ["a"],
    "policies": ["a"],
    "prompts": ["a"],
    "enforced_params": ["user"],
    "allowed_cache_controls": ["no-cache"],
    "allowed_routes": ["/v1/chat/completions"],
    "allowed_passthrough_routes": ["/a"],
    "denied_passthrough_routes": ["/b"],
    "key_type": "default",
    "blocked": False,
    "object_permission": {"mcp_servers": ["a"]},
    "access_group_ids": ["group"],
    "router_settings": {"num_retries": 1},
    "auto_rotate": True,
    "rotation_interval": "30d",
    "send_invite_email": False,
}
TEAM_SENT = {
    "team_alias": "fields",
    "models": ["gpt-4"],
    "blocked": False,
    "members_with_roles": [{"role": "admin", "user_id": "lead", "user_email": None}],
    "admins": ["lead"],
    "members": ["user"],
    "team_member_permissions": ["/key/generate"],
    "metadata": {"owner": "me"},
    "max_budget": 10.0,
    "soft_budget": 5.0,
    "budget_duration": "30d",
    "budget_limits": [{"budget_duration": "1d", "max_budget": 1.0}],
    "tpm_limit": 1,
    "rpm_limit": 2,
    "tpd_limit": 3,
    "model_rpm_limit": {"gpt-4": 1},
    "model_tpm_limit": {"gpt-4": 1},
    "model_max_budget": {"gpt-4": 1.0},
    "model_aliases": {"cheap": "gpt-4"},
    "organization_id": "org",
    "tags": ["a"],
    "guardrails": ["a"],
    "object_permission": {"mcp_servers": ["a"]},
    "router_settings": {"num_retries": 1},
    "access_group_ids": ["group"],
    "default_team_member_models": ["gpt-4"],
    "team_member_budget": 1.0,
    "team_member_rpm_limit": 1,
    "team_member_tpm_limit": 1,
    "team_member_key_duration": "1d",
    "team_member_budget_duration": "1d",
}
USER_SENT = {
    "user_id": "fields",
    "user_email": "fields@example.org",
    "user_alias": "Fields",
    "user_role": "internal_user",
    "organizations": ["org"],
    "sso_user_id": "sso",
    "models": ["gpt-4"],
    "spend": 1.5,
    "max_budget": 10.0,
    "soft_budget": 5.0,
    "budget_duration": "30d",
    "max_parallel_requests": 1,
    "tpm_limit": 2,
    "rpm_limit": 3,
    "model_max_budget": {"gpt-4": 1.0},
    "metadata": {"owner": "me"},
}

MADE = fields("created_at:str created_by:str updated_at:str updated_by:str")
KEY_ROW = {
    **fields(
        "key_name:str key_alias:str? expires:str? models:list aliases:dict config:dict"
        " user_id:str? team_id:str? spend:number max_budget:number? permissions:dict"
        " metadata:dict blocked:bool? tpm_limit:int? rpm_limit:int? budget_duration:str?"
        " budget_reset_at:str? allowed_cache_controls:list allowed_routes:list"
        " access_group_ids:list model_max_budget:dict litellm_budget_table:dict?"
        " budget_id:str? organization_id:str? object_permission:dict? auto_rotate:bool"
    ),
    **MADE,
}
FULL_KEY = {"token": "str", **KEY_ROW}
GENERATED = {"key": "str", "token_id": "str", **FULL_KEY}
TEAM_ROW = {
    **fields(
        "team_id:str team_alias:str? models:list blocked:bool members_with_roles:list admins:list"
        " members:list metadata:dict spend:number max_budget:number? tpm_limit:int? rpm_limit:int?"
        " budget_duration:str? budget_reset_at:str? organization_id:str? model_aliases:dict"
        " team_member_permissions:list? access_group_ids:list"
    ),
    **MADE,
}
MEMBERSHIP = fields(
    "user_id:str team_id:str spend:number allowed_models:list? litellm_budget_table:dict"
)
USER_ROW = {
    **fields(
        "user_id:str user_email:str? user_alias:str? user_role:str teams:list models:list"
        " spend:number max_budget:number? tpm_limit:int? rpm_limit:int? budget_duration:str?"
        " metadata:dict sso_user_id:str?"
    ),
    **MADE,
}
GROUP_ROW = fields(
    "access_group:str model_names:list deployment_count:int spend:number budget:dict?"
)
CHANGED_GROUP = fields("access_group:str model_names:list model_ids:list models_updated:int")
UNIFIED = {
    **fields(
        "access_group_id:str access_group_name:str description:str? access_model_names:list"
        " access_mcp_server_ids:list access_agent_ids:list assigned_team_ids:list"
        " assigned_key_ids:list access_mcp_servers:list access_agents:list assigned_teams:list"
        " assigned_keys:list"
    ),
    **MADE,
}
MODEL = {
    "model_name": "str",
    "litellm_params": {"model": "str"},
    "model_info": fields("id:str db_model:bool access_groups:list"),
}
# The catalogue of a configuration may say nothing of its upstreams.
LISTED_MODEL = {**MODEL, "litellm_params": "dict"}
MODEL_GROUP = fields(
    "model_group:str providers:list mode:str? max_input_tokens:int? max_output_tokens:int?"
    " input_cost_per_token:number? output_cost_per_token:number? is_public_model_group:bool"
)
KEYS_PAGE = fields("keys:list total_count:int current_page:int total_pages:int")
MEMBERS = {
    **TEAM_ROW,
    "updated_users": [fields("user_id:str")],
    "updated_team_memberships": [MEMBERSHIP],
}

KEY = OWN["user"]
NEW_MODEL = {"model_name": "fields", "litellm_params": {"model": "openai/fields"}}
ONE = {"access_group_id": None}
NOTHING = object()
"""What is answered with no body at all."""

TABLE = [
    ("POST /key/generate", KEY_SENT, GENERATED),
    ("POST /key/service-account/generate", {"team_id": "t"}, GENERATED),
    ("POST /key/update", {"key": KEY, **KEY_SENT}, {"key": "str", **FULL_KEY}),
    (
        "POST /key/bulk_update",
        {"keys": [{"key": KEY, "max_budget": 1.0}, {"key": "sk-nobody"}]},
        {
            "total_requested": "int",
            "successful_updates": [fields("key:str key_info:dict")],
            "failed_updates": [fields("key:str failed_reason:str")],
        },
    ),
    ("POST /key/delete", {"keys": [KEY]}, {"deleted_keys": "list"}),
    ("POST /key/block", {"key": KEY}, FULL_KEY),
    ("POST /key/unblock", {"key": KEY}, FULL_KEY),
    ("POST /key/regenerate", {"key": KEY, **KEY_SENT}, GENERATED),
    ("POST /key/{key}/regenerate", {"key": KEY}, GENERATED),
    ("GET /key/info", {"key": KEY}, {"key": "str", "info": {"status": "str", **KEY_ROW}}),
    ("POST /v2/key/info", {"keys": [KEY]}, {"key": "list", "info": [FULL_KEY]}),
    ("POST /key/health", {}, fields("key:str logging_callbacks:dict?")),
    ("GET /key/list", {}, KEYS_PAGE),
    ("GET /key/list", {"return_full_object": "true"}, {**KEYS_PAGE, "keys": [FULL_KEY]}),
    (
        "GET /key/aliases",
        {},
        fields("aliases:list total_count:int current_page:int total_pages:int size:int"),
    ),
    ("POST /team/new", {"team_id": "fields", **TEAM_SENT}, TEAM_ROW),
    ("POST /team/update", {"team_id": "t", **TEAM_SENT}, {"team_id": "str", "data": TEAM_ROW}),
    ("PATCH /team/{team_id}", {"team_id": "t", **TEAM_SENT}, {"team_id": "str", "data": TEAM_ROW}),
    ("POST /team/delete", {"team_ids": ["t"]}, {"deleted_teams": "list"}),
    ("POST /team/block", {"team_id": "t"}, TEAM_ROW),
    ("POST /team/unblock", {"team_id": "t"}, TEAM_ROW),
    ("POST /team/model/add", {"team_id": "t", "models": ["gpt-4"]}, TEAM_ROW),
    ("POST /team/model/delete", {"team_id": "t", "models": ["gpt-4"]}, TEAM_ROW),
    (
        "GET /team/info",
        {"team_id": "t"},
        {
            "team_id": "str",
            "team_info": {
                **TEAM_ROW,
                "access_group_models": "list",
                "caller_edit_access": {"kind": "str"},
            },
            "keys": [FULL_KEY],
            "team_memberships": [MEMBERSHIP],
        },
    ),
    ("GET /team/list", {}, [{**TEAM_ROW, "keys": "list", "team_memberships": "list"}]),
    (
        "GET /v2/team/list",
        {},
        {
            "teams": [TEAM_ROW],
            **fields("total:int page:int page_size:int total_pages:int"),
        },
    ),
    ("GET /team/available", {}, "list"),
    (
        "POST /team/member_add",
        {"team_id": "t", "member": {"role": "user", "user_id": "new"}},
        MEMBERS,
    ),
    (
        "POST /team/bulk_member_add",
        {"team_id": "t", "members": [{"role": "user", "user_id": "new"}]},
        {
            **MEMBERS,
            "results": [fields("user_id:str user_email:str? success:bool error:str?")],
            "updated_team": TEAM_ROW,
            **fields("total_requested:int successful_additions:int failed_additions:int"),
        },
    ),
    (
        "POST /team/member_update",
        {
            "team_id": "t",
            "user_id": "carol",
            "max_budget_in_team": 1.0,
            "temp_budget_increase": 1.0,
            "temp_budget_expiry": "2027-01-01T00:00:00Z",
        },
        fields(
            "team_id:str user_id:str user_email:str? max_budget_in_team:number tpm_limit:int?"
            " rpm_limit:int? budget_duration:str? allowed_models:list? temp_budget_increase:number"
            " temp_budget_expiry:str"
        ),
    ),
    ("POST /team/member_delete", {"team_id": "t", "user_id": "carol"}, TEAM_ROW),
    (
        "GET /team/permissions_list",
        {"team_id": "t"},
        fields("team_id:str team_member_permissions:list all_available_permissions:list"),
    ),
    (
        "POST /team/permissions_update",
        {"team_id": "t", "team_member_permissions": ["/key/generate"]},
        fields("team_id:str team_member_permissions:list"),
    ),
    ("POST /user/new", {**USER_SENT, "teams": ["t"]}, {**USER_ROW, **fields("key:str token:str")}),
    (
        "POST /user/update",
        {**USER_SENT, "user_id": "carol"},
        {"user_id": "str", "data": USER_ROW},
    ),
    (
        "POST /user/bulk_update",
        {"users": [{"user_id": "carol", "user_alias": "x"}]},
        {
            "results": [
                {
                    **fields("user_id:str? user_email:str? success:bool error:str?"),
                    "updated_user": USER_ROW,
                }
            ],
            **fields("total_requested:int successful_updates:int failed_updates:int"),
        },
    ),
    ("POST /user/delete", {"user_ids": ["carol"]}, {"deleted_users": "list"}),
    (
        "GET /user/info",
        {"user_id": "carol"},
        {"user_id": "str", "user_info": USER_ROW, "keys": [FULL_KEY], "teams": [TEAM_ROW]},
    ),
    ("GET /v2/user/info", {"user_id": "carol"}, USER_ROW),
    (
        "GET /user/list",
        {},
        {
            "users": [{**USER_ROW, "key_count": "int"}],
            **fields("total:int page:int page_size:int total_pages:int"),
        },
    ),
    ("POST /access_group/new", {"access_group": "g", "model_names": ["gpt-4"]}, CHANGED_GROUP),
    (
        "PUT /access_group/{access_group}/update",
        {"access_group": "made", "model_ids": ["d2"]},
        CHANGED_GROUP,
    ),
    (
        "DELETE /access_group/{access_group}/delete",
        {"access_group": "made"},
        fields("access_group:str models_updated:int message:str"),
    ),
    ("GET /access_group/list", {}, {"access_groups": [GROUP_ROW]}),
    ("GET /access_group/{access_group}/info", {"access_group": "made"}, GROUP_ROW),
    (
        "POST /v1/access_group",
        {
            "access_group_name": "g",
            "description": "d",
            "access_model_names": ["gpt-4"],
            "access_mcp_server_ids": ["s"],
            "access_agent_ids": ["a"],
            "assigned_team_ids": ["t"],
            "assigned_key_ids": [CAROLS],
        },
        {
            **UNIFIED,
            "assigned_teams": [fields("id:str name:str?")],
            "assigned_keys": [fields("id:str name:str?")],
        },
    ),
    ("GET /v1/access_group", {}, [UNIFIED]),
    ("GET /v1/access_group/{access_group_id}", ONE, UNIFIED),
    ("PUT /v1/access_group/{access_group_id}", {**ONE, "assigned_team_ids": ["t"]}, UNIFIED),
    ("DELETE /v1/access_group/{access_group_id}", ONE, NOTHING),
    ("POST /model/new", NEW_MODEL, {"model_id": "str", **MODEL}),
    ("POST /model/update", {"model_info": {"id": "stored-1"}}, {"model_id": "str", **MODEL}),
    (
        "PATCH /model/{model_id}/update",
        {"model_id": "stored-1", "model_name": "renamed"},
        {"model_id": "str", **MODEL},
    ),
    ("POST /model/delete", {"id": "stored-1"}, {"message": "str"}),
    ("POST /model/block", {"model_id": "stored-1"}, {"model_id": "str", "blocked": "bool"}),
    ("POST /model/unblock", {"model_id": "stored-1"}, {"model_id": "str", "blocked": "bool"}),
    ("GET /model/info", {}, {"data": [LISTED_MODEL]}),
    ("GET /v1/model/info", {"litellm_model_id": "stored-1"}, {"data": [MODEL]}),
    (
        "GET /v2/model/info",
        {},
        {
            "data": [LISTED_MODEL],
            **fields("total_count:int current_page:int size:int total_pages:int"),
        },
    ),
    ("GET /model_group/info", {}, {"data": [MODEL_GROUP]}),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled():
    """Made once: what a test does to it is forgotten before the next."""
    async with keys_world() as world:
        await populate(world)
        yield world


@pytest.fixture
def world(settled):
    settled.begin_again()
    return settled


def wrong(value, expected, place="answer"):
    """Say what of a value is not as the table says."""
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            return [f"{place} is no object"]
        absent = [f"{place}.{name} is absent" for name in expected.keys() - value.keys()]
        return absent + [
            problem
            for name in expected.keys() & value.keys()
            for problem in wrong(value[name], expected[name], f"{place}.{name}")
        ]
    if isinstance(expected, list):
        if not isinstance(value, list) or not value:
            return [f"{place} is no list with something in it"]
        return [p for each in value for p in wrong(each, expected[0], f"{place}[]")]
    if value is None and expected.endswith("?"):
        return []
    of_type = isinstance(value, TYPES[expected.rstrip("?")])
    is_number = expected.rstrip("?") in ("int", "number")
    if not of_type or (is_number and isinstance(value, bool)):
        return [f"{place} is {value!r}, not {expected}"]
    return []


def test_the_table_is_about_every_call():
    calls = {write.call for write in WRITES} | {read.call for read in READS}
    assert {call for call, _, _ in TABLE} == calls


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("call", "sent", "expected"), TABLE, ids=[f"{call}-{n}" for n, (call, *_) in enumerate(TABLE)]
)
async def test_an_answer_has_litellms_fields(world, call, sent, expected):
    method, _, path = call.partition(" ")
    sent = {**sent, **({"access_group_id": world.unified} if "access_group_id" in sent else {})}
    target = path.format(**sent)
    if method == "GET":
        query = {name: value for name, value in sent.items() if f"{{{name}}}" not in path}
        target += "?" + "&".join(f"{name}={value}" for name, value in query.items())
    answer = await world.call(method, target, None if method == "GET" else sent)
    assert answer.status in (200, 201, 204), await answer.text()
    if expected is NOTHING:
        assert (answer.status, await answer.read()) == (204, b"")
        return
    assert not wrong(await answer.json(), expected)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "named", "sent", "inside"),
    [
        ("/key/generate", {}, KEY_SENT, None),
        ("/key/update", {"key": KEY}, KEY_SENT, None),
        ("/key/regenerate", {"key": KEY}, KEY_SENT, None),
        ("/team/new", {}, TEAM_SENT, None),
        ("/team/update", {"team_id": "t"}, TEAM_SENT, "data"),
        ("/user/new", {"auto_create_key": False}, USER_SENT, None),
        ("/user/update", {}, {**USER_SENT, "user_id": "carol"}, "data"),
    ],
)
async def test_every_field_that_was_sent_comes_back(world, path, named, sent, inside):
    answer = await world.made(path, {**named, **sent})
    row = answer[inside] if inside else answer
    assert {name: row.get(name) for name in sent} == sent
    assert answer["warnings"] == [
        warning for warning in answer["warnings"] if warning.startswith("access_group_ids: 'group'")
    ]
