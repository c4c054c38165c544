import pytest

from services.keys.errors import AlreadyMember, InvalidRequest, NotFound
from tests.unit.management_world import World


@pytest.fixture
def world():
    world = World()
    world.do("team/new", team_id="t", models=["gpt-4", "openai/*"])
    world.do("user/new", user_id="ann", user_email="ann@example.com", auto_create_key=False)
    return world


def add(world, user="bob", **more):
    member = {"role": "user", "user_id": user}
    return world.do("team/member_add", team_id="t", member=member, **more)


def grant(world):
    return world.state.teams["t"].grant


def test_a_member_is_added_with_a_list_of_their_own(world):
    answer = add(world, allowed_models=["gpt-4"], max_budget_in_team=5, rpm_limit=3)
    assert grant(world).member_models == {"bob": ("gpt-4",)}
    (row,) = answer["updated_team_memberships"]
    assert (row["user_id"], row["allowed_models"]) == ("bob", ["gpt-4"])
    assert row["litellm_budget_table"]["max_budget"] == 5
    assert answer["members_with_roles"] == [{"role": "user", "user_id": "bob", "user_email": None}]
    assert answer["updated_users"] == [{"user_id": "bob"}]
    (row,) = world.see("/team/info", team_id="t")["team_memberships"]
    assert row["rpm_limit"] == 3


def test_several_are_added_at_once_by_id_and_address(world):
    members = [{"role": "user", "user_email": "ann@example.com"}, {"role": "admin", "user_id": "b"}]
    answer = world.do("team/member_add", team_id="t", member=members)
    assert [m["user_id"] for m in answer["members_with_roles"]] == ["ann", "b"]
    for nobody in ({"role": "user"}, {"role": "user", "user_email": "x@example.com"}):
        with pytest.raises(InvalidRequest):
            world.plan("team/member_add", team_id="t", member=nobody)


@pytest.mark.parametrize("call", ["team/new", "team/update"])
def test_a_team_is_made_with_members_by_address(world, call):
    team_id = "t" if call == "team/update" else "new"
    members = [
        {"role": "user", "user_email": "ann@example.com"},
        {"role": "user", "user_id": "bob"},
        {"role": "admin", "user_id": "ann"},
    ]
    world.do(call, team_id=team_id, members_with_roles=members)
    team = world.see("/team/info", team_id=team_id)["team_info"]
    found = [(m["user_id"], m["role"]) for m in team["members_with_roles"]]
    assert found == [("ann", "admin"), ("bob", "user")]
    member = {"role": "user", "user_email": "ann@example.com"}
    with pytest.raises(AlreadyMember, match="user_id=ann"):
        world.plan("team/member_add", team_id=team_id, member=member)


@pytest.mark.parametrize("role", ["user", "admin"])
@pytest.mark.parametrize("several", [False, True])
def test_to_add_members_again_changes_nothing_of_them(world, role, several):
    add(world, allowed_models=["gpt-4"])
    bob = {"role": role, "user_id": "bob"}
    again = {"team_id": "t", "member": [bob] if several else bob, "allowed_models": []}
    with pytest.raises(AlreadyMember) as caught:
        world.plan("team/member_add", **again)
    assert caught.value.param == "member"


def test_of_several_those_who_are_no_members_yet_are_added(world):
    add(world, allowed_models=["gpt-4"])
    new = {"role": "user", "user_email": "ann@example.com"}
    members = [{"role": "admin", "user_id": "bob"}, new, {**new, "role": "admin"}]
    answer = world.do("team/member_add", team_id="t", member=members, allowed_models=["openai/*"])
    found = [(m["user_id"], m["role"]) for m in answer["members_with_roles"]]
    assert found == [("bob", "user"), ("ann", "user")]
    assert answer["updated_users"] == [{"user_id": "ann"}]
    assert [row["user_id"] for row in answer["updated_team_memberships"]] == ["ann"]
    assert grant(world).member_models == {"bob": ("gpt-4",), "ann": ("openai/*",)}


