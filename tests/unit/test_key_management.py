import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.keys.errors import AlreadyTaken, InvalidRequest, NotFound
from services.keys.management import MAX_ENTRIES
from services.keys.records import KeyDetails
from services.keys.requests import KeyFields
from shared.changes import Tombstone
from shared.credentials import Secret, is_wellformed
from tests.unit.management_world import NOW, World

STORED = {
    "user_id": "u1",
    "organization_id": "o1",
    "project_id": "p1",
    "agent_id": "a1",
    "config": {"x": 1},
    "spend": 1.5,
    "max_budget": 10.0,
    "soft_budget": 5.0,
    "budget_duration": "30d",
    "budget_id": "b1",
    "budget_limits": [{"budget_duration": "1d", "max_budget": 3}],
    "model_max_budget": {"gpt-4": {"budget_limit": 1}},
    "budget_fallbacks": {"gpt-4": ["gpt-3"]},
    "temp_budget_increase": 2.0,
    "temp_budget_expiry": "2026-02-01T00:00:00Z",
    "max_parallel_requests": 3,
    "tpm_limit": 100,
    "rpm_limit": 10,
    "tpd_limit": 1000,
    "model_rpm_limit": {"gpt-4": 5},
    "model_tpm_limit": {"gpt-4": 50},
    "tag_rpm_limit": {"t": 1},
    "rpm_limit_type": "dynamic",
    "tpm_limit_type": "dynamic",
    "metadata": {"team": {"nested": [1, None, "x"]}},
    "tags": ["t"],
    "permissions": {"x": True},
    "guardrails": ["g"],
    "policies": ["p"],
    "prompts": ["q"],
    "enforced_params": ["user"],
    "allowed_cache_controls": ["no-cache"],
    "allowed_passthrough_routes": ["/x"],
    "denied_passthrough_routes": ["/y"],
    "object_permission": {"vector_stores": []},
    "access_group_ids": ["ag"],
    "router_settings": {"num_retries": 1},
    "auto_rotate": True,
    "rotation_interval": "30d",
    "send_invite_email": False,
    "key_alias": "my-alias",
    "key_type": "llm_api",
}


@pytest.fixture
def world():
    return World()


def test_the_secret_is_minted_and_only_its_digest_is_kept(world):
    answer = world.do("key/generate", models=["gpt-4"])
    assert is_wellformed(answer["key"])
    assert answer["token"] == answer["token_id"] == Secret(answer["key"]).digest().hex()
    assert answer["key_name"] == "sk-..." + answer["key"][-4:]
    (record,) = world.state.keys.values()
    assert answer["key"].encode() not in msgspec.msgpack.encode(record)


def test_a_key_has_litellms_defaults(world):
    answer = world.do("key/generate")
    assert answer["models"] == []
    assert answer["warnings"] == []
    assert answer["expires"] is None
    assert answer["blocked"] is None
    assert answer["spend"] == 0
    assert answer["metadata"] == {}
    assert answer["created_at"] == answer["updated_at"] == "2026-01-01T00:00:00.000Z"
    assert answer["created_by"] == answer["updated_by"] == "master_key"


def test_every_documented_field_comes_back(world):
    answer = world.do("key/generate", **STORED)
    assert {field: answer[field] for field in STORED} == STORED
    info = world.see("/key/info", key=answer["token"])["info"]
    assert {field: info[field] for field in STORED} == STORED


def test_every_field_that_can_be_sent_is_answered(world):
    answer = world.do("key/generate")
    assert set(KeyFields.__struct_fields__) <= set(answer)


def test_null_and_absent_are_the_same_when_a_key_is_made(world):
    plain = world.plan("key/generate").answer
    nulled = world.plan("key/generate", **dict.fromkeys(KeyFields.__struct_fields__)).answer
    for answer in (plain, nulled):
        for field in ("key", "token", "token_id", "key_name"):
            del answer[field]
    assert nulled == plain


def test_an_access_group_id_that_does_not_exist_warns_that_it_allows_nothing(world):
    answer = world.do("key/generate", access_group_ids=["g", "g"])
    (warning,) = answer["warnings"]
    assert "allows nothing" in warning
    assert world.grant(answer).groups == ("g",)


