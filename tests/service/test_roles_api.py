"""Who may make which management call: every cell of the table, over HTTP.

The expectations are written here by hand. A cell names the targets that succeed; every other
target is tried too and must be refused, with nothing written.
"""

import pytest
import pytest_asyncio

from services.keys.endpoints import READS, WRITES
from services.keys.roles import RULES
from tests.service.keys_world import (
    CAROLS,
    CAROLS_IN_TEAM,
    IN_TEAM_2,
    KEYS,
    OWN,
    keys_world,
    populate,
)

# What each target of a call about keys is: somebody else's, one of the led team, the caller's
# own, the calling key itself, one of a team the caller has nothing to do with.
KEY_TARGETS = {
    "other": lambda _who: CAROLS,
    "team": lambda _who: CAROLS_IN_TEAM,
    "own": lambda who: OWN[who],
    "self": lambda who: KEYS[who],
    "team2": lambda _who: IN_TEAM_2,
}
EVERY_KEY = frozenset(KEY_TARGETS)
MINE = {"own", "self"}
NONE = frozenset()


def row(viewer=NONE, lead=NONE, user=NONE, user_viewer=NONE, key=NONE, *, admin):
    cells = {"viewer": viewer, "lead": lead, "user": user, "user_viewer": user_viewer, "key": key}
    return {"admin": admin, **cells}


def on_keys(path, body=None, method="POST", **cells):
    """Cells of a call that names one key in its body."""
    body = body or (lambda key: {"key": key})
    return [
        (method, path, target, lambda who, t=target: body(KEY_TARGETS[t](who)), cells)
        for target in KEY_TARGETS
    ]


def on_teams(path, method="POST", **more):
    """Cells of a call about the led team, and about another."""
    return lambda **cells: [
        (method, path, target, lambda _who, t=team: {"team_id": t, **more}, cells)
        for target, team in (("team", "t"), ("team2", "t2"))
    ]


def on_one(method, path, body=None, **cells):
    """Cells of a call that is about everything, or about no record of anybody's."""
    return [(method, path, "any", lambda _who: body, cells)]


ADMIN = row(admin={"any"})
READERS = row(admin={"any"}, viewer={"any"})
EVERYONE = row(*[{"any"}] * 5, admin={"any"})
TEAMS = row(admin={"team", "team2"})
LEADERS = row(admin={"team", "team2"}, lead={"team"})
SEE_TEAMS = row({"team", "team2"}, {"team"}, {"team"}, admin={"team", "team2"})
CHANGE = row(admin=EVERY_KEY, lead={"team", *MINE}, user=MINE)
SEE = row(EVERY_KEY, {"team", *MINE}, {"team", *MINE}, MINE, {"self"}, admin=EVERY_KEY)
LISTS = row({"any"}, {"any"}, {"any"}, {"any"}, admin={"any"})

