import msgspec
import pytest

from services.keys.errors import AlreadyTaken, InvalidRequest, NotFound
from shared.changes import RetiredKey, Tombstone
from shared.credentials import Secret
from tests.unit.management_world import NOW, World


@pytest.fixture
def world():
    return World()


def digest(secret):
    return Secret(secret).digest()


def test_a_key_keeps_everything_but_its_secret(world):
    made = world.do("key/generate", models=["gpt-4"], key_alias="one", metadata={"a": 1})
    world.now += 60
    answer = world.do("key/regenerate", key=made["key"])
    assert answer["key"] != made["key"]
    assert answer["token"] == digest(answer["key"]).hex()
    assert answer["key_name"] == "sk-..." + answer["key"][-4:]
    new = {"key", "token", "token_id", "key_name", "updated_at", "old_key_works_until"}
    assert {f: v for f, v in answer.items() if f not in new} == {
        f: v for f, v in made.items() if f not in new
    }
    assert list(world.state.keys) == [digest(answer["key"])]
    assert not world.state.retired
    assert world.state.key_by_alias("one").grant.id == digest(answer["key"])


def test_the_fields_that_are_sent_are_changed_with_it(world):
    made = world.do("key/generate", models=["gpt-4"], key_alias="one")
    answer = world.do("key/regenerate", key=made["token"], models=["openai/*"], key_alias="two")
    assert (answer["models"], answer["key_alias"]) == (["openai/*"], "two")
    assert world.do("key/regenerate", key=answer["key"], models=None)["models"] == ["openai/*"]


def test_a_new_secret_can_be_chosen_when_nobody_has_it(world):
    made, other = world.do("key/generate"), world.do("key/generate")
    for taken in (made["key"], other["key"]):
        with pytest.raises(AlreadyTaken):
            world.plan("key/regenerate", key=made["key"], new_key=taken)
    answer = world.do("key/regenerate", key=made["key"], new_key="sk-of-my-own-choice")
    assert answer["key"] == "sk-of-my-own-choice"


def test_the_old_secret_stands_for_the_key_until_its_grace_period_ends(world):
    made = world.do("key/generate")
    plan = world.plan("key/regenerate", key=made["key"], grace_period="24h")
    new = plan.answer["key"]
    retired = RetiredKey(id=digest(made["key"]), successor=digest(new), until=NOW + 86400)
    assert plan.writes[0] == retired
    assert len(plan.writes) == 2
    assert plan.answer["old_key_works_until"] == "2026-01-02T00:00:00.000Z"
    world.state.fold(2, plan.writes)
    assert world.state.retired_of(digest(new)) == [retired]
    assert list(world.state.keys) == [digest(new)]
    with pytest.raises(AlreadyTaken):
        world.plan("key/generate", key=made["key"])


@pytest.mark.parametrize("grace", [None, "", "0", "0s"])
def test_without_a_grace_period_the_old_secret_ends_at_once(world, grace):
    made = world.do("key/generate")
    plan = world.plan("key/regenerate", key=made["key"], grace_period=grace)
    assert plan.writes[0] == Tombstone(of="key", id=digest(made["key"]))


@pytest.mark.parametrize("grace", ["soon", "-1", "24"])
def test_a_grace_period_that_is_none_is_refused(world, grace):
    made = world.do("key/generate")
    with pytest.raises(InvalidRequest) as caught:
        world.plan("key/regenerate", key=made["key"], grace_period=grace)
    assert caught.value.param == "grace_period"


def test_older_secrets_stand_for_the_newest_key_and_never_longer_than_before(world):
    first = world.do("key/generate")["key"]
    second = world.do("key/regenerate", key=first, grace_period="1h")["key"]
    third = world.do("key/regenerate", key=second, grace_period="2h")["key"]
    until = {r.id: r.until - NOW for r in world.state.retired_of(digest(third))}
    assert until == {digest(first): 3600, digest(second): 7200}
    world.now += 3600
    fourth = world.do("key/regenerate", key=third, grace_period="1h")["key"]
    until = {r.id: r.until - NOW for r in world.state.retired_of(digest(fourth))}
    assert until == {digest(second): 7200, digest(third): 7200}
    world.do("key/regenerate", key=fourth)
    assert not world.state.retired


def test_old_secrets_go_with_their_key_and_can_go_before_it(world):
    made = world.do("key/generate")
    new = world.do("key/regenerate", key=made["key"], grace_period="1h")["key"]
    newer = world.do("key/regenerate", key=new, grace_period="1h")["key"]
    assert world.do("key/delete", keys=[made["token"]]) == {"deleted_keys": [made["token"]]}
    assert [r.id for r in world.state.retired_of(digest(newer))] == [digest(new)]
    world.do("key/delete", keys=[newer])
    assert not world.state.keys
    assert not world.state.retired


