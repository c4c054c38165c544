import pytest

from services.keys.errors import NotFound, WrongFields
from tests.unit.management_world import NOW, World


@pytest.fixture
def world():
    return World()


def listed(world, now=NOW, **query):
    world.now, before = now, world.now
    try:
        return world.see("/key/list", **query)
    finally:
        world.now = before


def test_key_info_echoes_the_key_and_hides_the_digest(world):
    made = world.do("key/generate", models=["gpt-4"])
    answer = world.see("/key/info", key=made["key"])
    assert answer["key"] == made["key"]
    assert "token" not in answer["info"]
    assert answer["info"]["models"] == ["gpt-4"]


@pytest.mark.parametrize("query", [{}, {"key": ""}, {"key": "sk-x"}, {"key": "0" * 64}])
def test_key_info_of_no_key_is_not_found(world, query):
    with pytest.raises(NotFound):
        world.see("/key/info", **query)


def test_a_status_is_active_expired_or_revoked(world):
    keys = [world.do("key/generate", **body) for body in ({}, {"duration": "1h"})]
    blocked = world.do("key/generate", blocked=True)
    later = NOW + 3600
    assert listed(world, later, status="active")["keys"] == [keys[0]["token"]]
    assert listed(world, later, status="expired")["keys"] == [keys[1]["token"]]
    assert listed(world, later, status="revoked")["keys"] == [blocked["token"]]
    assert listed(world, later, status="deleted")["keys"] == []


def test_expiry_is_asked_for_apart_from_the_status(world):
    plain, short, blocked, both = (
        world.do("key/generate", user_id="u", **body)["token"]
        for body in ({}, {"duration": "1h"}, {"blocked": True}, {"blocked": True, "duration": "1h"})
    )
    later = NOW + 3600
    for narrowed in ({}, {"user_id": "u"}):  # over every key, and over some

        def keys(now=later, narrowed=narrowed, **query):
            found = listed(world, now, **query, **narrowed)
            assert found["total_count"] == len(found["keys"])
            return set(found["keys"])

        assert keys(expires="active") == {plain, blocked}
        assert keys(expires="expired") == {short, both}
        assert keys(NOW, expires="active") == {plain, short, blocked, both}
        assert keys(NOW, expires="expired") == set()
        assert keys(expires="active", status="active") == {plain}
        assert keys(expires="active", status="revoked") == {blocked}
        assert keys(expires="expired", status="revoked") == {both}
        assert keys(expires="expired", status="active") == set()
    with pytest.raises(WrongFields):
        listed(world, expires="soon")


def test_pages_cut_the_list_newest_first(world):
    made = []
    for _ in range(5):
        made.append(world.do("key/generate")["token"])
        world.now += 1
    first, last = listed(world, size="2"), listed(world, size="2", page="3")
    assert first["keys"] == [made[4], made[3]]
    assert last["keys"] == [made[0]]
    assert (first["total_count"], first["current_page"], first["total_pages"]) == (5, 1, 3)
    assert listed(world, size="2", page="9")["keys"] == []
    assert listed(world, sort_order="asc", size="1")["keys"] == [made[0]]


def test_filters_narrow_the_list(world):
    world.do("team/new", team_id="t1", members_with_roles=[{"role": "admin", "user_id": "boss"}])
    one = world.do(
        "key/generate",
        user_id="u1",
        key_alias="alpha",
        team_id="t1",
        organization_id="o",
        project_id="p",
        agent_id="a",
        access_group_ids=["g"],
    )["token"]
    two = world.do("key/generate", user_id="u2", key_alias="beta", max_budget=1)["token"]
    only_one = [
        {"user_id": "u1"},
        {"key_alias": "alpha"},
        {"key_alias": "lph", "substring_matching": "true"},
        {"team_id": "t1"},
        {"organization_id": "o"},
        {"project_id": "p"},
        {"agent_id": "a"},
        {"access_group_id": "g"},
        {"key_hash": one},
        {"search": "alp"},
        {"search": one[:12]},
        {"user_id": "boss", "include_team_keys": "true"},
    ]
    for query in only_one:
        assert listed(world, **query)["keys"] == [one], query
    for query in ({"key_alias": "alp"}, {"user_id": "boss"}, {"key_hash": "f" * 64}):
        assert listed(world, **query)["keys"] == [], query
    everyones = listed(world, user_id="master_key", include_created_by_keys="true")
    assert everyones["total_count"] == 2
    for field in ("max_budget", "key_alias", "token", "spend", "updated_at"):
        assert set(listed(world, sort_by=field)["keys"]) == {one, two}
    assert listed(world, sort_by="max_budget")["keys"] == [two, one]
    assert listed(world, sort_by="key_alias", sort_order="asc")["keys"] == [one, two]


def test_full_objects_have_the_digest_and_no_secret(world):
    made = world.do("key/generate")
    (row,) = listed(world, return_full_object="true")["keys"]
    assert row["token"] == made["token"]
    assert "key" not in row


def info(world, **query):
    return world.see("/team/info", **query)


def test_team_info_has_the_keys(world):
    world.do("team/new", team_id="t1", team_alias="one")
    keys = [world.do("key/generate", team_id="t1")["token"] for _ in range(3)]
    answer = info(world, team_id="t1")
    assert (answer["team_id"], answer["team_info"]["team_alias"]) == ("t1", "one")
    assert [key["token"] for key in answer["keys"]] == keys
    assert answer["team_memberships"] == []
    assert len(info(world, team_id="t1", key_limit="2")["keys"]) == 2
    with pytest.raises(NotFound):
        info(world, team_id="nope")


def test_team_list_filters_by_member_and_organisation(world):
    world.do("team/new", team_id="t1", members_with_roles=[{"role": "user", "user_id": "u1"}])
    world.do("team/new", team_id="t2", organization_id="o1")
    world.do("key/generate", team_id="t2")

    def teams(**query):
        rows = world.see("/team/list", **query)
        return [(row["team_id"], len(row["keys"])) for row in rows]

    assert teams() == [("t1", 0), ("t2", 1)]
    assert teams(user_id="u1") == [("t1", 0)]
    assert teams(organization_id="o1") == [("t2", 1)]
    assert teams(user_id="u2") == []
