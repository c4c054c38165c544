import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.keys.errors import AlreadyTaken, InvalidRequest, NotFound
from services.keys.team_requests import TeamFields
from shared.changes import Tombstone
from tests.unit.management_world import World

STORED = {
    "team_alias": "litellm-dev",
    "blocked": False,
    "organization_id": "o1",
    "members_with_roles": [{"role": "admin", "user_id": "u1", "user_email": None}],
    "admins": ["u1"],
    "members": ["u2"],
    "team_member_permissions": ["/key/info"],
    "default_team_member_models": ["gpt-4"],
    "team_member_budget": 1.0,
    "team_member_rpm_limit": 2,
    "team_member_tpm_limit": 3,
    "team_member_key_duration": "1d",
    "team_member_budget_duration": "30d",
    "metadata": {"a": [1, {"b": None}]},
    "tags": ["t"],
    "max_budget": 10.0,
    "soft_budget": 5.0,
    "budget_duration": "30d",
    "budget_limits": [{"budget_duration": "1d", "max_budget": 1}],
    "model_max_budget": {"gpt-4": 1},
    "tpm_limit": 1,
    "rpm_limit": 2,
    "tpd_limit": 3,
    "model_rpm_limit": {"gpt-4": 1},
    "model_tpm_limit": {"gpt-4": 1},
    "model_aliases": {"fast": "gpt-4"},
    "guardrails": ["g"],
    "object_permission": {"x": []},
    "router_settings": {"num_retries": 1},
    "access_group_ids": [],
}


@pytest.fixture
def world():
    return World()


def test_a_team_has_litellms_defaults(world):
    answer = world.do("team/new")
    assert answer["team_id"] == "id-1"
    assert answer["models"] == []
    assert answer["blocked"] is False
    assert answer["members_with_roles"] == []
    assert answer["created_at"] == "2026-01-01T00:00:00.000Z"
    assert set(TeamFields.__struct_fields__) <= set(answer)


def test_every_documented_field_comes_back(world):
    answer = world.do("team/new", **STORED, models=["gpt-4"])
    assert {field: answer[field] for field in STORED} == STORED
    shown = world.see("/team/info", team_id=answer["team_id"])["team_info"]
    assert {field: shown[field] for field in STORED} == STORED
    grant = world.state.teams[answer["team_id"]].grant
    assert (grant.alias, grant.models) == ("litellm-dev", ("gpt-4",))
    assert grant.model_aliases == {"fast": "gpt-4"}


@pytest.mark.parametrize("team_id", ["taken", "litellm-dashboard"])
def test_a_team_id_in_use_or_reserved_is_refused(world, team_id):
    world.do("team/new", team_id="taken")
    with pytest.raises(AlreadyTaken) as caught:
        world.plan("team/new", team_id=team_id)
    assert caught.value.param == "team_id"


def test_a_team_alias_need_not_be_unique(world):
    world.do("team/new", team_alias="same")
    assert world.do("team/new", team_alias="same")["team_alias"] == "same"


