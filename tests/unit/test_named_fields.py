"""A refusal names the field that the caller sent, where it stands in what they sent."""

import pytest

from services.keys.errors import ManagementError
from tests.unit.management_world import World

NOBODY = {"role": "user", "user_email": "nobody@example.com"}
NAMELESS = {"role": "user"}
OWN = {"role": "user", "user_id": "u"}


@pytest.fixture
def world():
    world = World()
    world.do("team/new", team_id="t")
    world.do("team/member_add", team_id="t", member=OWN)
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
        ("team/member_add", {"team_id": "t", "member": [OWN]}, "member[0]"),
        ("team/bulk_member_add", {"team_id": "t", "members": [NOBODY]}, "members[0].user_email"),
        ("team/bulk_member_add", {"team_id": "t", "members": []}, "members"),
    ],
)
def test_a_refusal_names_the_field_that_was_sent(world, call, body, param):
    with pytest.raises(ManagementError) as caught:
        world.plan(call, **body)
    assert caught.value.param == param
