"""A refusal names the field that the caller sent, where it stands in what they sent."""

import random
from contextlib import suppress

import pytest

from services.keys.errors import ManagementError
from shared.credentials import mint
from tests.unit.management_world import World

NOBODY = {"role": "user", "user_email": "nobody@example.com"}
NAMELESS = {"role": "user"}
OWN = {"role": "user", "user_id": "u"}


@pytest.fixture
def world():
    world = World()
    world.do("team/new", team_id="t")
    world.do("team/member_add", team_id="t", member=OWN)
    world.do("user/new", user_id="u", auto_create_key=False)
    return world


@pytest.mark.parametrize(
    ("call", "body", "param"),
    [
        (
            "POST /v1/access_group",
            {"access_group_name": "g", "assigned_team_ids": ["t", "zz"]},
            "assigned_team_ids[1]",
        ),
        ("user/new", {"teams": ["t", "zz"]}, "teams[1]"),
        ("team/member_update", {"team_id": "t", "user_email": "x@example.com"}, "user_email"),
        ("team/member_delete", {"team_id": "t", "user_email": "x@example.com"}, "user_email"),
        ("team/member_update", {"team_id": "t"}, "user_id"),
        ("team/member_add", {"team_id": "t", "member": NOBODY}, "member.user_email"),
        ("team/member_add", {"team_id": "t", "member": NAMELESS}, "member"),
        ("team/member_add", {"team_id": "t", "member": [NOBODY]}, "member[0].user_email"),
        ("team/member_add", {"team_id": "t", "member": [OWN]}, "member"),
        ("team/bulk_member_add", {"team_id": "t", "members": [NOBODY]}, "members[0].user_email"),
        ("team/bulk_member_add", {"team_id": "t", "members": []}, "members"),
        ("model/block", {"model_id": "zz"}, "model_id"),
        ("model/delete", {"id": "zz"}, "id"),
        ("model/update", {"id": "zz"}, "id"),
        ("model/update", {"model_info": {"id": "zz"}}, "model_info.id"),
        ("PATCH /model/{model_id}/update", {"model_id": "zz"}, "model_id"),
    ],
)
def test_a_refusal_names_the_field_that_was_sent(world, call, body, param):
    with pytest.raises(ManagementError) as caught:
        world.plan(call, **body)
    assert caught.value.param == param


KEY = "sk-in-the-wrong-place-of-alls"
PARAMS = {"model": "openai/x"}


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("team/update", {"team_id": KEY}),
        ("team/delete", {"team_ids": [KEY]}),
        ("team/new", {"team_id": KEY}),
        ("team/member_add", {"team_id": KEY, "member": OWN}),
        ("team/member_delete", {"team_id": "t", "user_id": KEY}),
        ("key/generate", {"team_id": KEY}),
        ("user/new", {"user_id": KEY}),
        ("user/new", {"teams": [KEY]}),
        ("user/delete", {"user_ids": [KEY]}),
        ("model/new", {"model_name": "m", "litellm_params": PARAMS, "model_info": {"id": KEY}}),
        ("model/delete", {"id": KEY}),
        ("POST /access_group/new", {"access_group": "g", "model_names": [KEY]}),
        ("POST /access_group/new", {"access_group": KEY, "model_names": ["gpt-4"]}),
        ("PUT /access_group/{access_group}/update", {"access_group": KEY}),
        ("POST /v1/access_group", {"access_group_name": KEY}),
        ("POST /v1/access_group", {"access_group_name": "g", "assigned_team_ids": [KEY]}),
        ("PUT /v1/access_group/{access_group_id}", {"access_group_id": KEY}),
        ("key/update", {"key_alias": "mine", "aliases": {f" {KEY}": "gpt-4"}}),
    ],
)
def test_a_refusal_does_not_repeat_a_key_that_was_put_elsewhere(world, call, body):
    """Not by its text and not by the field it names. What can be made is taken then."""
    world.do("key/generate", key_alias="mine")
    with suppress(ManagementError):
        world.do(call, **body)
    with pytest.raises(ManagementError) as refused:
        world.plan(call, **body)
    assert "wrong-place" not in f"{refused.value} {refused.value.message} {refused.value.param}"


MINTED = mint(random.Random(7).choice).reveal()


@pytest.mark.parametrize("aliases", [{MINTED: "gpt-4"}, {"mine": MINTED}, {"mine": f" {MINTED}"}])
def test_a_key_is_neither_end_of_an_alias(world, aliases):
    """It would be published with the grant."""
    with pytest.raises(ManagementError) as refused:
        world.plan("key/generate", key_alias="mine", aliases=aliases)
    assert refused.value.param == "aliases"
    assert MINTED not in refused.value.message


def test_a_warning_does_not_repeat_a_key_chosen_by_hand(world):
    answer = world.do("key/generate", key_alias="mine", models=[KEY])
    (warning,) = answer["warnings"]
    assert "sk-...alls" in warning
    assert KEY not in warning