def test_no_more_are_added_at_once_than_in_litellm(world):
    members = [{"role": "user", "user_id": f"u{number}"} for number in range(501)]
    for call, field in (("team/member_add", "member"), ("team/bulk_member_add", "members")):
        with pytest.raises(InvalidRequest) as caught:
            world.plan(call, team_id="t", **{field: members})
        assert caught.value.param == field
    world.do("team/member_add", team_id="t", member=members[:500])


def test_a_teams_default_list_is_what_new_members_get(world):
    world.do("team/update", team_id="t", default_team_member_models=["gpt-4"])
    add(world)
    add(world, "eve", allowed_models=["openai/*"])
    assert grant(world).member_models == {"bob": ("gpt-4",), "eve": ("openai/*",)}


def test_everybody_can_be_added(world):
    world.do("user/new", user_id="eve", auto_create_key=False)
    answer = world.do("team/bulk_member_add", team_id="t", all_users=True)
    assert [m["user_id"] for m in answer["members_with_roles"]] == ["ann", "eve"]
    again = world.do("team/bulk_member_add", team_id="t", all_users=True)
    assert (again["updated_users"], again["total_requested"]) == ([], 2)


def test_an_update_keeps_what_was_not_sent_and_null_takes_the_list_away(world):
    add(world, allowed_models=["gpt-4"], max_budget_in_team=5)
    answer = world.do("team/member_update", team_id="t", user_id="bob", tpm_limit=9, role="admin")
    assert (answer["max_budget_in_team"], answer["tpm_limit"]) == (5, 9)
    assert (answer["allowed_models"], answer["role"]) == (["gpt-4"], "admin")
    answer = world.do("team/member_update", team_id="t", user_id="bob", allowed_models=None)
    assert answer["allowed_models"] is None
    assert grant(world).member_models == {}
    answer = world.do("team/member_update", team_id="t", user_id="bob", allowed_models=[])
    assert (answer["allowed_models"], grant(world).member_models) == ([], {"bob": ()})


def test_who_leaves_a_team_loses_their_keys_in_it_and_no_others(world):
    add(world, allowed_models=["gpt-4"])
    add(world, "eve")
    kept = [
        world.do("key/generate", user_id="bob")["token"],
        world.do("key/generate", user_id="eve", team_id="t")["token"],
    ]
    world.do("key/generate", user_id="bob", team_id="t")
    answer = world.do("team/member_delete", team_id="t", user_id="bob")
    assert [m["user_id"] for m in answer["members_with_roles"]] == ["eve"]
    assert grant(world).member_models == {}
    assert [digest.hex() for digest in world.state.keys] == kept


def test_a_member_has_the_address_of_the_user_they_are(world):
    rows = add(world, "ann")["members_with_roles"]
    assert rows == [{"role": "user", "user_id": "ann", "user_email": "ann@example.com"}]
    members = [{"role": "user", "user_id": "ann"}]
    assert world.do("team/new", members_with_roles=members)["members_with_roles"] == rows
    world.do("user/update", user_id="ann", user_email="ann@example.org")
    world.do("user/new", user_id="eve", user_email="ann@example.com", auto_create_key=False)
    add(world, "eve")
    answer = world.do("team/member_delete", team_id="t", user_email="ann@example.com")
    assert [m["user_id"] for m in answer["members_with_roles"]] == ["ann"]


def test_a_members_temporary_budget_is_kept(world):
    add(world)
    until = "2027-01-01T00:00:00Z"
    sent = {"temp_budget_increase": 5, "temp_budget_expiry": until}
    answer = world.do("team/member_update", team_id="t", user_id="bob", **sent)
    assert (answer["temp_budget_increase"], answer["temp_budget_expiry"]) == (5, until)
    for wrong in ({"temp_budget_increase": 5}, sent | {"temp_budget_expiry": "soon"}):
        with pytest.raises(InvalidRequest):
            world.plan("team/member_update", team_id="t", user_id="bob", **wrong)


@pytest.mark.parametrize("call", ["team/member_update", "team/member_delete"])
def test_who_is_no_member_is_not_found(world, call):
    for named in ({"user_id": "bob"}, {"user_email": "ann@example.com"}):
        with pytest.raises(NotFound):
            world.plan(call, team_id="t", **named)
    with pytest.raises(InvalidRequest):
        world.plan(call, team_id="t")
    with pytest.raises(NotFound):
        world.plan(call, team_id="nowhere", user_id="bob")