# -- custom secrets


def test_a_custom_key_is_taken_as_it_is(world):
    answer = world.do("key/generate", key="sk-1234567890123")
    assert answer["key"] == "sk-1234567890123"
    assert answer["token"] == hashlib.sha256(b"sk-1234567890123").hexdigest()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "sk-1",
        "sk-123456789012",
        "pk-12345678901234567",
        "sk-gg-" + "a" * 38,
        "sk-1234567890 123456",
        "sk-123456789012\n3456",
        "sk-" + "x" * 510,
    ],
)
def test_a_custom_key_that_could_not_be_used_is_refused(world, key):
    with pytest.raises(InvalidRequest) as caught:
        world.plan("key/generate", key=key)
    assert caught.value.param == "key"
    assert not key or key not in caught.value.message


def test_a_custom_key_in_use_is_refused(world):
    world.do("key/generate", key="sk-1234567890123")
    with pytest.raises(AlreadyTaken):
        world.plan("key/generate", key="sk-1234567890123")


def test_no_key_may_be_the_master_key(world):
    world.reserved = frozenset({Secret("sk-master-1234567").digest()})
    with pytest.raises(AlreadyTaken):
        world.plan("key/generate", key="sk-master-1234567")


def test_the_secret_of_a_deleted_key_can_be_used_again(world):
    answer = world.do("key/generate", key="sk-1234567890123")
    world.do("key/delete", keys=[answer["token"]])
    world.do("key/generate", key="sk-1234567890123")
    assert len(world.state.keys) == 1


# -- models


def test_models_keep_their_order_and_lose_repetitions(world):
    answer = world.do("key/generate", models=["openai/*", "gpt-4", "openai/*"])
    assert answer["models"] == ["openai/*", "gpt-4"]
    assert world.grant(answer).models == ("openai/*", "gpt-4")


@pytest.mark.parametrize(
    "entry",
    ["gpt-4", "openai/gpt-4", "openai/o1-*", "*", "beta-models", "!gpt-4", "all-proxy-models"],
)
def test_entries_that_stand_for_something_do_not_warn(world, entry):
    assert world.do("key/generate", models=[entry])["warnings"] == []


@pytest.mark.parametrize("entry", ["gtp-4", "azure/*", "!nothing", "GPT-4"])
def test_an_entry_that_stands_for_nothing_is_kept_with_a_warning(world, entry):
    answer = world.do("key/generate", models=["gpt-4", entry])
    assert answer["models"] == ["gpt-4", entry]
    (warning,) = answer["warnings"]
    assert repr(entry) in warning


@pytest.mark.parametrize("entry", ["", " gpt-4", "gpt-4\n", "x" * 257, "a\x00b", "!", "!!a"])
def test_an_entry_that_can_never_match_is_refused_by_position(world, entry):
    with pytest.raises(InvalidRequest) as caught:
        world.plan("key/generate", models=["gpt-4", "openai/*", entry])
    assert caught.value.param == "models[2]"


def test_a_list_beyond_the_limit_is_refused(world):
    with pytest.raises(InvalidRequest):
        world.plan("key/generate", models=[f"m{n}" for n in range(MAX_ENTRIES + 1)])


def test_only_some_patterns_are_looked_up(world):
    warnings = world.do("key/generate", models=[f"azure/{n}-*" for n in range(30)])["warnings"]
    assert len(warnings) == 21
    assert warnings[-1] == "models: 10 more patterns were not looked up"


def test_all_team_models_without_a_team_warns(world):
    (warning,) = world.do("key/generate", models=["all-team-models"])["warnings"]
    assert "allows nothing" in warning


# -- other fields of the grant


def test_the_team_must_exist(world):
    with pytest.raises(InvalidRequest, match="Team ID: nope") as caught:
        world.plan("key/generate", team_id="nope")
    assert caught.value.param == "team_id"
    with pytest.raises(InvalidRequest):
        world.plan("key/generate", team_id="")
    world.do("team/new", team_id="t1")
    assert world.do("key/generate", team_id="t1")["team_id"] == "t1"