def test_what_cannot_be_regenerated_is_refused(world):
    with pytest.raises(NotFound):
        world.plan("key/regenerate", key="sk-unknown-key-0000")
    made = world.do("key/generate")
    with pytest.raises(InvalidRequest):
        world.plan("key/regenerate", key=made["key"], new_master_key="sk-x")
    world.do("key/regenerate", key=made["key"], grace_period="1h")
    with pytest.raises(NotFound):
        world.plan("key/regenerate", key=made["key"])


def test_no_secret_is_written(world):
    made = world.do("key/generate")
    plan = world.plan("key/regenerate", key=made["key"], grace_period="1h")
    written = msgspec.msgpack.encode(plan.writes)
    assert made["key"].encode() not in written
    assert plan.answer["key"].encode() not in written


# -- many keys at once


def test_many_keys_are_changed_in_one_change_and_failures_are_told_apart(world):
    world.do("team/new", team_id="t")
    keys = [world.do("key/generate")["key"] for _ in range(3)]
    plan = world.plan(
        "key/bulk_update",
        keys=[
            {"key": keys[0], "team_id": "t", "tags": ["x"]},
            {"key": keys[1], "team_id": "nowhere"},
            {"key": "sk-unknown-key-0000"},
            {"key": keys[0], "max_budget": 1},
            {"key": keys[2], "max_budget": 5},
        ],
    )
    answer = plan.answer
    assert answer["total_requested"] == 5
    assert [done["key"] for done in answer["successful_updates"]] == [keys[0], keys[2]]
    assert answer["successful_updates"][0]["key_info"]["team_id"] == "t"
    assert [failed["key"] for failed in answer["failed_updates"]] == [
        keys[1],
        "sk-unknown-key-0000",
        keys[0],
    ]
    assert "nowhere" in answer["failed_updates"][0]["failed_reason"]
    assert [write.grant.id for write in plan.writes] == [digest(keys[0]), digest(keys[2])]


@pytest.mark.parametrize("count", [0, 501])
def test_a_bulk_update_has_its_limits(world, count):
    with pytest.raises(InvalidRequest):
        world.plan("key/bulk_update", keys=[{"key": "sk-x"}] * count)


def test_a_service_account_belongs_to_its_team_alone(world):
    world.do("team/new", team_id="t")
    made = world.do("key/service-account/generate", team_id="t")
    assert (made["team_id"], made["user_id"]) == ("t", None)
    for body in ({}, {"team_id": "t", "user_id": "u"}):
        with pytest.raises(InvalidRequest):
            world.plan("key/service-account/generate", **body)


def test_several_keys_are_shown_at_once(world):
    one, two = world.do("key/generate"), world.do("key/generate")
    shown = world.see("/v2/key/info", keys=[one["key"], "sk-unknown-key-0000", two["token"]])
    assert shown["key"] == [one["key"], two["token"]]
    assert [row["token"] for row in shown["info"]] == [one["token"], two["token"]]
    with pytest.raises(NotFound):
        world.see("/v2/key/info", keys=["sk-unknown-key-0000"])


def test_a_key_asks_about_itself(world):
    made = world.do("key/generate", models=["gpt-4"])
    shown = world.see("/key/info", by=made["key"])
    assert (shown["key"], shown["info"]["models"]) == (made["token"], ["gpt-4"])
    assert world.see("/key/health", by=made["key"])["key"] == "healthy"


def test_aliases_are_listed_in_their_order(world):
    for alias in ("zebra", "apple", "pineapple"):
        world.do("key/generate", key_alias=alias)
    world.do("key/generate")
    listed = world.see("/key/aliases", size="2")
    assert listed["aliases"] == ["apple", "pineapple"]
    assert (listed["total_count"], listed["total_pages"]) == (3, 2)
    assert world.see("/key/aliases", search="apple")["aliases"] == ["apple", "pineapple"]


def test_a_secret_that_cannot_be_is_refused_as_new_key():
    world = World()
    made = world.do("key/generate")["key"]
    for chosen in ("sk-1", made, "sk-gg-without-a-valid-checksum"):
        with pytest.raises((InvalidRequest, AlreadyTaken)) as refused:
            world.plan("key/regenerate", key=made, new_key=chosen)
        assert refused.value.param == "new_key"
