"""Access groups (labels on deployments) and unified groups, at run time."""

import pytest

from services.keys.declared import declare
from services.keys.errors import Conflict, InvalidRequest, NotFound
from services.keys.records import ModelDetails, ModelRecord
from shared.catalogue import Deployment
from tests.unit.management_world import World


@pytest.fixture
def world():
    return World()


def groups_of(world, model_id):
    return world.state.deployments[model_id].access_groups


def declared(world, **groups):
    records = [
        ModelRecord(
            grant=Deployment(id=i, name=i, access_groups=tuple(g)),
            details=ModelDetails(declared_groups=tuple(g)),
        )
        for i, g in groups.items()
    ]
    plan = declare(world.state, records)
    world.state.fold(world.state.rev + 1, plan.writes)
    return plan.writes


# -- access groups


def test_a_group_is_put_on_models_by_name_or_id(world):
    answer = world.do("access_group/new", access_group="g", model_names=["gpt-4"])
    assert answer == {
        "access_group": "g",
        "model_names": ["gpt-4"],
        "model_ids": ["d1"],
        "models_updated": 1,
    }
    world.do("access_group/new", access_group="h", model_ids=["d2"], model_names=["ignored"])
    assert groups_of(world, "d1") == ("beta-models", "g")
    assert groups_of(world, "d2") == ("default-models", "h")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"access_group": "beta-models", "model_names": ["gpt-4"]}, Conflict),
        ({"access_group": "g"}, InvalidRequest),
        ({"access_group": "g", "model_names": ["gtp-4"]}, InvalidRequest),
        ({"access_group": "g", "model_ids": ["d9"]}, InvalidRequest),
        ({"access_group": "no-default-models", "model_names": ["gpt-4"]}, InvalidRequest),
        ({"access_group": "g*", "model_names": ["gpt-4"]}, InvalidRequest),
        ({"access_group": "!g", "model_names": ["gpt-4"]}, InvalidRequest),
    ],
)
def test_a_group_that_cannot_be_is_refused(world, body, error):
    with pytest.raises(error):
        world.plan("access_group/new", **body)


def test_an_update_is_one_change_from_the_old_models_to_the_new(world):
    world.do("access_group/new", access_group="g", model_names=["gpt-4"])
    call = "PUT /access_group/{access_group}/update"
    plan = world.plan(call, access_group="g", model_names=["openai/*"])
    assert {w.grant.id: "g" in w.grant.access_groups for w in plan.writes} == {
        "d1": False,
        "d2": True,
    }
    with pytest.raises(NotFound):
        world.plan(call, access_group="nowhere", model_names=["gpt-4"])


def test_a_declared_group_is_extended_and_not_shrunk(world):
    declared(world, a=["g"], b=[])
    update = "PUT /access_group/{access_group}/update"
    world.do(update, access_group="g", model_names=["a", "b"])
    assert world.see("/access_group/{access_group}/info", access_group="g")["source"] == "config"
    world.do(update, access_group="g", model_names=["a"])
    assert groups_of(world, "b") == ()
    for call, body in (
        (update, {"model_names": ["b"]}),
        ("DELETE /access_group/{access_group}/delete", {}),
    ):
        with pytest.raises(InvalidRequest, match="declared in the configuration"):
            world.plan(call, access_group="g", **body)


def test_groups_are_listed_with_their_source(world):
    world.do("access_group/new", access_group="made", model_names=["gpt-4"])
    rows = {r["access_group"]: r for r in world.see("/access_group/list")["access_groups"]}
    assert set(rows) == {"beta-models", "default-models", "made"}
    assert (rows["made"]["source"], rows["made"]["deployment_count"]) == ("stored", 1)
    assert rows["beta-models"]["source"] == "config"
    world.do("DELETE /access_group/{access_group}/delete", access_group="made")
    with pytest.raises(NotFound):
        world.see("/access_group/{access_group}/info", access_group="made")


# -- what the configuration declares


def test_a_new_configuration_keeps_what_was_done_at_run_time(world):
    declared(world, a=["g"], b=[])
    assert "d1" not in world.state.models
    world.do("access_group/new", access_group="made", model_names=["a"])
    world.do("model/block", model_id="b")
    params = {"model": "openai/x"}
    stored = world.do("model/new", model_name="stored", litellm_params=params)["model_id"]
    assert declared(world, a=["g"], b=[]) == ()
    declared(world, a=["h"], b=[], c=[])
    assert groups_of(world, "a") == ("h", "made")
    assert world.state.deployments["b"].blocked
    assert stored in world.state.models
    (gone,) = declared(world, a=["h"], b=[])
    assert (gone.of, gone.id) == ("model", "c")


# -- unified groups


def make(world, name="one", **body):
    return world.do("POST /v1/access_group", access_group_name=name, **body)