def test_a_duration_becomes_an_expiry(world):
    answer = world.do("key/generate", duration="30d")
    assert answer["expires"] == "2026-01-31T00:00:00.000Z"
    assert answer["duration"] == "30d"
    assert world.grant(answer).expires_at == NOW + 30 * 86400


@pytest.mark.parametrize("field", ["duration", "budget_duration", "rotation_interval"])
@pytest.mark.parametrize("text", ["30", "-1", "soon", ""])
def test_a_bad_duration_is_refused(world, field, text):
    with pytest.raises(InvalidRequest) as caught:
        world.plan("key/generate", **{field: text})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("key_type", "routes"),
    [
        ("default", []),
        ("llm_api", ["llm_api_routes"]),
        ("management", ["management_routes"]),
        ("read_only", ["info_routes"]),
    ],
)
def test_a_key_type_stands_for_routes(world, key_type, routes):
    assert world.do("key/generate", key_type=key_type)["allowed_routes"] == routes


def test_routes_and_a_key_type_that_contradict_are_refused(world):
    with pytest.raises(InvalidRequest):
        world.plan("key/generate", key_type="llm_api", allowed_routes=["/v1/embeddings"])


def test_routes_are_paths_or_groups(world):
    answer = world.do("key/generate", allowed_routes=["/v1/*", "info_routes", "odd_routes"])
    assert answer["allowed_routes"] == ["/v1/*", "info_routes", "odd_routes"]
    assert len(answer["warnings"]) == 1
    for bad in ("", "v1/chat", "/a b", "/a\n"):
        with pytest.raises(InvalidRequest) as caught:
            world.plan("key/generate", allowed_routes=["/v1/*", bad])
        assert caught.value.param == "allowed_routes[1]"


@pytest.mark.parametrize(
    "aliases",
    [
        {"": "x"},
        {"a*": "x"},
        {"a": ""},
        {"x" * 257: "x"},
        {" a": "x"},
        {"a": "x" * 257},
        {"a\n": "x"},
    ],
)
def test_a_bad_alias_is_refused(world, aliases):
    with pytest.raises(InvalidRequest) as caught:
        world.plan("key/generate", aliases=aliases)
    assert caught.value.param.startswith("aliases.")


@pytest.mark.parametrize("alias", ["ab", "A1-b_c/d.e@f9", "a" * 255])
def test_a_key_alias_of_litellms_pattern_is_taken(world, alias):
    assert world.do("key/generate", key_alias=alias)["key_alias"] == alias


@pytest.mark.parametrize("alias", ["", "a", "-a", "a-", "a b", "a" * 256, "ab\n", "äb"])
def test_any_other_key_alias_is_refused(world, alias):
    with pytest.raises(InvalidRequest):
        world.plan("key/generate", key_alias=alias)


def test_a_key_alias_is_unique(world):
    world.do("key/generate", key_alias="one")
    two = world.do("key/generate", key_alias="two")
    with pytest.raises(AlreadyTaken) as caught:
        world.plan("key/generate", key_alias="one")
    assert caught.value.param == "key_alias"
    with pytest.raises(AlreadyTaken):
        world.plan("key/update", key=two["key"], key_alias="one")
    world.plan("key/update", key=two["key"], key_alias="two")


@pytest.mark.parametrize(
    "body",
    [
        {"max_budget": -1},
        {"soft_budget": -0.01},
        {"rpm_limit": -1},
        {"spend": -1},
        {"budget_limits": [{"budget_duration": "1d", "max_budget": -1}]},
        {"temp_budget_increase": 1},
        {"temp_budget_expiry": "2026-02-01"},
        {"temp_budget_increase": 1, "temp_budget_expiry": "tomorrow"},
    ],
)
def test_amounts_that_make_no_sense_are_refused(world, body):
    with pytest.raises(InvalidRequest):
        world.plan("key/generate", **body)


def test_a_budget_of_zero_is_stored_and_restricts_nothing(world):
    answer = world.do("key/generate", max_budget=0)
    assert answer["max_budget"] == 0
    assert not world.grant(answer).blocked


# -- update


