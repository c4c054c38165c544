import json

import msgspec
import pytest

from services.gateway.upstreams import build
from services.keys.errors import AlreadyTaken, InvalidRequest, NotFound
from services.keys.log import Origin, make_entry, read_entry
from services.keys.model_management import FIRST_STORED, upstream_of
from services.keys.vault import Unreadable, Vault
from shared.addresses import Reach
from shared.changes import GENESIS
from shared.config import Config
from shared.credentials import Secret
from shared.model_list import read_models
from shared.reading import ConfigError, Notes, Place
from shared.settings import Settings
from tests.unit.management_world import VAULT, World

SECRET = "sk-upstream-0123456789"
PARAMS = {
    "model": "openai/gpt-4o",
    "api_key": SECRET,
    "api_base": "https://user.example.com/v1",
    "extra_headers": {"x-other": "hidden-too"},
    "input_cost_per_token": 0.1,
}


@pytest.fixture
def world():
    return World()


def make(world, **info):
    return world.do("model/new", model_name="new", litellm_params=PARAMS, model_info=info)


def opened(world, model_id):
    record = world.state.models[model_id]
    return upstream_of(record, VAULT.open(model_id, record.details.sealed))


def test_a_model_is_made_behind_the_declared_ones(world):
    answer = make(world, id="m1", access_groups=["beta-models"], mode="chat")
    assert (answer["model_id"], answer["model_name"]) == ("m1", "new")
    grant = world.state.deployments["m1"]
    assert (grant.name, grant.access_groups) == ("new", ("beta-models",))
    assert (grant.position, grant.version) == (FIRST_STORED, 1)
    assert answer["model_info"]["mode"] == "chat"
    assert answer["model_info"]["db_model"] is True
    second = world.do("model/new", model_name="new", litellm_params=PARAMS)["model_id"]
    assert world.state.deployments[second].position == FIRST_STORED + 1
    assert len(world.state.catalogue.serving("new")) == 2


def test_what_leads_upstream_is_shown_to_nobody_and_written_only_encrypted(world):
    answer = make(world, id="m1")
    key = world.do("key/generate")["key"]
    shown = [answer, world.see("/model/info"), world.see("/v2/model/info")]
    shown += [world.see("/model_group/info"), world.see("/model/info", by=key)]
    text = json.dumps(shown)
    for secret in (SECRET, "hidden-too", "user.example.com"):
        assert secret not in text
    entry = make_entry(
        1,
        GENESIS,
        list(world.state.records()),
        Origin(op_id="o", at=0, actor="a", request_id="r", reason="x"),
    )
    for secret in (SECRET, "hidden-too", "user.example.com"):
        assert secret.encode() not in entry.decision
        assert secret.encode() not in entry.rest
    writes, _ = read_entry(entry, GENESIS)
    assert list(writes) == list(world.state.records())
    assert opened(world, "m1")["litellm_params"] == PARAMS


def test_an_update_merges_and_makes_a_new_version(world):
    make(world, id="m1", access_groups=["g"], mode="chat")
    body = {"litellm_params": {"model": "openai/other", "extra_headers": None}}
    answer = world.do("model/update", model_info={"id": "m1", "tier": "paid"}, **body)
    assert answer["model_info"]["tier"] == "paid"
    assert answer["model_info"]["mode"] == "chat"
    assert world.state.deployments["m1"].version == 2
    assert world.state.deployments["m1"].access_groups == ("g",)
    params = opened(world, "m1")["litellm_params"]
    assert (params["model"], params["api_key"]) == ("openai/other", SECRET)
    assert "extra_headers" not in params
    patch = "PATCH /model/{model_id}/update"
    answer = world.do(patch, model_id="m1", model_name="renamed", model_info={"access_groups": []})
    assert (answer["model_name"], answer["model_info"]["access_groups"]) == ("renamed", [])
    assert world.state.deployments["m1"].ref.startswith("m1\x1f3")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"litellm_params": {}}, "litellm_params.model"),
        ({"litellm_params": {"model": ""}}, "litellm_params.model"),
        ({"litellm_params": {"model": "openai/*"}}, "litellm_params.model"),
        ({"model_name": "no-default-models"}, "model_name"),
        ({"model_name": "!x"}, "model_name"),
        ({"model_name": ""}, "model_name"),
        ({"model_info": {"id": 7}}, "model_info.id"),
        ({"model_info": {"id": "x" * 129}}, "model_info.id"),
        ({"model_info": {"id": " x"}}, "model_info.id"),
        ({"model_info": {"access_groups": "g"}}, "model_info.access_groups"),
        ({"model_info": {"access_groups": ["all-team-models"]}}, "model_info.access_groups[0]"),
        ({"model_info": {"team_id": "t"}}, "model_info.team_id"),
        (
            {"litellm_params": {"model": "openai/x", "api_key": "os.environ/GRANTGATE_MASTER_KEY"}},
            "litellm_params.api_key",
        ),
        (
            {
                "litellm_params": {
                    "model": "openai/x",
                    "extra_headers": {"a": "os.environ/litellm_master_key"},
                }
            },
            "litellm_params.extra_headers.a",
        ),
    ],
)
def test_a_model_that_cannot_be_is_refused(world, body, param):
    full = {"model_name": "new", "litellm_params": {"model": "openai/x"}, **body}
    with pytest.raises(InvalidRequest) as caught:
        world.plan("model/new", **full)
    assert caught.value.param == param


