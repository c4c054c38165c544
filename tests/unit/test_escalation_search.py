"""A search for more than one was given: whoever holds some keys makes management calls at random.

What they may ever call is told beforehand: what their keys call, and what each of those keys' own
lists have in common with every place its user can have keys in (their own list, their teams').
`GRANTGATE_TEST_WORLDS` is how many worlds are tried, `GRANTGATE_TEST_SEED` the first.
"""

import os
from random import Random

import msgspec

from services.keys.errors import ManagementError
from services.policy.decide import decide
from services.policy.table import GrantTable
from shared.catalogue import Deployment
from shared.changes import KeyGrant, TeamGrant
from shared.credentials import Secret
from shared.decisions import Allow, Question
from tests.unit.management_world import World
from tests.unit.test_every_list import ROUTE, extend

WORLDS = int(os.environ.get("GRANTGATE_TEST_WORLDS", "100"))
SEED = int(os.environ.get("GRANTGATE_TEST_SEED", "0"))
STEPS = 40
MODELS = (
    Deployment(id="d3", name="gpt-4o", access_groups=("beta", "other")),
    Deployment(id="d4", name="openai/o1-*", access_groups=("restricted",)),
    Deployment(id="d5", name="gpt-3"),
)
ASKED = ("gpt-4", "gpt-4o", "gpt-3", "openai/x", "openai/o1-m", "fast")
NAMED = ("gpt-4", "gpt-4o", "gpt-3", "openai/*", "openai/o1-*", "gpt-*", "beta", "restricted")
ENTRIES = (*NAMED, "*", "all-proxy-models", "no-default-models", "!gpt-4o", "!beta", "fast")
USERS = ("user", "lead", "carol")
TEAMS = {"t1": {"lead": "admin", "user": "user", "carol": "user"}, "t2": {"user": "user"}}
PERMISSIONS = (
    *("/key/generate", "/key/update", "/key/delete", "/key/regenerate"),
    *("/key/{key_id}/regenerate", "/key/service-account/generate"),
    "/key/access_group_assignment",
)


def some(rng, entries=ENTRIES, most=2):
    return rng.sample(entries, rng.randint(0, min(most, len(entries))))


def perhaps(rng, chance, **fields):
    """Each of these fields, or not; the values are chosen among those given."""
    return {name: rng.choice(values) for name, values in fields.items() if rng.random() < chance}


def populated(rng):
    """Users, teams and keys with lists at random; the secrets of the keys, and a group's id."""
    world = World()
    world.state.fold(2, MODELS)
    for user in USERS:
        world.do("user/new", user_id=user, auto_create_key=False, models=some(rng))
    made = world.do("POST /v1/access_group", access_group_name="g", access_model_names=["gpt-4"])
    group = made["access_group_id"]
    for team, roles in TEAMS.items():
        world.do(
            "team/new",
            team_id=team,
            models=some(rng, most=3),
            members_with_roles=[{"role": r, "user_id": u} for u, r in roles.items()],
            team_member_permissions=rng.sample(PERMISSIONS, rng.randint(0, len(PERMISSIONS))),
            **perhaps(rng, 0.3, model_aliases=[{"fast": "gpt-4o"}], access_group_ids=[[group]]),
        )
        for user in some(rng, list(roles)):
            body = {"team_id": team, "user_id": user, "allowed_models": some(rng)}
            world.do("team/member_update", **body)
    secrets = [f"sk-of-the-beginning-{number}" for number in range(6)]
    for secret in secrets:
        body = {"key": secret, "models": some(rng)}
        body |= perhaps(rng, 0.9, user_id=USERS) | perhaps(rng, 0.6, team_id=list(TEAMS))
        body |= perhaps(rng, 0.2, access_group_ids=[[group]], duration=["2h"], blocked=[True])
        world.do("key/generate", **body, **perhaps(rng, 0.1, key_type=["llm_api", "management"]))
    return world, secrets, group


KEY_CALLS = ("key/generate", "key/update", "key/regenerate", "POST /key/{key}/regenerate")
OTHER_CALLS = {
    "key/service-account/generate": lambda rng, it: {
        "team_id": it["team_id"],
        "models": some(rng),
    },
    "key/delete": lambda _rng, it: {"keys": [it["key"]]},
    "key/block": lambda _rng, it: {"key": it["key"]},
    "key/unblock": lambda _rng, it: {"key": it["key"]},
    "key/bulk_update": lambda _rng, it: {"keys": [{n: it[n] for n in ("key", "team_id")}]},
    "team/member_add": lambda rng, it: {
        "team_id": it["team_id"],
        "member": {"role": rng.choice(("admin", "user")), "user_id": it["user_id"]},
        **perhaps(rng, 0.5, allowed_models=[[], ["*"]]),
    },
    "team/member_update": lambda rng, it: {
        "team_id": it["team_id"],
        "user_id": it["user_id"],
        **perhaps(rng, 0.5, allowed_models=[None, [], ["*"]], role=["admin", "user"]),
    },
    "team/member_delete": lambda _rng, it: {n: it[n] for n in ("team_id", "user_id")},
    "team/permissions_update": lambda _rng, it: {
        "team_id": it["team_id"],
        "team_member_permissions": list(PERMISSIONS),
    },
    "team/update": lambda _rng, it: {"team_id": it["team_id"], "models": []},
    "user/update": lambda _rng, it: {"user_id": it["user_id"], "user_role": "proxy_admin"},
    "user/bulk_update": lambda _rng, it: {"users": [{"user_id": it["user_id"], "models": []}]},
    "PUT /v1/access_group/{access_group_id}": lambda _rng, it: {
        "access_group_id": it["group"],
        "access_model_names": ["*"],
    },
}


