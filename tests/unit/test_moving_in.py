"""What is taken over: what is missing, once; and what will be decided differently, with why."""

import json

import msgspec
import pytest

from services.keys import litellm_differences as why
from services.keys.errors import AlreadyTaken, InvalidRequest
from services.keys.litellm_differences import differences
from services.keys.litellm_rows import read_row
from services.keys.log import Origin, make_entry, read_entry
from services.keys.moving_in import (
    check_distinct,
    fate,
    in_changes,
    model_record,
    next_position,
    take_over,
)
from services.keys.records import KeyRecord
from shared.changes import GENESIS, MAX_CHANGE_BYTES, encode_change
from shared.credentials import Secret
from tests.unit.management_world import World
from tests.unit.test_litellm_rows import GROUP, KEY, MODEL, TEAM, USER, read


@pytest.fixture(name="world")
def _world():
    return World()


def key(n=1, **fields):
    return read(KEY, token=Secret(f"sk-key-number-{n}").digest().hex(), **fields)


def model(world, **fields):
    row = read_row(json.dumps({**MODEL, **fields}).encode())
    return model_record(row, world.context(), next_position(world.state))


def take(world, *records, replace=False):
    plan = take_over(world.state, records, world.context(), replace=replace)
    world.state.fold(world.state.rev + 1, plan.writes)
    return plan.writes


def test_a_second_time_changes_nothing(world):
    records = [read(TEAM), read(USER), read(GROUP), key(), model(world)]
    assert take(world, *records) == tuple(records)
    again = [read(TEAM), read(USER), read(GROUP), key(), model(world)]
    assert take(world, *again) == ()
    assert take(world, *again, replace=True) == ()


def test_what_was_changed_here_stays_unless_it_is_to_be_replaced(world):
    take(world, key())
    world.do("key/block", key="sk-key-number-1")
    assert take(world, key()) == ()
    assert world.state.keys[key().grant.id].grant.blocked
    assert fate(world.state, key(), world.context(), replace=False).what == "kept"
    assert take(world, key(), replace=True) == (key(),)


def test_a_model_is_sealed_and_served_and_replaced_by_another_credential(world):
    params = {"model": "openai/gpt-4", "api_key": "sk-of-upstream"}
    first = model(world, litellm_params=params, model_info={"access_groups": ["g"]})
    take(world, first)
    assert b"sk-of-upstream" not in msgspec.msgpack.encode(first)
    assert [d.id for d in world.state.catalogue.serving("gpt-4")] == ["d1", "m"]
    same = model(world, litellm_params=params, model_info={"access_groups": ["g"]})
    assert same.details.sealed != first.details.sealed
    assert take(world, same, replace=True) == ()
    other = {**params, "api_key": "sk-another"}
    (written,) = take(world, model(world, litellm_params=other), replace=True)
    assert (written.grant.version, written.grant.position) == (2, first.grant.position)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"litellm_params": {}}, "model"),
        ({"model_info": {"team_id": "t"}}, "team_id"),
        (
            {"litellm_params": {"model": "openai/x", "api_key": "os.environ/GRANTGATE_SALT_KEY"}},
            "not for",
        ),
    ],
)
def test_a_model_that_cannot_be_here_is_refused_as_model_new_would(world, fields, told):
    with pytest.raises(InvalidRequest, match=told):
        model(world, **fields)


def test_a_model_of_a_provider_not_spoken_here_moves_in_with_the_rest(world):
    params = {"model": "bedrock/anthropic.claude"}
    with pytest.raises(InvalidRequest, match="bedrock"):
        world.plan("model/new", model_name="m", litellm_params=params)
    assert take(world, moved := model(world, litellm_params=params)) == (moved,)


def test_names_that_are_taken_here_are_refused(world):
    world.do("key/generate", key_alias="taken")
    with pytest.raises(AlreadyTaken) as caught:
        take(world, key(key_alias="taken"))
    assert caught.value.param == "key_alias"
    world.reserved = frozenset({key().grant.id})
    with pytest.raises(AlreadyTaken):
        take(world, key())
    take(world, key(2))
    world.do("key/regenerate", key="sk-key-number-2", grace_period="1h")
    with pytest.raises(AlreadyTaken):
        take(world, key(2))