CELLS = [
    ("POST", "/key/generate", "other", lambda _who: {"user_id": "carol"}, row(admin={"other"})),
    (
        "POST",
        "/key/generate",
        "own",
        lambda _who: {},
        row(admin={"own"}, lead={"own"}, user={"own"}),
    ),
    (
        "POST",
        "/key/generate",
        "team",
        lambda _who: {"team_id": "t", "user_id": "carol"},
        row(admin={"team"}, lead={"team"}),
    ),
    (
        "POST",
        "/key/generate",
        "own in team",
        lambda _who: {"team_id": "t"},
        row(admin={"own in team"}, lead={"own in team"}),
    ),
    ("POST", "/key/generate", "team2", lambda _who: {"team_id": "t2"}, row(admin={"team2"})),
    *on_teams("/key/service-account/generate")(**LEADERS),
    *on_keys("/key/update", lambda key: {"key": key, "tags": ["x"]}, **CHANGE),
    *on_keys("/key/delete", lambda key: {"keys": [key]}, **CHANGE),
    *on_keys("/key/regenerate", **CHANGE),
    *on_keys("/key/block", **row(admin=EVERY_KEY, lead={"team"})),
    *on_keys("/key/unblock", **row(admin=EVERY_KEY, lead={"team"})),
    *on_keys("/key/bulk_update", lambda key: {"keys": [{"key": key}]}, **row(admin=EVERY_KEY)),
    *on_keys("/v2/key/info", lambda key: {"keys": [key]}, **SEE),
    *on_keys("/key/info", method="GET", **SEE),
    *[
        ("POST", "/key/{key}/regenerate", t, lambda who, t=t: {"key": KEY_TARGETS[t](who)}, CHANGE)
        for t in KEY_TARGETS
    ],
    *on_one("POST", "/key/health", {}, **EVERYONE),
    *on_one("GET", "/key/list", **LISTS),
    *on_one("GET", "/key/aliases", **LISTS),
    *on_one("POST", "/team/new", {}, **ADMIN),
    *on_teams("/team/update")(**TEAMS),
    *on_teams("/team/{team_id}", "PATCH")(**TEAMS),
    *[
        ("POST", "/team/delete", t, lambda _who, i=i: {"team_ids": [i]}, TEAMS)
        for t, i in (("team", "t"), ("team2", "t2"))
    ],
    *on_teams("/team/block")(**TEAMS),
    *on_teams("/team/unblock")(**TEAMS),
    *on_teams("/team/model/add", models=["gpt-4"])(**TEAMS),
    *on_teams("/team/model/delete", models=["gpt-4"])(**TEAMS),
    *on_teams("/team/member_add", member={"role": "user", "user_id": "new"})(**LEADERS),
    *on_teams("/team/bulk_member_add", members=[{"role": "user", "user_id": "new"}])(**LEADERS),
    *on_teams("/team/permissions_list", "GET")(**LEADERS),
    *on_teams("/team/permissions_update", team_member_permissions=[])(**LEADERS),
    *on_teams("/team/info", "GET")(**SEE_TEAMS),
    *[
        (
            "POST",
            path,
            "team",
            lambda _who: {"team_id": "t", "user_id": "carol"},
            row(admin={"team"}, lead={"team"}),
        )
        for path in ("/team/member_update", "/team/member_delete")
    ],
    *on_one("GET", "/team/list", **EVERYONE),
    *on_one("GET", "/team/available", **EVERYONE),
    *on_one("GET", "/v2/team/list", **EVERYONE),
    *on_one("POST", "/user/new", {"auto_create_key": False}, **ADMIN),
    (
        "POST",
        "/user/update",
        "other",
        lambda _who: {"user_id": "carol", "user_alias": "x"},
        row(admin={"other"}),
    ),
    (
        "POST",
        "/user/update",
        "own",
        lambda who: {"user_id": who if who != "key" else "carol", "user_alias": "x"},
        row(admin={"own"}, lead={"own"}, user={"own"}),
    ),
    *on_one("POST", "/user/bulk_update", {"users": [{"user_id": "carol"}]}, **ADMIN),
    *on_one("POST", "/user/delete", {"user_ids": ["carol"]}, **ADMIN),
    *[
        ("GET", path, "other", lambda _who: {"user_id": "carol"}, row({"other"}, admin={"other"}))
        for path in ("/user/info", "/v2/user/info")
    ],
    ("GET", "/user/info", "own", lambda _who: {}, row(*[{"own"}] * 5, admin={"own"})),
    ("GET", "/v2/user/info", "own", lambda _who: {}, row(*[{"own"}] * 4, admin={"own"})),
    *on_one("GET", "/user/list", **READERS),
    *on_one("POST", "/access_group/new", {"access_group": "g", "model_names": ["gpt-4"]}, **ADMIN),
    *on_one("GET", "/access_group/list", **ADMIN),
    *on_one("GET", "/access_group/{access_group}/info", {"access_group": "made"}, **ADMIN),
    *on_one(
        "PUT",
        "/access_group/{access_group}/update",
        {"access_group": "made", "model_names": ["gpt-4o"]},
        **ADMIN,
    ),
    *on_one("DELETE", "/access_group/{access_group}/delete", {"access_group": "made"}, **ADMIN),
    *on_one("POST", "/v1/access_group", {"access_group_name": "n"}, **ADMIN),
    *on_one("GET", "/v1/access_group", **READERS),
    *on_one("GET", "/v1/access_group/{access_group_id}", {"access_group_id": None}, **READERS),
    *on_one("PUT", "/v1/access_group/{access_group_id}", {"access_group_id": None}, **ADMIN),
    *on_one("DELETE", "/v1/access_group/{access_group_id}", {"access_group_id": None}, **ADMIN),
    *on_one(
        "POST",
        "/model/new",
        {"model_name": "m", "litellm_params": {"model": "openai/m"}},
        **ADMIN,
    ),
    *on_one("POST", "/model/update", {"model_info": {"id": "stored-1"}}, **ADMIN),
    *on_one("PATCH", "/model/{model_id}/update", {"model_id": "stored-1"}, **ADMIN),
    *on_one("POST", "/model/delete", {"id": "stored-1"}, **ADMIN),
    *on_one("POST", "/model/block", {"model_id": "d1"}, **ADMIN),
    *on_one("POST", "/model/unblock", {"model_id": "d1"}, **ADMIN),
    *on_one("GET", "/model/info", **EVERYONE),
    *on_one("GET", "/v1/model/info", **EVERYONE),
    *on_one("GET", "/v2/model/info", **EVERYONE),
    *on_one("GET", "/model_group/info", **EVERYONE),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled():
    """Made once: what a test does to it is forgotten before the next."""
    async with keys_world() as world:
        await populate(world)
        yield world


@pytest.fixture
def world(settled):
    settled.begin_again()
    return settled


def test_the_table_of_roles_is_about_every_call_and_so_are_these_tests():
    calls = {write.call for write in WRITES} | {read.call for read in READS}
    assert set(RULES) == calls
    assert {f"{method} {path}" for method, path, *_ in CELLS} == calls


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "target", "body", "cells"),
    CELLS,
    ids=[f"{method} {path} {target}" for method, path, target, *_ in CELLS],
)
async def test_a_call_is_carried_out_for_whom_the_table_says(
    world, method, path, target, body, cells
):
    wrong = []
    for who, key in KEYS.items():
        world.begin_again()
        fields = dict(body(who) or {})
        if "access_group_id" in fields:
            fields["access_group_id"] = world.unified
        sent = path.format(**fields)
        if method == "GET":
            query = {name: value for name, value in fields.items() if f"{{{name}}}" not in path}
            sent += "?" + "&".join(f"{name}={value}" for name, value in query.items())
        answer = await world.call(method, sent, None if method == "GET" else fields, key=key)
        is_allowed = target in cells[who]
        unchanged = not world.journal.committed
        fine = (
            answer.status in (200, 201, 204)
            if is_allowed
            else (answer.status in (401, 403, 404) and unchanged)
        )
        if not fine:
            wrong.append((who, answer.status, await answer.text()))
    assert not wrong