def test_a_unified_group_is_made_and_assigned(world):
    world.do("team/new", team_id="t")
    key = world.do("key/generate")
    answer = make(
        world,
        access_model_names=["gpt-4"],
        assigned_team_ids=["t"],
        assigned_key_ids=[key["key"]],
        description="d",
    )
    group = answer["access_group_id"]
    assert world.state.groups[group].grant.models == ("gpt-4",)
    assert world.state.teams["t"].grant.groups == (group,)
    assert world.grant(key).groups == (group,)
    shown = world.see("/v1/access_group/{access_group_id}", access_group_id=group)
    assert shown["assigned_team_ids"] == ["t"]
    assert shown["assigned_key_ids"] == [key["token"]]
    assert (shown["access_group_name"], shown["description"]) == ("one", "d")
    assert world.see("/v1/access_group") == [shown]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"access_group_name": "one"}, Conflict),
        ({"access_group_name": ""}, InvalidRequest),
        ({"access_group_name": "x", "access_model_names": ["!gpt-4"]}, InvalidRequest),
        ({"access_group_name": "x", "access_model_names": ["all-team-models"]}, InvalidRequest),
        ({"access_group_name": "x", "assigned_team_ids": ["nowhere"]}, NotFound),
        ({"access_group_name": "x", "assigned_key_ids": ["sk-unknown-key-0000"]}, NotFound),
    ],
)
def test_a_unified_group_that_cannot_be_is_refused(world, body, error):
    make(world)
    with pytest.raises(error):
        world.plan("POST /v1/access_group", **body)


def test_a_key_or_team_that_loses_its_last_group_does_not_open(world):
    world.do("team/new", team_id="t")
    key, narrow = world.do("key/generate"), world.do("key/generate", models=["gpt-4"])
    keys = [key["token"], narrow["token"]]
    group = make(world, assigned_team_ids=["t"], assigned_key_ids=keys)["access_group_id"]
    update = "PUT /v1/access_group/{access_group_id}"
    world.do(update, access_group_id=group, assigned_team_ids=[], assigned_key_ids=[])
    assert world.grant(key).groups == ()
    assert world.grant(key).models == ("no-default-models",)
    assert world.grant(narrow).models == ("gpt-4",)
    assert world.team_models("t") == ["no-default-models"]
    other = world.do("key/generate", access_group_ids=[group])
    world.do("key/update", key=other["key"], access_group_ids=[])
    assert world.grant(other).models == ("no-default-models",)
    world.do("key/update", key=other["key"], access_group_ids=[], models=[])
    assert world.grant(other).models == ()


def test_a_deleted_group_leaves_its_id_which_allows_nothing(world):
    group = make(world)["access_group_id"]
    key = world.do("key/generate", access_group_ids=[group])
    world.do("DELETE /v1/access_group/{access_group_id}", access_group_id=group)
    assert world.grant(key).groups == (group,)
    assert world.see("/key/list", dangling="true")["keys"] == [key["token"]]
    with pytest.raises(NotFound):
        world.see("/v1/access_group/{access_group_id}", access_group_id=group)


def test_keys_with_entries_that_stand_for_nothing_are_found(world):
    params = {"model": "openai/x"}
    model = world.do("model/new", model_name="soon-gone", litellm_params=params)["model_id"]
    fine = world.do("key/generate", models=["gpt-4"])
    key = world.do("key/generate", models=["gpt-4", "soon-gone"])
    assert world.see("/key/list", dangling="true")["keys"] == []
    world.do("model/delete", id=model)
    assert world.see("/key/list", dangling="true")["keys"] == [key["token"]]
    assert len(world.see("/key/list")["keys"]) == 2
    assert fine["warnings"] == []


def test_an_update_warns_of_what_is_gone_though_it_was_not_sent(world):
    group = make(world)["access_group_id"]
    key = world.do("key/generate", models=["gone"], access_group_ids=[group])
    world.do("team/new", team_id="t", models=["gone"], access_group_ids=[group])
    world.do("DELETE /v1/access_group/{access_group_id}", access_group_id=group)
    told = [
        "models: 'gone' is no configured model name, pattern or access group yet",
        f"access_group_ids: '{group}' does not exist and allows nothing",
    ]
    assert world.do("key/update", key=key["key"], max_budget=1)["warnings"] == told
    assert world.do("team/update", team_id="t", max_budget=1)["warnings"] == told
    assert world.do("key/update", key=key["key"], models=["gpt-4"])["warnings"] == told[1:]


def test_a_refused_name_of_a_unified_group_is_named_as_it_was_sent(world):
    with pytest.raises(InvalidRequest) as refused:
        make(world, access_model_names=["all-team-models"])
    assert refused.value.param == "access_model_names[0]"