def test_two_rows_about_the_same_thing_are_refused():
    rows = [key(), key(), key(2, key_alias="a"), key(3, key_alias="a"), read(TEAM), read(TEAM)]
    found = [(n, str(bad)) for n, bad in check_distinct(enumerate(rows, 1))]
    assert found == [
        (2, "the id: is that of row 1"),
        (4, "key_alias: is that of row 3"),
        (6, "the id: is that of row 5"),
    ]


def test_a_key_can_be_changed_whose_alias_could_not_be_chosen_here(world):
    take(world, key(key_alias="an old alias!"))
    world.do("key/update", key="sk-key-number-1", models=["openai/x"])
    with pytest.raises(InvalidRequest):
        world.plan("key/update", key="sk-key-number-1", key_alias="another one!")


def test_many_records_make_few_changes_that_each_fit():
    one = key(models=["gpt-4", "openai/*"])
    records = [
        KeyRecord(
            grant=msgspec.structs.replace(one.grant, id=n.to_bytes(32)),
            details=msgspec.structs.replace(one.details, key_alias=f"alias-{n}"),
        )
        for n in range(20_000)
    ]
    parts = list(in_changes(records))
    assert [record for part in parts for record in part] == records
    assert len(parts) <= 4
    origin = Origin(op_id="o", at=0.0, actor="import", request_id="import", reason="import")
    for part in parts:
        entry = make_entry(1, GENESIS, part, origin)
        assert len(encode_change(entry.as_change())) <= MAX_CHANGE_BYTES
        assert read_entry(entry, GENESIS)[0] == tuple(part)


def test_large_metadata_makes_more_changes():
    records = [key(metadata={"text": "x" * 1_000_000})] * 20
    assert len(list(in_changes(records))) >= 3


@pytest.mark.parametrize(
    ("record", "reasons"),
    [
        (key(), []),
        (key(max_budget=1.0), [why.NOT_LIMITED]),
        (key(rpm_limit=1), [why.NOT_LIMITED]),
        (key(team_id="nowhere"), [why.NO_TEAM]),
        (key(models=["all-team-models"]), [why.NO_TEAM_FOR_SENTINEL]),
        (key(models=["all-team-models"], team_id="t"), []),
        (key(organization_id="o"), [why.ORGANISATION]),
        (key(project_id="p"), [why.ORGANISATION]),
        (key(config={"a": 1}), [why.CONFIG]),
        (key(models=[], access_group_ids=["g"]), [why.GROUPS_ALONE]),
        (key(access_group_ids=["g"]), []),
        (key(access_group_ids=["gone"]), [why.GROUP_UNKNOWN]),
        (key(models=["!gpt-4"]), [why.DENIAL]),
        (key(models=["aa|openai/*"]), [why.LITERAL]),
        (key(models=["openai/gpt-3.5*"]), []),
        (key(models=["openai/*"]), [why.PROVIDER]),
        (key(models=["openai/*", "gpt-4"]), []),
        (key(models=["openai/*", "beta-models"]), []),
        (key(models=["openai/o*"]), []),
        (key(models=["azure/*"]), [why.PROVIDER]),
        (read(TEAM, models=["gpt-4"], model_aliases={"a": "gpt-4"}), []),
        (read(TEAM, models=["gpt-4"], model_aliases={"a": "openai/x"}), [why.ALIAS]),
        (read(TEAM, organization_id="o"), [why.ORGANISATION]),
        (read(USER, metadata={"scim_active": False}), [why.DEACTIVATED]),
        (read(USER, metadata={"scim_active": True}), []),
    ],
)
def test_what_is_decided_differently_is_told(world, record, reasons):
    take(world, read(TEAM), read(GROUP))
    assert list(differences(world.state, record)) == reasons
