"""Keys in another's name: they call models for that user, and manage nothing for them."""

import pytest

from shared.credentials import Secret
from tests.service.keys_world import KEYS, keys_world, populate

TAKEN = "sk-a-secret-the-leader-knows"
ADMINS_IN_TEAM = "sk-key-of-the-admin-in-team"
ADDED = {"team_id": "t", "member": {"role": "user", "user_id": "admin"}}
ADD_LATER = {"team_id": "t", "member": {"role": "user", "user_id": "later"}}
LATER_IS_ADMIN = {"user_id": "later", "user_role": "proxy_admin", "auto_create_key": False}
MINT = ("lead", "/key/generate", {"key": TAKEN, "team_id": "t", "user_id": "admin"})
MINT_OWN = ("lead", "/key/generate", {"key": TAKEN, "team_id": "t"})
MINT_NOBODYS = (
    "lead",
    "/key/service-account/generate",
    {"key": TAKEN, "team_id": "t"},
)
MINT_LATER = ("lead", "/key/generate", {"key": TAKEN, "team_id": "t", "user_id": "later"})
NAME_ADMIN = ("lead", "/key/update", {"key": TAKEN, "user_id": "admin"})


@pytest.fixture
async def world():
    async with keys_world() as world:
        await populate(world)
        await world.made("/team/member_add", ADDED, key=KEYS["lead"])
        await world.made("/key/generate", {"key": ADMINS_IN_TEAM, "user_id": "admin"})
        await world.made("/key/update", {"key": ADMINS_IN_TEAM, "team_id": "t"})
        world.settle()
        world.begin_again()
        yield world


async def carry_out(world, steps):
    for who, path, body in steps:
        key = {"key": KEYS[who]} if who in KEYS else {}
        await world.made(path, body, **key)


async def is_admin(world, secret):
    answer = await world.call("POST", "/team/new", {}, key=secret)
    assert answer.status in (200, 401, 403), await answer.text()
    return answer.status == 200


def digest(secret):
    return Secret(secret).digest().hex()