UNUSABLE = [
    {"model": "bedrock/anthropic.claude"},
    {"model": "gpt-4", "custom_llm_provider": "unheard_of"},
    {"model": "openai/"},
    {"model": "azure/gpt-4"},
    {"model": "hosted_vllm/m"},
    {"model": "openai/m", "api_base": "https://h.example/v1/chat/completions"},
    {"model": "openai/m", "api_base": "https://u:p@h.example/v1"},
    {"model": "openai/m", "base_url": "https://h.example/v1?x=1"},
    {"model": "azure/m", "api_base": "https://h.example/openai/deployments/m"},
    {"model": "azure/m", "api_base": "https://h.example", "api_key": "a", "api_version": "/"},
    {"model": "openai/m", "api_key": "sk a"},
    {"model": "openai/m", "api_key": "sk-a", "organization": "a\nb"},
    {"model": "openai/m", "api_key": "sk-a", "extra_headers": {"a b": "x"}},
    {"model": "openai/m", "api_key": "sk-a", "extra_headers": {"Host": "os.environ/X"}},
]


@pytest.mark.parametrize("params", UNUSABLE)
def test_what_the_file_may_not_say_of_an_upstream_is_refused_in_the_same_words(world, params):
    raw = {"model_name": "new", "litellm_params": params}
    entries = read_models([raw], {}, Place("f"), Notes())
    with pytest.raises(ConfigError) as declared:
        build(Config(file="f", models=entries, settings=Settings(), master_key=None), {"X": "x"})
    make(world, id="m1")
    for call, body in (
        ("model/new", raw),
        ("model/update", {"model_info": {"id": "m1"}, "litellm_params": CLEARED | params}),
        (
            "PATCH /model/{model_id}/update",
            {"model_id": "m1", "litellm_params": CLEARED | params},
        ),
    ):
        with pytest.raises(InvalidRequest) as caught:
            world.plan(call, **body)
        assert str(caught.value) == str(declared.value).removeprefix("f: [0].")
        assert str(caught.value).startswith(f"{caught.value.param}: ")


CLEARED = dict.fromkeys(("api_base", "api_key", "extra_headers"))


@pytest.mark.parametrize(
    "params",
    [
        {"model": "os.environ/MODEL", "api_key": "os.environ/KEY"},
        {"model": "azure/m", "api_base": "os.environ/BASE", "api_version": "os.environ/V"},
        {"model": "x/y", "api_base": "os.environ/BASE"},
        {
            "model": "openai/m",
            "organization": "os.environ/O",
            "extra_headers": {"a": "os.environ/H"},
        },
    ],
)
def test_what_only_the_gateway_can_resolve_is_left_to_it(world, params):
    assert world.do("model/new", model_name="new", litellm_params=params)["warnings"] == []


ELSEWHERE = [
    "http://10.0.0.5/v1",
    "http://[::ffff:127.0.0.1]:8000/v1",
    "http://169.254.169.254/",
    "http://2130706433/v1",
    "https://LOCALHOST./v1",
    "file:///etc/passwd",
    "http://[::1",
    "x",
]


@pytest.mark.parametrize("base", ELSEWHERE)
@pytest.mark.parametrize("field", ["api_base", "base_url"])
def test_row_70_a_model_made_at_run_time_leads_to_no_address_of_ours(world, base, field):
    make(world, id="m1")
    params = {"model": "openai/x", field: base}
    for call, body in (
        ("model/new", {"model_name": "new", "litellm_params": params}),
        ("model/update", {"model_info": {"id": "m1"}, "litellm_params": {"api_base": base}}),
        (
            "PATCH /model/{model_id}/update",
            {"model_id": "m1", "litellm_params": {"api_base": base}},
        ),
    ):
        with pytest.raises(InvalidRequest) as caught:
            world.plan(call, **body)
        assert caught.value.param == "litellm_params.api_base"
        assert base not in caught.value.message


