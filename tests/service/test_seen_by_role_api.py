"""What each role sees in lists, and what the members of a team do with its permission.

The table of roles says who may call; this is what the call is then about.
"""

import pytest
import pytest_asyncio

from shared.credentials import Secret
from tests.service.keys_world import (
    CAROLS,
    CAROLS_IN_TEAM,
    IN_TEAM_2,
    KEYS,
    OWN,
    keys_world,
    populate,
)

TEAM_KEY = "sk-a-key-of-the-team-alone"
IN_TEAM = "sk-a-key-of-the-user-in-team"
CALLERS = {**KEYS, "team_key": TEAM_KEY}
NAMES = {**{f"own-{who}": key for who, key in OWN.items()}, **KEYS, "carols": CAROLS}
NAMES |= {"in-team": IN_TEAM, "carols-in-team": CAROLS_IN_TEAM, "in-team-2": IN_TEAM_2}
NAMES |= {"team-key": TEAM_KEY}
EVERY_MODEL = {"gpt-4", "gpt-4o", "openai/*", "openai/o1-*", "stored"}
REFUSED = None


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled():
    """Made once: what a test does to it is forgotten before the next."""
    async with keys_world() as world:
        await populate(world)
        member = {"team_id": "t2", "member": {"role": "user", "user_id": "user_viewer"}}
        await world.made("/team/member_add", member)
        await world.made("/key/generate", {"key": TEAM_KEY, "team_id": "t"})
        of_user = {"team_id": "t", "user_id": "user", "models": ["gpt-4"]}
        await world.made("/key/generate", {"key": IN_TEAM, **of_user})
        for name, key in NAMES.items():
            await world.made("/key/update", {"key": key, "key_alias": f"alias-{name}"})
        for key in CALLERS.values():
            await world.made("/key/update", {"key": key, "models": ["gpt-4"]})
        world.settle()
        yield world


@pytest.fixture
def world(settled):
    settled.begin_again()
    return settled


def row(viewer, lead, user, user_viewer, key, team_key, *, admin):
    return {
        "admin": admin,
        "viewer": viewer,
        "lead": lead,
        "user": user,
        "user_viewer": user_viewer,
        "key": key,
        "team_key": team_key,
    }


def called(names):
    return {f"alias-{name}" for name in names.split()}


TEAMS = row({"t", "t2"}, {"t"}, {"t"}, {"t2"}, set(), {"t"}, admin={"t", "t2"})
IN_T = "in-team carols-in-team team-key"
KEYS_LISTED = row(
    called(" ".join(NAMES)),
    called(f"lead own-lead {IN_T}"),
    called("user own-user in-team"),
    called("user_viewer own-user_viewer"),
    REFUSED,
    REFUSED,
    admin=called(" ".join(NAMES)),
)
MODELS = row(EVERY_MODEL, *[{"gpt-4"}] * 5, admin=EVERY_MODEL)

LISTS = {
    "/team/list": (TEAMS, lambda answer: [team["team_id"] for team in answer]),
    "/v2/team/list": (TEAMS, lambda answer: [team["team_id"] for team in answer["teams"]]),
    "/key/list?size=100&return_full_object=true": (
        KEYS_LISTED,
        lambda answer: [key["key_alias"] for key in answer["keys"]],
    ),
    "/key/aliases?size=100": (KEYS_LISTED, lambda answer: answer["aliases"]),
    "/model/info": (MODELS, lambda answer: [each["model_name"] for each in answer["data"]]),
    "/v1/model/info": (MODELS, lambda answer: [each["model_name"] for each in answer["data"]]),
    "/v2/model/info": (MODELS, lambda answer: [each["model_name"] for each in answer["data"]]),
    "/model_group/info": (MODELS, lambda answer: [each["model_group"] for each in answer["data"]]),
}


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_shows_each_role_what_it_may_see(world, path):
    expected, names = LISTS[path]
    for who, key in CALLERS.items():
        answer = await world.call("GET", path, key=key)
        if expected[who] is REFUSED:
            assert answer.status == 401, who
            continue
        assert answer.status == 200, (who, await answer.text())
        found = names(await answer.json())
        assert (sorted(found), who) == (sorted(expected[who]), who)


async def test_a_team_is_shown_to_its_members_and_its_keys_alone(world):
    for who, key in CALLERS.items():
        for team in ("t", "t2"):
            answer = await world.call("GET", f"/team/info?team_id={team}", key=key)
            assert answer.status == (200 if team in TEAMS[who] else 403), (who, team)


async def test_a_key_is_shown_to_its_user_and_to_the_members_of_its_team(world):
    of_team = set(IN_T.split())
    seen = row(
        set(NAMES),
        {"lead", "own-lead"} | of_team,
        {"user", "own-user"} | of_team,
        {"user_viewer", "own-user_viewer", "in-team-2"},
        {"key"},
        {"team-key"},
        admin=set(NAMES),
    )
    for who, caller in CALLERS.items():
        for name, key in NAMES.items():
            asked = Secret(key).digest().hex()
            answer = await world.call("GET", f"/key/info?key={asked}", key=caller)
            together = await world.call("POST", "/v2/key/info", {"keys": [asked]}, key=caller)
            expected = (200, 200) if name in seen[who] else (403, 404)
            assert (answer.status, together.status) == expected, (who, name)


PERMITTED = {
    "/key/generate": lambda _key: {"team_id": "t", "models": ["gpt-4"]},
    "/key/service-account/generate": lambda _key: {"team_id": "t", "models": ["gpt-4"]},
    "/key/update": lambda key: {"key": key, "tags": ["x"]},
    "/key/delete": lambda key: {"keys": [key]},
    "/key/regenerate": lambda key: {"key": key},
    "/key/{key_id}/regenerate": lambda _key: {},
}
"""The calls that a team can permit its members, with a body about a key of the team."""


@pytest.mark.parametrize("permission", PERMITTED)
async def test_a_team_permits_its_members_a_call_about_their_own_keys(world, permission):
    async def call(key, *, by="user"):
        path = permission.replace("{key_id}", key)
        answer = await world.call("POST", path, PERMITTED[permission](key), key=KEYS[by])
        return answer.status

    async def permit(*permissions):
        body = {"team_id": "t", "team_member_permissions": permissions}
        await world.made("/team/permissions_update", body)
        world.journal.committed.clear()

    await permit(*(each for each in PERMITTED if each != permission))
    assert await call(IN_TEAM) == 401
    await permit(permission)
    if not permission.endswith("/generate"):
        for key in (CAROLS_IN_TEAM, TEAM_KEY):
            assert await call(key) == 403
    assert await call(IN_TEAM_2, by="user_viewer") == 401
    assert not world.journal.committed
    assert await call(IN_TEAM) == 200