ATTEMPTS = {
    "minting for an admin": [MINT],
    "giving one's own key to an admin": [MINT_OWN, NAME_ADMIN],
    "giving nobody's key to an admin": [MINT_NOBODYS, NAME_ADMIN],
    "giving it to an admin while regenerating": [
        ("lead", "/key/generate", {"team_id": "t", "key": "sk-another-of-the-leader"}),
        (
            "lead",
            "/key/regenerate",
            {"key": "sk-another-of-the-leader", "new_key": TAKEN, "user_id": "admin"},
        ),
    ],
    "regenerating an admin's key by its hash": [
        ("lead", "/key/regenerate", {"key": digest(ADMINS_IN_TEAM), "new_key": TAKEN})
    ],
    "regenerating an admin's key by its path": [
        ("lead", f"/key/{digest(ADMINS_IN_TEAM)}/regenerate", {"new_key": TAKEN})
    ],
    "minting before the user is made": [
        ("lead", "/team/member_add", ADD_LATER),
        MINT_LATER,
        ("master", "/user/new", LATER_IS_ADMIN),
    ],
    "minting before the user is promoted": [
        ("master", "/user/new", {**LATER_IS_ADMIN, "user_role": "internal_user"}),
        ("lead", "/team/member_add", ADD_LATER),
        MINT_LATER,
        ("master", "/user/update", {"user_id": "later", "user_role": "proxy_admin"}),
    ],
    "passing it on and back": [
        MINT_OWN,
        NAME_ADMIN,
        ("lead", "/key/update", {"key": TAKEN, "user_id": "lead"}),
        NAME_ADMIN,
    ],
    "an admin's update of something else": [
        MINT,
        ("master", "/key/update", {"key": TAKEN, "tags": ["x"], "user_id": "admin"}),
    ],
    "an admin's bulk update": [
        MINT,
        ("master", "/key/bulk_update", {"keys": [{"key": TAKEN, "tags": ["x"]}]}),
    ],
    "the old secret in its grace": [
        MINT,
        ("master", "/key/regenerate", {"key": TAKEN, "grace_period": "1d"}),
    ],
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_nobody_becomes_an_admin_by(world, attempt):
    await carry_out(world, ATTEMPTS[attempt])
    assert not await is_admin(world, TAKEN)
    # It works: it is a key like any, which may look at itself.
    answer = await world.call("GET", "/key/info", key=TAKEN)
    assert answer.status == 200, await answer.text()
    assert (await answer.json())["info"]["team_id"] == "t"


SIDEWAYS = {
    "their other team": (
        "/team/member_add",
        {"team_id": "t2", "member": {"role": "user", "user_id": "lead"}},
    ),
    "their personal keys": ("/key/delete", {"keys": ["sk-key-of-carol-alone"]}),
    "their record": ("/user/update", {"user_id": "carol", "user_alias": "x"}),
    "a key in their name": ("/key/generate", {}),
}


@pytest.mark.parametrize("power", SIDEWAYS)
async def test_the_leader_of_one_team_does_not_get_what_a_member_has_elsewhere(world, power):
    member = {"team_id": "t2", "member": {"role": "admin", "user_id": "carol"}}
    await world.made("/team/member_add", member)
    body = {"key": TAKEN, "team_id": "t", "user_id": "carol"}
    await world.made("/key/generate", body, key=KEYS["lead"])
    path, body = SIDEWAYS[power]
    answer = await world.call("POST", path, body, key=TAKEN)
    assert answer.status in (401, 403), await answer.text()


KEPT = {
    "a key an admin mints": [("admin", "/key/generate", {"key": TAKEN, "user_id": "admin"})],
    "a key an admin gives": [
        ("master", "/key/generate", {"key": TAKEN}),
        ("admin", "/key/update", {"key": TAKEN, "user_id": "admin"}),
    ],
    "a key an admin regenerates for good": [
        ("lead", "/key/generate", {"team_id": "t", "user_id": "admin", "key_alias": "given"}),
        ("master", "/key/update", {"key_alias": "given", "tags": ["x"]}),
    ],
    "a key the admin regenerates": [
        (
            "admin",
            "/key/regenerate",
            {"key": ADMINS_IN_TEAM, "new_key": TAKEN, "grace_period": "1d"},
        )
    ],
    "a key the leader changed": [
        (
            "lead",
            "/key/update",
            {"key": digest(ADMINS_IN_TEAM), "tags": ["x"], "user_id": "admin"},
        ),
        ("admin", "/key/regenerate", {"key": ADMINS_IN_TEAM, "new_key": TAKEN}),
    ],
}


@pytest.mark.parametrize("way", KEPT)
async def test_a_key_only_its_user_or_an_admin_was_given_acts_for_the_user(world, way):
    await carry_out(world, KEPT[way])
    if way == "a key an admin regenerates for good":
        found = world.journal.state.key_by_alias("given").grant.id.hex()
        await world.made("/key/regenerate", {"key": found, "new_key": TAKEN})
    assert await is_admin(world, TAKEN)


async def test_users_manage_with_keys_they_made_and_regenerated_themselves(world):
    secret = (await world.made("/key/generate", {}, key=KEYS["lead"]))["key"]
    secret = (await world.made("/key/regenerate", {"key": secret}, key=secret))["key"]
    await world.made("/team/permissions_list?team_id=t", None, key=secret, method="GET")


async def test_a_key_made_for_a_member_is_granted_what_the_member_is(world):
    body = {"team_id": "t", "user_id": "carol", "models": ["gpt-4"]}
    made = await world.made("/key/generate", body, key=KEYS["lead"])
    grant = world.journal.state.keys[bytes.fromhex(made["token"])].grant
    assert (grant.user_id, grant.team_id, grant.models) == ("carol", "t", ("gpt-4",))
    assert "acts_for_user" not in made
