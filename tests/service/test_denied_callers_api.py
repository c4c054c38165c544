"""A key that is refused is refused alike for a management call and for a model."""

import pytest

from services.gateway.refusals import SHAPES, message_for
from services.keys.replies import DENIALS
from shared.decisions import Deny, DenyReason
from tests.service.keys_world import KEYS, keys_world, populate

USERS = KEYS["user"]


@pytest.fixture
async def world():
    async with keys_world() as world:
        await populate(world)
        yield world


def test_a_refusal_has_the_same_status_and_type_for_both():
    assert {reason: (SHAPES[reason].status, SHAPES[reason].kind) for reason in DENIALS} == DENIALS


WAYS = {
    DenyReason.KEY_UNKNOWN: ("/key/delete", {"keys": [USERS]}),
    DenyReason.KEY_BLOCKED: ("/key/block", {"key": USERS}),
    DenyReason.KEY_EXPIRED: ("/key/update", {"key": USERS, "duration": "0s"}),
    DenyReason.TEAM_BLOCKED: ("/team/block", {"team_id": "t2"}),
    DenyReason.ROUTE_NOT_ALLOWED: (
        "/key/update",
        {"key": USERS, "allowed_routes": ["/key/generate", "/v1/*"]},
    ),
}


@pytest.mark.parametrize("reason", WAYS)
async def test_a_refused_key_is_told_why_in_word_and_type(world, reason):
    await world.made("/key/update", {"key": USERS, "team_id": "t2"})
    assert (await world.call("GET", "/key/info", key=USERS)).status == 200
    await world.made(*WAYS[reason])
    answer = await world.call("GET", "/key/info", key=USERS)
    error = (await answer.json())["error"]
    assert answer.headers["x-grantgate-reason"] == reason
    assert (answer.status, error["type"]) == DENIALS[reason]
    if reason is not DenyReason.KEY_UNKNOWN:
        deny = Deny(1, reason, entries=("/key/generate", "/v1/*"), team="t2")
        said = message_for(deny, asked="", route="/key/info", list_entries=True)
        assert error["message"] == said


async def test_a_role_that_may_not_make_a_call_is_no_reason_of_a_decision(world):
    answer = await world.call("POST", "/team/new", {}, key=USERS)
    assert answer.status == 401
    assert "x-grantgate-reason" not in answer.headers