def test_what_is_allowed_besides_public_addresses_may_be_stored(world):
    world.reach = Reach(["10.0.0.0/8", "localhost"])
    for base in ("http://10.0.0.5/v1", "http://localhost:8000/v1"):
        params = {"model": "openai/x", "api_base": base}
        made = world.do("model/new", model_name="new", litellm_params=params)
        assert opened(world, made["model_id"])["litellm_params"] == params


def test_a_credential_may_be_a_variable_of_the_gateway(world):
    params = {"model": "openai/x", "api_key": "os.environ/OPENAI_API_KEY"}
    model_id = world.do("model/new", model_name="new", litellm_params=params)["model_id"]
    assert opened(world, model_id)["litellm_params"] == params


def test_an_id_is_taken_once(world):
    make(world, id="m1")
    for taken in ("m1", "d1"):
        with pytest.raises(AlreadyTaken):
            make(world, id=taken)


def test_a_declared_model_is_blocked_but_neither_changed_nor_deleted(world):
    patch = "PATCH /model/{model_id}/update"
    for call, body in (
        ("model/delete", {"id": "d1"}),
        ("model/update", {"model_info": {"id": "d1"}}),
        (patch, {"model_id": "d1"}),
    ):
        with pytest.raises(InvalidRequest):
            world.plan(call, **body)
    assert world.do("model/block", model_id="d1")["blocked"] is True
    assert world.state.deployments["d1"].blocked
    world.do("model/unblock", model_id="d1")
    assert not world.state.deployments["d1"].blocked


def test_litellms_client_names_the_model_to_update_by_id(world):
    make(world, id="m1")
    answer = world.do("model/update", id="m1", litellm_params={"model": "openai/other"})
    assert answer["litellm_params"]["model"] == "openai/other"
    with pytest.raises(InvalidRequest) as caught:
        world.plan("model/update", id="m1", model_info={"id": "m2"})
    assert caught.value.param == "id"


def test_a_model_is_deleted(world):
    make(world, id="m1")
    world.do("model/delete", id="m1")
    assert world.state.catalogue.serving("new") == ()
    for call, body in (
        ("model/delete", {"id": "m1"}),
        ("model/block", {"model_id": "m1"}),
        ("model/update", {"model_info": {"id": "m1"}}),
    ):
        with pytest.raises(NotFound):
            world.plan(call, **body)
    with pytest.raises(InvalidRequest):
        world.plan("model/update", model_name="x")


def test_callers_are_shown_the_models_they_may_call(world):
    make(world, id="m1", access_groups=["g"])

    def shown(**fields):
        key = world.do("key/generate", **fields)["key"]
        return [row["model_name"] for row in world.see("/model/info", by=key)["data"]]

    assert shown() == ["gpt-4", "openai/*", "new"]
    assert shown(models=["g"]) == ["new"]
    assert shown(models=["beta-models", "openai/*"]) == ["gpt-4", "openai/*"]
    assert shown(models=["no-default-models"]) == []
    world.do("team/new", team_id="t", models=["gpt-4"])
    assert shown(team_id="t") == ["gpt-4"]
    world.do("model/block", model_id="m1")
    assert shown() == ["gpt-4", "openai/*"]
    page = world.see("/v2/model/info", size="1", page="2")
    assert [row["model_name"] for row in page["data"]] == ["openai/*"]
    assert page["total_count"] == 3
    assert world.see("/v2/model/info", search="GPT")["total_count"] == 1
    assert world.see("/v2/model/info", modelId="d1")["total_count"] == 1
    (row,) = world.see("/model_group/info", model_group="new")["data"]
    assert (row["model_group"], row["providers"]) == ("new", ["openai"])
    with pytest.raises(NotFound):
        world.see("/model/info", litellm_model_id="nowhere")


def test_a_key_in_the_place_of_a_models_id_is_not_repeated(world):
    with pytest.raises(NotFound, match=r"^Model id = sk-\.\.\.alls not found"):
        world.see("/model/info", litellm_model_id="sk-in-the-wrong-place-of-alls")


# -- the vault


def test_what_is_sealed_is_opened_by_the_same_key_for_the_same_record_alone():
    sealed = VAULT.seal("m1", b"secret")
    assert VAULT.open("m1", sealed) == b"secret"
    assert VAULT.seal("m1", b"secret") != sealed
    for vault, record, data in (
        (VAULT, "m2", sealed),
        (Vault(Secret("sk-another")), "m1", sealed),
        (VAULT, "m1", sealed[:-1]),
        (VAULT, "m1", b""),
        (VAULT, "m1", b"\x02" + sealed[1:]),
    ):
        with pytest.raises(Unreadable):
            vault.open(record, data)


def test_details_survive_the_log(world):
    make(world, id="m1")
    record = world.state.models["m1"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record)) == record