def test_an_update_keeps_what_was_not_sent(world):
    made = world.do("key/generate", **STORED, models=["gpt-4"], duration="1d", aliases={"a": "b"})
    world.now += 60
    answer = world.do("key/update", key=made["key"], tags=["new"])
    assert answer["key"] == made["key"]
    assert answer["updated_at"] == "2026-01-01T00:01:00.000Z"
    changed = {"tags", "updated_at", "warnings", "key", "token_id", "duration"}
    assert {f: v for f, v in answer.items() if f not in changed} == {
        f: v for f, v in made.items() if f not in changed
    }
    assert answer["tags"] == ["new"]


def test_null_clears_a_field(world):
    made = world.do("key/generate", **STORED, duration="1d", blocked=True, aliases={"a": "b"})
    cleared = set(KeyFields.__struct_fields__) - {"models", "duration"}
    sent = dict.fromkeys([*cleared, "duration"])
    answer = world.do("key/update", key=made["token"], **sent)
    blank = world.plan("key/generate").answer
    assert {f: answer[f] for f in cleared} == {f: blank[f] for f in cleared}
    assert answer["expires"] is None


def test_null_for_models_is_refused_because_it_could_mean_everything(world):
    made = world.do("key/generate", models=["gpt-4"])
    with pytest.raises(InvalidRequest, match=r"send \[\]"):
        world.plan("key/update", key=made["key"], models=None)
    assert world.do("key/update", key=made["key"], models=[])["models"] == []


def test_metadata_replaces(world):
    made = world.do("key/generate", metadata={"a": 1, "b": 2})
    answer = world.do("key/update", key=made["key"], metadata={"c": 3})
    assert answer["metadata"] == {"c": 3}


@pytest.mark.parametrize("never", [None, "-1"])
def test_an_expiry_can_be_lifted(world, never):
    made = world.do("key/generate", duration="1d")
    answer = world.do("key/update", key=made["key"], duration=never)
    assert answer["expires"] is None


def test_a_new_duration_begins_now(world):
    made = world.do("key/generate", duration="1d")
    world.now += 3600
    assert (
        world.do("key/update", key=made["key"], duration="1d")["expires"]
        == "2026-01-02T01:00:00.000Z"
    )


def test_a_key_can_be_named_by_its_alias(world):
    made = world.do("key/generate", key_alias="one")
    answer = world.do("key/update", key_alias="one", max_budget=5)
    assert (answer["key"], answer["key_alias"]) == (made["token"], "one")
    assert world.do("key/update", key=made["token"], key_alias="two")["key_alias"] == "two"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, InvalidRequest),
        ({"key": None}, InvalidRequest),
        ({"key": ""}, InvalidRequest),
        ({"key": "sk-unknown-key-0000"}, NotFound),
        ({"key": "0" * 64}, NotFound),
        ({"key": "not a digest"}, NotFound),
        ({"key_alias": "nobody"}, NotFound),
    ],
)
def test_an_update_of_no_key_is_refused(world, body, error):
    with pytest.raises(error) as caught:
        world.plan("key/update", **body, max_budget=1)
    assert caught.value.param == "key"


def test_a_default_key_type_that_travels_along_lifts_no_routes(world):
    made = world.do("key/generate", allowed_routes=["/v1/embeddings"])
    answer = world.do("key/update", key=made["key"], key_type="default")
    assert answer["allowed_routes"] == ["/v1/embeddings"]


def test_a_key_type_can_be_taken_back(world):
    made = world.do("key/generate", key_type="llm_api")
    answer = world.do("key/update", key=made["key"], key_type="default")
    assert (answer["key_type"], answer["allowed_routes"]) == ("default", [])


def test_routes_set_by_hand_replace_a_key_type(world):
    made = world.do("key/generate", key_type="llm_api")
    answer = world.do("key/update", key=made["key"], allowed_routes=["/v1/models"])
    assert (answer["key_type"], answer["allowed_routes"]) == ("default", ["/v1/models"])


