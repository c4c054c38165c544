import pytest

from services.keys.errors import Conflict, InvalidRequest, NotFound
from services.keys.user_requests import UserUpdate
from shared.credentials import is_wellformed
from tests.unit.management_world import World


@pytest.fixture
def world():
    return World()


def test_a_user_is_made_with_a_key(world):
    world.do("team/new", team_id="t")
    answer = world.do(
        "user/new",
        user_id="ann",
        user_email="ann@example.com",
        user_role="proxy_admin_viewer",
        models=["gpt-4"],
        teams=["t"],
        key_alias="anns",
    )
    assert is_wellformed(answer["key"])
    assert (answer["user_id"], answer["user_role"]) == ("ann", "proxy_admin_viewer")
    assert (answer["models"], answer["teams"]) == (["gpt-4"], ["t"])
    key = world.state.key_by_alias("anns").grant
    assert (key.user_id, key.models, key.team_id) == ("ann", ("gpt-4",), None)
    assert world.state.users["ann"].grant.models == ("gpt-4",)
    assert world.state.teams["t"].details.members_with_roles[0]["user_id"] == "ann"


def test_a_user_has_litellms_defaults(world):
    answer = world.do("user/new", auto_create_key=False)
    assert answer["user_id"].startswith("id-")
    assert (answer["user_role"], answer["models"], answer["key"]) == ("internal_user", [], None)
    assert not world.state.keys


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"user_id": "ann"}, Conflict),
        ({"user_email": "ann@example.com"}, Conflict),
        ({"user_id": ""}, InvalidRequest),
        ({"models": ["all-team-models"]}, InvalidRequest),
        ({"max_budget": -1}, InvalidRequest),
        ({"teams": ["nowhere"]}, NotFound),
    ],
)
def test_a_user_that_cannot_be_is_refused(world, body, error):
    world.do("user/new", user_id="ann", user_email="ann@example.com")
    with pytest.raises(error):
        world.plan("user/new", **body)


def test_an_update_changes_what_was_sent(world):
    world.do("user/new", user_id="ann", user_email="a@example.com", user_alias="Ann", models=["x"])
    answer = world.do("user/update", user_id="ann", user_role="proxy_admin", user_alias=None)
    assert answer["data"]["user_role"] == "proxy_admin"
    assert (answer["data"]["user_alias"], answer["data"]["models"]) == (None, ["x"])
    assert world.do("user/update", user_email="a@example.com", models=[])["data"]["models"] == []
    for body in ({}, {"user_id": "ann", "models": None}):
        with pytest.raises(InvalidRequest):
            world.plan("user/update", **body)
    for body in ({"user_id": "bob"}, {"user_email": "b@example.com"}):
        with pytest.raises(NotFound):
            world.plan("user/update", **body)


def test_every_field_that_can_be_sent_is_answered(world):
    answer = world.do("user/new", user_id="ann")
    assert set(UserUpdate.__struct_fields__) <= set(answer)


def test_a_user_goes_with_their_keys_and_memberships(world):
    world.do("team/new", team_id="t")
    world.do("user/new", user_id="ann", teams=["t"])
    world.do("key/generate", user_id="ann", team_id="t")
    kept = world.do("key/generate", user_id="bob", team_id="t")["token"]
    body = {"team_id": "t", "user_id": "ann", "allowed_models": ["gpt-4"]}
    world.do("team/member_update", **body)
    answer = world.do("user/delete", user_ids=["ann"])
    assert answer["deleted_users"] == ["ann"]
    assert [digest.hex() for digest in world.state.keys] == [kept]
    team = world.state.teams["t"]
    assert (team.details.members_with_roles, team.grant.member_models) == ([], {})
    assert "ann" not in world.state.users


def test_all_users_are_deleted_or_none(world):
    world.do("user/new", user_id="ann")
    for user_ids in ([], ["ann", "bob"]):
        with pytest.raises((InvalidRequest, NotFound)):
            world.plan("user/delete", user_ids=user_ids)


def test_a_user_is_shown_with_keys_and_teams(world):
    world.do("team/new", team_id="t")
    made = world.do("user/new", user_id="ann", teams=["t"])
    for shown in (
        world.see("/user/info", user_id="ann"),
        world.see("/user/info", by=made["key"]),
    ):
        assert shown["user_info"]["user_id"] == "ann"
        assert [key["token"] for key in shown["keys"]] == [made["token"]]
        assert [team["team_id"] for team in shown["teams"]] == ["t"]
    assert world.see("/v2/user/info", user_id="ann")["teams"] == ["t"]
    nobody = world.do("key/generate")
    assert world.see("/user/info", by=nobody["key"])["keys"][0]["token"] == nobody["token"]
    with pytest.raises(NotFound):
        world.see("/user/info", user_id="bob")