def test_permissions_are_litellms_words(world):
    answer = world.see("/team/permissions_list", team_id="t")
    assert answer["team_member_permissions"] == ["/key/info", "/key/health"]
    assert "/key/generate" in answer["all_available_permissions"]
    sent = ["/key/generate", "/key/update"]
    world.do("team/permissions_update", team_id="t", team_member_permissions=sent)
    assert world.see("/team/permissions_list", team_id="t")["team_member_permissions"] == sent
    for call, team in (
        ("team/permissions_update", {"team_id": "t"}),
        ("team/update", {"team_id": "t"}),
        ("team/new", {}),
    ):
        with pytest.raises(InvalidRequest) as caught:
            world.plan(call, **team, team_member_permissions=["/key/info", "/key/fly"])
        assert caught.value.param == "team_member_permissions[1]"


def test_teams_are_listed_in_pages(world):
    for number in range(3):
        world.now += 1
        world.do("team/new", team_id=f"t{number}", team_alias=f"Team {number}")
    page = world.see("/v2/team/list", page_size="2")
    assert [team["team_id"] for team in page["teams"]] == ["t2", "t1"]
    assert (page["total"], page["total_pages"]) == (4, 2)
    found = world.see("/v2/team/list", team_alias="team 1")["teams"]
    assert [team["team_id"] for team in found] == ["t1"]
    # An order means nothing without a column: LiteLLM's client always sends one.
    page = world.see("/v2/team/list", sort_order="asc", page_size="1")
    assert [team["team_id"] for team in page["teams"]] == ["t2"]
    page = world.see("/v2/team/list", sort_by="team_id")
    assert [team["team_id"] for team in page["teams"]] == ["t", "t0", "t1", "t2"]
    page = world.see("/v2/team/list", sort_by="team_alias", sort_order="desc", page_size="1")
    assert [team["team_alias"] for team in page["teams"]] == ["Team 2"]
    assert world.see("/v2/team/list", status="deleted")["total"] == 0
    assert [t["team_id"] for t in world.see("/v2/team/list", team_id="t")["teams"]] == ["t"]


def test_a_team_that_loses_its_last_group_does_not_open(world):
    world.do("team/new", team_id="g", access_group_ids=["one"])
    assert world.do("team/update", team_id="g", access_group_ids=[])["data"]["models"] == [
        "no-default-models"
    ]


def test_a_bulk_call_takes_no_team_its_admins(world):
    world.do("team/member_add", team_id="t", member={"role": "admin", "user_id": "ann"})
    answer = world.do("team/bulk_member_add", team_id="t", all_users=True)
    assert [(m["user_id"], m["role"]) for m in answer["members_with_roles"]] == [("ann", "admin")]
    members = [{"role": "user", "user_id": user} for user in ("ann", "bob")]
    answer = world.do("team/bulk_member_add", team_id="t", members=members)
    found = [(m["user_id"], m["role"]) for m in answer["members_with_roles"]]
    assert found == [("ann", "admin"), ("bob", "user")]
    assert answer["results"] == [
        {"user_id": user, "user_email": email, "success": True, "error": None}
        for user, email in (("ann", "ann@example.com"), ("bob", None))
    ]
    assert answer["updated_team"]["members_with_roles"] == answer["members_with_roles"]
    counts = ("total_requested", "successful_additions", "failed_additions")
    assert [answer[count] for count in counts] == [2, 2, 0]


def test_members_are_permitted_what_litellm_has_words_for(world):
    words = world.see("/team/permissions_list", team_id="t")["all_available_permissions"]
    assert {"/team/daily/activity", "/spend/logs", "/auto_router/manage"} <= set(words)
    world.do("team/permissions_update", team_id="t", team_member_permissions=words)


def test_a_refused_list_is_named_as_it_was_sent(world):
    for body in ({"allowed_models": ["a "]}, {"allowed_models": [""]}):
        with pytest.raises(InvalidRequest) as refused:
            add(world, **body)
        assert refused.value.param == "allowed_models[0]"