def test_a_row_read_can_be_written_back_unchanged(world):
    world.do("team/new", team_id="t1")
    made = world.do(
        "key/generate",
        **STORED,
        team_id="t1",
        models=["gpt-4"],
        aliases={"a": "b"},
        duration="1d",
    )
    world.now += 3600
    info = world.see("/key/info", key=made["token"])["info"]
    before = world.grant(made)
    answer = world.do("key/update", key=made["token"], **info)
    assert world.grant(made) == before
    assert {f: answer[f] for f in STORED} == STORED


# -- block, delete


def test_block_and_unblock_answer_the_row(world):
    made = world.do("key/generate")
    assert world.do("key/block", key=made["key"])["blocked"] is True
    assert world.grant(made).blocked
    assert world.do("key/unblock", key=made["token"])["blocked"] is False
    assert not world.grant(made).blocked


def test_blocking_again_is_written_again(world):
    made = world.do("key/generate", blocked=True)
    assert len(world.plan("key/block", key=made["key"]).writes) == 1


def test_keys_are_deleted_by_secret_digest_and_alias(world):
    one, two = world.do("key/generate"), world.do("key/generate")
    world.do("key/generate", key_alias="three")
    answer = world.do("key/delete", keys=[one["key"], two["token"]], key_aliases=["three"])
    assert answer == {"deleted_keys": [one["key"], two["token"], "three"]}
    assert not world.state.keys


def test_a_key_named_twice_is_deleted_once(world):
    made = world.do("key/generate")
    plan = world.plan("key/delete", keys=[made["key"], made["token"]])
    assert plan.writes == (Tombstone(of="key", id=bytes.fromhex(made["token"])),)


def test_all_keys_are_deleted_or_none(world):
    made = world.do("key/generate")
    with pytest.raises(NotFound) as caught:
        world.plan("key/delete", keys=[made["key"], "sk-unknown-key-0000"])
    assert caught.value.param == "keys[1]"
    assert "sk-unknown" not in caught.value.message


@pytest.mark.parametrize("body", [{}, {"keys": []}, {"keys": None, "key_aliases": []}])
def test_deleting_nothing_is_refused(world, body):
    with pytest.raises(InvalidRequest):
        world.plan("key/delete", **body)


# -- whatever is sent


@pytest.mark.parametrize("vectors", ["decisions", "deny-entries"])
def test_every_key_and_team_of_the_vectors_can_be_made(world, vectors):
    path = Path(__file__).parents[1] / "vectors" / f"{vectors}.json"
    for case in json.loads(path.read_text())["cases"]:
        team = case["team"]
        if team and team["team_id"] not in world.state.teams:
            world.do("team/new", **team)
        grant = world.grant(world.do("key/generate", **case["key"]))
        assert list(grant.models) == list(dict.fromkeys(case["key"]["models"]))
        assert grant.aliases == case["key"].get("aliases", {})


@given(
    st.lists(st.text(max_size=6), max_size=4),
    st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
    st.lists(st.text(max_size=6), max_size=3),
    st.text(max_size=5),
    st.floats(allow_nan=False),
)
def test_a_key_is_made_as_asked_or_refused(models, aliases, routes, duration, budget):
    world = World()
    body = {"models": models, "aliases": aliases, "allowed_routes": routes, "max_budget": budget}
    if duration:
        body["duration"] = duration
    try:
        answer = world.do("key/generate", **body)
    except InvalidRequest:
        return
    assert answer["max_budget"] == budget
    grant = world.grant(answer)
    assert list(grant.models) == list(dict.fromkeys(models))
    assert (grant.models == ()) == (models == [])
    assert grant.aliases == aliases
    assert (grant.expires_at is None) == (duration == "")
    assert msgspec.convert(msgspec.to_builtins(grant), type(grant)) == grant


def test_details_hold_no_field_of_the_grant():
    assert not {"models", "team_id", "aliases", "allowed_routes"} & set(
        KeyDetails.__struct_fields__
    )


def test_an_empty_filter_filters_nothing():
    world = World()
    world.do("key/generate", key_alias="one")
    world.do("key/generate")
    filters = ("user_id", "team_id", "organization_id", "key_alias", "key_hash", "search")
    listed = world.see("/key/list", **dict.fromkeys(filters, ""))
    assert listed["total_count"] == 2