def test_users_are_listed_in_pages_and_by_filters(world):
    world.do("team/new", team_id="t")
    for name in ("ann", "bob", "eve"):
        world.now += 1
        role = "proxy_admin" if name == "bob" else "internal_user"
        teams = ["t"] if name == "eve" else []
        world.do("user/new", user_id=name, user_role=role, user_email=f"{name}@x", teams=teams)

    def listed(**query):
        return [user["user_id"] for user in world.see("/user/list", **query)["users"]]

    assert listed() == ["eve", "bob", "ann"]
    assert listed(page_size="2", page="2") == ["ann"]
    assert listed(role="proxy_admin") == ["bob"]
    assert listed(user_ids="ann,eve,nobody") == ["eve", "ann"]
    assert listed(user_email="bob@") == ["bob"]
    assert listed(team="t") == ["eve"]
    assert listed(team="nowhere") == []
    assert world.see("/user/list")["users"][0]["key_count"] == 1
    assert [user["teams"] for user in world.see("/user/list")["users"]] == [["t"], [], []]


def test_an_address_is_one_address_in_any_letter_case(world):
    world.do("user/new", user_id="ann", user_email="Ann@Example.com")
    with pytest.raises(Conflict):
        world.plan("user/new", user_email="ann@example.COM")
    world.do("user/update", user_id="ann", user_email="ann@example.com")
    (found,) = world.see("/user/list", user_email="ANN@")["users"]
    assert found["user_id"] == "ann"


def test_users_are_found_by_the_id_of_their_single_sign_on(world):
    world.do("user/new", user_id="ann", sso_user_id="s-1")
    world.do("user/new", user_id="bob")
    found = world.see("/user/list", sso_user_ids="s-1,s-2")["users"]
    assert [user["user_id"] for user in found] == ["ann"]


def test_many_users_are_changed_at_once_and_those_that_cannot_be_are_told(world):
    world.do("team/new", team_id="t")
    for name in ("ann", "bob", "eve"):
        world.do("user/new", user_id=name, user_email=f"{name}@x", teams=["t"])
    asked = [
        {"user_id": "ann", "models": ["gpt-4"]},
        {"user_email": "bob@x", "user_role": "proxy_admin_viewer"},
        {"user_id": "bob", "user_alias": "again"},
        {"user_id": "eve", "models": None},
        {"user_id": "nobody"},
        {"user_id": "eve", "user_email": "BOB@x"},
    ]
    answer = world.do("user/bulk_update", users=asked)
    counts = [answer[each] for each in ("total_requested", "successful_updates", "failed_updates")]
    assert counts == [6, 2, 4]
    assert [result["success"] for result in answer["results"]] == [True, True] + [False] * 4
    ann, bob, *failed = answer["results"]
    assert (ann["updated_user"]["models"], ann["updated_user"]["teams"]) == (["gpt-4"], ["t"])
    assert (bob["user_id"], bob["updated_user"]["user_role"]) == ("bob", "proxy_admin_viewer")
    assert all(result["error"] and result["updated_user"] is None for result in failed)
    assert world.state.users["ann"].grant.models == ("gpt-4",)
    assert world.state.users["bob"].details.user_alias is None
    assert world.state.users["eve"].details.user_email == "eve@x"


def test_no_two_users_get_one_address_in_one_call(world):
    for name in ("ann", "bob"):
        world.do("user/new", user_id=name)
    asked = [{"user_id": name, "user_email": "the@same"} for name in ("ann", "bob")]
    results = world.do("user/bulk_update", users=asked)["results"]
    assert [result["success"] for result in results] == [True, False]


def test_all_users_are_changed_alike(world):
    for name in ("ann", "bob"):
        world.do("user/new", user_id=name)
    world.do("user/bulk_update", all_users=True, user_updates={"models": ["gpt-4"]})
    assert {user.grant.models for user in world.state.users.values()} == {("gpt-4",)}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "users"),
        ({"users": []}, "users"),
        ({"users": [{"user_id": "ann"}] * 501}, "users"),
        ({"all_users": True}, "all_users"),
        ({"all_users": True, "user_updates": {}, "users": [{"user_id": "ann"}]}, "all_users"),
        ({"all_users": True, "user_updates": {"user_id": "ann"}}, "user_updates"),
    ],
)
def test_a_bulk_update_says_whom(world, body, param):
    world.do("user/new", user_id="ann")
    with pytest.raises(InvalidRequest) as caught:
        world.plan("user/bulk_update", **body)
    assert caught.value.param == param