def attempt(rng, world, by, held, group):
    """Some call with a key that is held, about whatever there is."""
    keys = [*held * 3, *(digest.hex() for digest in world.state.keys)]
    call = rng.choice((*KEY_CALLS * 3, *OTHER_CALLS))
    if call in KEY_CALLS:
        own = list(world.state.keys[Secret(by).digest()].grant.models)
        return call, key_fields(rng, call, rng.choice(keys), group, own)
    it = {"key": rng.choice(keys), "user_id": rng.choice((*USERS, "new"))}
    it |= {"team_id": rng.choice(list(TEAMS)), "group": group}
    return call, OTHER_CALLS[call](rng, it)


def key_fields(rng, call, key, group, own):
    body = perhaps(
        rng,
        0.12,
        team_id=[*TEAMS, None],
        user_id=[*USERS, None],
        access_group_ids=[None, [], [group], ["gone"]],
        aliases=[{"gpt-3": "gpt-4o"}, {"fast": "gpt-4"}],
        duration=[None, "1h", "3h", "-1"],
        blocked=[None, False],
        allowed_routes=[None, [], ["/key/*"]],
        key_type=[None, "default", "management"],
    )
    lists = [None, [], some(rng), ["all-team-models"], [rng.choice(NAMED)], *[own] * 4]
    body |= perhaps(rng, 0.7, models=lists)
    if not call.endswith("/generate"):
        body["key"] = key
    if call.endswith("regenerate"):
        body |= perhaps(rng, 0.3, grace_period=["1h"])
    return body


def grants(world):
    """The decision parts of every record."""
    return [getattr(record, "grant", record) for record in world.state.records()]


def called(known, key, now):
    """What a key would call, by the names that are dispatched."""
    table = extend(GrantTable(), *known, key)
    asked = (decide(table, Question(key.id, name, ROUTE), now) for name in ASKED)
    return {answer.model for answer in asked if isinstance(answer, Allow)}


def bound(world, held):
    """What the holder of these keys may ever call."""
    keys = [world.state.keys[Secret(secret).digest()] for secret in held]
    is_led = any(key.grant.user_id == "lead" for key in keys)
    # Who leads a team decides on its members' lists, and on what is blocked in it.
    known = [
        msgspec.structs.replace(each, member_models={})
        if isinstance(each, TeamGrant) and each.id == "t1" and is_led
        else each
        for each in grants(world)
    ]
    found = set()
    for key in keys:
        user = key.grant.user_id
        plain = {"blocked": False, "allowed_routes": (), "aliases": {}, "expires_at": None}
        own = msgspec.structs.replace(key.grant, **plain)
        found |= called(known, own, world.now)
        if user is None:
            continue
        if own.team_id is None:
            own = msgspec.structs.replace(own, user_id=None)
        within = called(known, own, world.now)
        for team in (None, *(team for team, members in TEAMS.items() if user in members)):
            place = KeyGrant(id=bytes(32), user_id=user, team_id=team)
            found |= within & called(known, place, world.now)
    return found


def ends(world, held):
    """When each of these keys ends that are there; one that does not ends never."""
    found = (world.state.keys.get(Secret(secret).digest()) for secret in held)
    return [key.grant.expires_at or float("inf") for key in found if key is not None]


def search(seed):
    """What was done in one world. Fails at the first call that gives more than there was."""
    rng = Random(seed)
    world, secrets, group = populated(rng)
    held = rng.sample(secrets, rng.randint(1, 2))
    may, last, done = bound(world, held), max(ends(world, held)), []
    for _ in range(STEPS):
        there = [key for key in held if Secret(key).digest() in world.state.keys]
        if not there:
            break
        by = rng.choice(there)
        call, body = attempt(rng, world, by, held, group)
        try:
            answer = world.do(call, by=by, **body)
        except ManagementError:
            continue
        done.append((by, call, body))
        secret = answer.get("key")
        if isinstance(secret, str) and secret.startswith("sk-"):
            held.append(secret)
        known = grants(world)
        kept = [key for key in known if isinstance(key, KeyGrant)]
        of_holder = [key for key in kept if key.id in {Secret(each).digest() for each in held}]
        for key in of_holder:
            more = called(known, key, world.now) - may
            assert not more, f"seed {seed}: {more} after {done}"
        assert max(ends(world, held), default=0) <= last, f"seed {seed}: no end after {done}"
        assert {user.details.user_role for user in world.state.users.values()} == {"internal_user"}
    return done


def test_no_calls_give_the_holder_of_keys_more_than_their_users_may_have():
    done = [each for seed in range(SEED, SEED + WORLDS) for each in search(seed)]
    assert len(done) > 2 * WORLDS
    assert {call for _, call, _ in done} >= {"key/generate", "key/update", "key/regenerate"}