@pytest.mark.parametrize("team_id", ["", " ", "a\nb", " a", "x" * 257])
def test_an_unusable_team_id_is_refused(world, team_id):
    with pytest.raises(InvalidRequest):
        world.plan("team/new", team_id=team_id)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"models": ["gpt-4", "all-team-models"]}, "models[1]"),
        ({"models": [" gpt-4"]}, "models[0]"),
        ({"model_aliases": {"": "x"}}, "model_aliases."),
        ({"soft_budget": 5, "max_budget": 5}, "soft_budget"),
        ({"max_budget": -1}, "max_budget"),
        ({"team_member_key_duration": "soon"}, "team_member_key_duration"),
        ({"members_with_roles": [{"role": "user"}]}, "members_with_roles[0]"),
        (
            {"members_with_roles": [{"role": "user", "user_email": "nobody@example.com"}]},
            "members_with_roles[0].user_email",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(world, body, param):
    for reason in ("team/new", "team/update"):
        if reason == "team/update":
            world.do("team/new", team_id="t1")
            body = {**body, "team_id": "t1"}
        with pytest.raises(InvalidRequest) as caught:
            world.plan(reason, **body)
        assert caught.value.param == param


def test_no_default_models_and_unknown_names_are_taken(world):
    assert world.do("team/new", models=["no-default-models"])["warnings"] == []
    (warning,) = world.do("team/new", models=["gtp-4"])["warnings"]
    assert "gtp-4" in warning


# -- update


@pytest.mark.parametrize("sent", [{}, dict.fromkeys(TeamFields.__struct_fields__)])
def test_null_and_absent_keep_a_field(world, sent):
    made = world.do("team/new", **STORED, models=["gpt-4"])
    world.now += 60
    answer = world.do("team/update", team_id=made["team_id"], **sent)
    assert answer["team_id"] == made["team_id"]
    skip = {"updated_at", "warnings"}
    assert {f: v for f, v in answer["data"].items() if f not in skip} == {
        f: v for f, v in made.items() if f not in skip
    }
    assert answer["data"]["updated_at"] == "2026-01-01T00:01:00.000Z"


def test_an_empty_list_lifts_the_restriction(world):
    made = world.do("team/new", models=["gpt-4"])
    answer = world.do("team/update", team_id=made["team_id"], models=[])
    assert answer["data"]["models"] == []


def test_a_soft_budget_is_checked_against_what_is_stored(world):
    made = world.do("team/new", max_budget=10)
    with pytest.raises(InvalidRequest):
        world.plan("team/update", team_id=made["team_id"], soft_budget=10)


@pytest.mark.parametrize(
    ("reason", "more"),
    [
        ("team/update", {}),
        ("team/block", {}),
        ("team/unblock", {}),
        ("team/model/add", {"models": ["a"]}),
        ("team/model/delete", {"models": ["a"]}),
    ],
)
def test_a_team_that_is_not_there_is_not_found(world, reason, more):
    with pytest.raises(NotFound) as caught:
        world.plan(reason, team_id="nope", **more)
    assert caught.value.param == "team_id"


# -- block, delete


def test_block_and_unblock_answer_the_row(world):
    team_id = world.do("team/new")["team_id"]
    assert world.do("team/block", team_id=team_id)["blocked"] is True
    assert world.state.teams[team_id].grant.blocked
    assert world.do("team/unblock", team_id=team_id)["blocked"] is False
    assert not world.state.teams[team_id].grant.blocked


def test_a_team_goes_with_its_keys_in_one_change(world):
    world.do("team/new", team_id="t1")
    world.do("team/new", team_id="t2")
    mine = world.do("key/generate", team_id="t1")
    other = world.do("key/generate", team_id="t2")
    plan = world.plan("team/delete", team_ids=["t1", "t1"])
    assert set(plan.writes) == {
        Tombstone(of="team", id="t1"),
        Tombstone(of="key", id=bytes.fromhex(mine["token"])),
    }
    answer = world.do("team/delete", team_ids=["t1"])
    assert answer == {"deleted_teams": ["t1"], "deleted_keys": [mine["token"]]}
    assert [key.hex() for key in world.state.keys] == [other["token"]]
    assert list(world.state.teams) == ["t2"]


def test_all_teams_are_deleted_or_none(world):
    world.do("team/new", team_id="t1")
    with pytest.raises(NotFound) as caught:
        world.plan("team/delete", team_ids=["t1", "nope"])
    assert caught.value.param == "team_ids[1]"
    with pytest.raises(InvalidRequest):
        world.plan("team/delete", team_ids=[])


# -- one model more or less


@pytest.mark.parametrize(
    ("before", "added", "after"),
    [
        (["gpt-4"], ["openai/*"], ["gpt-4", "openai/*"]),
        (["gpt-4"], ["gpt-4"], ["gpt-4"]),
        (["gpt-4"], [], ["gpt-4"]),
        ([], ["gpt-4"], ["all-proxy-models", "gpt-4"]),
        (["!gpt-4"], ["openai/*"], ["all-proxy-models", "!gpt-4", "openai/*"]),
        (["no-default-models"], ["gpt-4"], ["no-default-models", "gpt-4"]),
    ],
)
def test_adding_a_model_never_takes_one_away(world, before, added, after):
    world.do("team/new", team_id="t1", models=before)
    assert world.do("team/model/add", team_id="t1", models=added)["models"] == after
    assert world.team_models("t1") == after


@pytest.mark.parametrize(
    ("before", "removed", "after"),
    [
        (["gpt-4", "openai/*"], ["gpt-4"], ["openai/*"]),
        (["gpt-4"], ["gpt-4"], ["no-default-models"]),
        (["no-default-models"], ["no-default-models"], ["no-default-models"]),
        (["gpt-4", "!openai/o1-*"], ["gpt-4"], ["no-default-models", "!openai/o1-*"]),
        (["gpt-4", "!gpt-4"], ["gpt-4", "!gpt-4"], ["no-default-models"]),
        (["!gpt-4", "!x"], ["!gpt-4"], ["all-proxy-models", "!x"]),
        (["!gpt-4"], ["!gpt-4"], ["all-proxy-models"]),
        (["gpt-4"], ["other"], ["gpt-4"]),
        ([], ["gpt-4"], []),
    ],
)
def test_taking_a_model_away_never_gives_another(world, before, removed, after):
    world.do("team/new", team_id="t1", models=before)
    assert world.do("team/model/delete", team_id="t1", models=removed)["models"] == after
    assert world.team_models("t1") == after


def test_taking_away_what_was_not_there_warns(world):
    world.do("team/new", team_id="t1", models=["gpt-4"])
    (warning,) = world.do("team/model/delete", team_id="t1", models=["gpt-4", "x"])["warnings"]
    assert "'x'" in warning


def test_all_team_models_is_not_for_a_teams_list(world):
    world.do("team/new", team_id="t1")
    with pytest.raises(InvalidRequest):
        world.plan("team/model/add", team_id="t1", models=["all-team-models"])


ENTRIES = st.lists(
    st.sampled_from(["a", "b", "c*", "no-default-models", "all-proxy-models", "!a", "!d"]),
    unique=True,
)


def allowed(models):
    """Which of a few names a list covers, by the meaning of its entries."""
    positive = [m for m in models if not m.startswith("!")]
    stand_for = {"a": "a", "b": "b", "c*": "c", "all-proxy-models": "abcd"}
    covered = set("abcd") if not positive else set("".join(stand_for.get(m, "") for m in positive))
    return covered - {m[1:] for m in models if m.startswith("!")}


@given(ENTRIES, st.lists(st.sampled_from(["a", "b", "c*", "no-default-models", "x"])))
def test_whatever_positive_is_taken_away_the_team_may_call_no_more(before, removed):
    world = World()
    world.do("team/new", team_id="t1", models=before)
    world.do("team/model/delete", team_id="t1", models=removed)
    assert allowed(world.team_models("t1")) <= allowed(before)


@given(ENTRIES, st.lists(st.sampled_from(["a", "b", "c*", "no-default-models", "x"])))
def test_whatever_positive_is_added_the_team_may_call_no_less(before, added):
    world = World()
    world.do("team/new", team_id="t1", models=before)
    world.do("team/model/add", team_id="t1", models=added)
    assert allowed(before) <= allowed(world.team_models("t1"))
