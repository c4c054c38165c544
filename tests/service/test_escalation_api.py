"""Ways to more than one was given, each refused, with nothing written."""

import pytest
import pytest_asyncio

from shared.credentials import Secret
from tests.service.keys_world import (
    CAROLS,
    CAROLS_IN_TEAM,
    KEYS,
    OWN,
    keys_world,
    populate,
)

LIMITED = "sk-a-limited-key-of-the-user"
IN_TEAM = "sk-a-key-of-the-user-in-team"
LEADS_LIMITED = "sk-a-limited-key-of-the-lead"
ROUTED = "sk-a-key-with-few-routes-only"
OF_TEAM = "sk-a-key-of-the-team-no-list"
OF_NARROW = "sk-a-key-of-a-member-no-list"
ENDING = "sk-a-key-that-ends-in-an-hour"
BLOCKED = "sk-a-blocked-key-of-the-user"
GROUPED = "sk-a-key-of-exactly-a-group"
LLM_ONLY = "sk-a-key-for-models-alone"
ADMINS_ROUTED = "sk-a-key-of-the-admin-with-few"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled():
    """Made once: what a test does to it is forgotten before the next."""
    async with keys_world() as world:
        await populate(world)
        make = [
            {"key": LIMITED, "user_id": "user", "models": ["gpt-4"]},
            {"key": IN_TEAM, "user_id": "user", "team_id": "t", "models": ["gpt-4"]},
            {"key": LEADS_LIMITED, "user_id": "lead", "models": ["gpt-4"]},
            {"key": ENDING, "user_id": "user", "duration": "1h"},
            {"key": BLOCKED, "user_id": "user", "blocked": True},
            {"key": GROUPED, "user_id": "user", "access_group_ids": [world.unified]},
            {"key": LLM_ONLY, "user_id": "user", "key_type": "llm_api", "max_budget": 1},
            {
                "key": ROUTED,
                "user_id": "user",
                "allowed_routes": ["/key/generate", "/v1/embeddings"],
            },
            {
                "key": ADMINS_ROUTED,
                "user_id": "admin",
                "allowed_routes": ["/key/*", "/user/new"],
            },
        ]
        for body in make:
            await world.made("/key/generate", body)
        address = {"user_id": "user", "user_email": "user@example.com"}
        await world.made("/user/update", address)
        await world.made("/team/update", {"team_id": "t", "models": ["gpt-4", "openai/*"]})
        body = {"team_id": "t", "team_member_permissions": ["/key/generate", "/key/update"]}
        await world.made("/team/permissions_update", body)
        narrow = {
            "team_id": "narrow",
            "members_with_roles": [{"role": "user", "user_id": "user"}],
            "team_member_permissions": ["/key/generate", "/key/service-account/generate"],
        }
        await world.made("/team/new", narrow)
        member = {"team_id": "narrow", "user_id": "user", "allowed_models": ["gpt-4"]}
        await world.made("/team/member_update", member)
        for key, team in ((OF_TEAM, "t"), (OF_NARROW, "narrow")):
            body = {"key": key, "user_id": "user", "team_id": team}
            await world.made("/key/generate", body)
        world.settle()
        yield world


@pytest.fixture
def world(settled):
    settled.begin_again()
    return settled


def digest(secret):
    return Secret(secret).digest().hex()


ATTEMPTS = {
    "a wider list for one's own key": (LIMITED, "/key/update", {"key": LIMITED, "models": ["*"]}),
    "no list for one's own key": (LIMITED, "/key/update", {"key": LIMITED, "models": []}),
    "a wider new key": (LIMITED, "/key/generate", {"models": ["gpt-4o"]}),
    "a new key without a list": (LIMITED, "/key/generate", {}),
    "everything that is not denied": (LIMITED, "/key/generate", {"models": ["!gpt-4o"]}),
    "a group that holds more": (LIMITED, "/key/generate", {"models": ["beta"]}),
    "a pattern that holds more": (LIMITED, "/key/generate", {"models": ["gpt-*"]}),
    "more by regenerating": (LIMITED, "/key/regenerate", {"key": LIMITED, "models": ["gpt-4o"]}),
    "a unified group": (LIMITED, "/key/generate", {"models": ["gpt-4"], "access_group_ids": ["g"]}),
    "more than the team has": (
        IN_TEAM,
        "/key/generate",
        {"team_id": "t", "models": ["gpt-4o"]},
    ),
    "more than the calling key, in its team": (
        IN_TEAM,
        "/key/generate",
        {"team_id": "t", "models": ["openai/x"]},
    ),
    "out of the team's list into one's own": (IN_TEAM, "/key/generate", {"models": ["gpt-4o"]}),
    "more than the calling key's team": (OF_TEAM, "/key/generate", {"models": ["gpt-4o"]}),
    "more than the calling key's user in its team": (
        OF_NARROW,
        "/key/generate",
        {"models": ["gpt-4o"]},
    ),
    "out of the team": (IN_TEAM, "/key/update", {"key": IN_TEAM, "team_id": None}),
    "into another team": (KEYS["user"], "/key/update", {"key": OWN["user"], "team_id": "t2"}),
    "a new key in another team": (KEYS["lead"], "/key/generate", {"team_id": "t2"}),
    "more than the leader's own key": (
        LEADS_LIMITED,
        "/key/generate",
        {"team_id": "t", "user_id": "carol", "models": ["openai/x"]},
    ),
    "more than the member, for nobody's key": (
        KEYS["user"],
        "/key/service-account/generate",
        {"team_id": "narrow", "models": ["openai/x"]},
    ),
    "nobody's key without a list, by a member who has one": (
        KEYS["user"],
        "/key/service-account/generate",
        {"team_id": "narrow"},
    ),
    "an alias's target among the models": (
        LIMITED,
        "/key/generate",
        {"models": ["gpt-4", "gpt-4o"], "aliases": {"gpt-4": "gpt-4o"}},
    ),
    "somebody else's name": (KEYS["user"], "/key/generate", {"user_id": "carol"}),
    "an admin's name": (KEYS["user"], "/key/generate", {"user_id": "admin"}),
    "an admin's name, by the leader": (
        KEYS["lead"],
        "/key/generate",
        {"team_id": "t", "user_id": "admin"},
    ),
    "to give one's key to an admin": (
        KEYS["user"],
        "/key/update",
        {"key": OWN["user"], "user_id": "admin"},
    ),
    "to give one's key to nobody": (
        KEYS["user"],
        "/key/update",
        {"key": OWN["user"], "user_id": None},
    ),
    "another's key by its hash": (
        KEYS["user"],
        "/key/update",
        {"key": digest(CAROLS), "models": ["gpt-4"]},
    ),
    "another's key in the same team": (
        KEYS["user"],
        "/key/update",
        {"key": digest(CAROLS_IN_TEAM), "models": ["gpt-4"]},
    ),
    "another's key by its alias": (KEYS["user"], "/key/delete", {"key_aliases": ["carols"]}),
    "one's own and another's together": (
        KEYS["user"],
        "/key/delete",
        {"keys": [OWN["user"], CAROLS]},
    ),
    "another's key under a new secret": (
        KEYS["user"],
        "/key/regenerate",
        {"key": digest(CAROLS), "new_key": "sk-a-secret-of-my-own"},
    ),
    "a key that outlives the calling key": (ENDING, "/key/generate", {}),
    "a key that ends after the calling key": (ENDING, "/key/generate", {"duration": "2h"}),
    "no end for the calling key": (ENDING, "/key/update", {"key": ENDING, "duration": None}),
    "no end, in LiteLLM's other word": (ENDING, "/key/update", {"key": ENDING, "duration": "-1"}),
    "a later end for the calling key": (ENDING, "/key/update", {"key": ENDING, "duration": "2h"}),
    "a later end with a new secret": (ENDING, "/key/regenerate", {"key": ENDING, "duration": "2h"}),
    "the secret of a key that does not end": (ENDING, "/key/regenerate", {"key": OWN["user"]}),
    "what a blocked key may, by null": (
        KEYS["user"],
        "/key/update",
        {"key": BLOCKED, "blocked": None},
    ),
    "what a blocked key may, under a new secret": (
        KEYS["user"],
        "/key/regenerate",
        {"key": BLOCKED, "blocked": False},
    ),
    "to unblock one's own key": (KEYS["user"], "/key/unblock", {"key": BLOCKED}),
    "no list, by taking the group away": (
        GROUPED,
        "/key/update",
        {"key": GROUPED, "access_group_ids": None, "models": []},
    ),
    "another group": (GROUPED, "/key/update", {"key": GROUPED, "access_group_ids": ["unified"]}),
    "all routes, by null": (
        KEYS["user"],
        "/key/update",
        {"key": ROUTED, "allowed_routes": None},
    ),
    "all routes, by the type": (
        KEYS["user"],
        "/key/update",
        {"key": LLM_ONLY, "key_type": None},
    ),
    "a budget away, by null": (KEYS["user"], "/key/update", {"key": LLM_ONLY, "max_budget": None}),
    "no team, by null, with a new secret": (
        IN_TEAM,
        "/key/regenerate",
        {"key": IN_TEAM, "team_id": None},
    ),
    "permissions for oneself": (
        KEYS["user"],
        "/team/permissions_update",
        {"team_id": "t", "team_member_permissions": ["/key/delete"]},
    ),
    "an alias for the team": (
        KEYS["lead"],
        "/team/update",
        {"team_id": "t", "model_aliases": {"gpt-4": "gpt-4o"}},
    ),
    "a model for the team": (
        KEYS["lead"],
        "/team/model/add",
        {"team_id": "t", "models": ["gpt-4o"]},
    ),
    "to unblock the team": (KEYS["lead"], "/team/unblock", {"team_id": "t"}),
    "a label on a model": (
        KEYS["lead"],
        "/access_group/new",
        {"access_group": "mine", "model_names": ["gpt-4o"]},
    ),
    "a group of one's own": (
        KEYS["lead"],
        "/v1/access_group",
        {"access_group_name": "mine", "access_model_names": ["*"], "assigned_team_ids": ["t"]},
    ),
    "anything, as a viewer of everything": (KEYS["viewer"], "/key/generate", {}),
    "a key, as a viewer of one's own": (KEYS["user_viewer"], "/key/generate", {}),
    "a key, as a key of nobody": (KEYS["key"], "/key/generate", {}),
    "its own list, as a key of nobody": (
        KEYS["key"],
        "/key/update",
        {"key": KEYS["key"], "models": ["*"]},
    ),
    "routes by hand": (KEYS["user"], "/key/generate", {"allowed_routes": ["/key/*"]}),
    "all routes for a key that has few": (
        KEYS["user"],
        "/key/update",
        {"key": ROUTED, "allowed_routes": []},
    ),
    "another type for a key that has few routes": (
        KEYS["user"],
        "/key/update",
        {"key": ROUTED, "key_type": "management"},
    ),
    "all routes by a key that has few": (ROUTED, "/key/generate", {}),
    "other routes by a key that has few": (ROUTED, "/key/generate", {"key_type": "management"}),
    "wider routes by a key that has few": (
        ROUTED,
        "/key/generate",
        {"allowed_routes": ["/key/generate", "/v1/*"]},
    ),
    "all routes by an admin's key that has few": (ADMINS_ROUTED, "/key/generate", {}),
    "all routes by an admin's key, with a user": (ADMINS_ROUTED, "/user/new", {"user_id": "new"}),
    "all routes for an admin's key that has few": (
        ADMINS_ROUTED,
        "/key/update",
        {"key": ADMINS_ROUTED, "allowed_routes": []},
    ),
    "the secret of a key with all routes": (
        ADMINS_ROUTED,
        "/key/regenerate",
        {"key": OWN["admin"]},
    ),
    "a key with all routes for an admin": (
        ADMINS_ROUTED,
        "/key/update",
        {"key": KEYS["key"], "user_id": "admin"},
    ),
    "a call the key's routes leave out": (ROUTED, "/key/update", {"key": ROUTED}),
    "to block one's own key": (KEYS["user"], "/key/update", {"key": OWN["user"], "blocked": True}),
    "a larger budget": (KEYS["user"], "/key/update", {"key": OWN["user"], "max_budget": 9}),
    "many keys at once": (
        KEYS["user"],
        "/key/bulk_update",
        {"keys": [{"key": OWN["user"], "team_id": "t"}]},
    ),
    "a role": (KEYS["user"], "/user/update", {"user_id": "user", "user_role": "proxy_admin"}),
    "a list": (KEYS["user"], "/user/update", {"user_id": "user", "models": ["gpt-4"]}),
    "a role, among many users": (
        KEYS["user"],
        "/user/bulk_update",
        {"users": [{"user_id": "user", "user_role": "proxy_admin"}]},
    ),
    "another's alias": (KEYS["user"], "/user/update", {"user_id": "carol", "user_alias": "x"}),
    "an address": (
        KEYS["user"],
        "/user/update",
        {"user_id": "user", "user_email": "boss@example.com"},
    ),
    "no address": (KEYS["user"], "/user/update", {"user_id": "user", "user_email": None}),
    "to lead one's team": (
        KEYS["user"],
        "/team/member_update",
        {"team_id": "t", "user_id": "user", "role": "admin"},
    ),
    "to lead another team": (
        KEYS["lead"],
        "/team/member_add",
        {"team_id": "t2", "member": {"role": "admin", "user_id": "lead"}},
    ),
    "every user for the leader's team": (
        KEYS["lead"],
        "/team/bulk_member_add",
        {"team_id": "t", "all_users": True},
    ),
    "a wider list for the team": (
        KEYS["lead"],
        "/team/update",
        {"team_id": "t", "models": ["*"]},
    ),
    "to make a model": (KEYS["user"], "/model/new", {}),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_is_refused(world, attempt):
    key, path, body = ATTEMPTS[attempt]
    await world.made("/key/update", {"key": CAROLS, "key_alias": "carols"})
    world.journal.committed.clear()
    answer = await world.call("POST", path, body, key=key)
    assert answer.status in (401, 403), await answer.text()
    assert not world.journal.committed
    assert CAROLS not in await answer.text()


ALLOWED = {
    "a key that ends with the calling key": (ENDING, "/key/generate", {"duration": "1h"}),
    "the calling key under a new secret": (ENDING, "/key/regenerate", {"key": ENDING}),
    "something else of the calling key": (ENDING, "/key/update", {"key": ENDING, "tags": ["x"]}),
    "a key of one's own that does not end": (
        ENDING,
        "/key/update",
        {"key": OWN["user"], "tags": ["x"]},
    ),
    "an earlier end": (ENDING, "/key/update", {"key": OWN["user"], "duration": "30m"}),
    "the same list": (LIMITED, "/key/generate", {"models": ["gpt-4"]}),
    "nothing": (LIMITED, "/key/generate", {"models": ["no-default-models"]}),
    "one's own key, narrower": (KEYS["user"], "/key/update", {"key": LIMITED, "models": ["gpt-4"]}),
    "a key of one's team, with permission": (
        KEYS["user"],
        "/key/generate",
        {"team_id": "t", "models": ["openai/x"]},
    ),
    "a key of one's team without a list": (KEYS["user"], "/key/generate", {"team_id": "t"}),
    "all the team has": (
        KEYS["lead"],
        "/key/generate",
        {"team_id": "t", "user_id": "carol", "models": ["all-team-models"]},
    ),
    "a service account's key within the member's list": (
        KEYS["user"],
        "/key/service-account/generate",
        {"team_id": "narrow", "models": ["gpt-4"]},
    ),
    "one's own key without a list, which the member's list binds": (
        KEYS["user"],
        "/key/generate",
        {"team_id": "narrow"},
    ),
    "the same routes": (
        ROUTED,
        "/key/generate",
        {"allowed_routes": ["/key/generate", "/v1/embeddings"]},
    ),
    "fewer routes": (ROUTED, "/key/generate", {"allowed_routes": ["/v1/embeddings"]}),
    "fewer routes, as an admin": (
        ADMINS_ROUTED,
        "/key/update",
        {"key": ADMINS_ROUTED, "allowed_routes": ["/key/generate"]},
    ),
    "a key with all routes, but not its routes": (
        ADMINS_ROUTED,
        "/key/update",
        {"key": CAROLS, "tags": ["x"]},
    ),
    "a narrower type": (KEYS["user"], "/key/generate", {"key_type": "llm_api"}),
    "one's own key by its hash": (
        KEYS["user"],
        "/key/update",
        {"key": digest(OWN["user"]), "tags": ["x"]},
    ),
    "one's own alias, named by one's address": (
        KEYS["user"],
        "/user/update",
        {"user_email": "user@example.com", "user_alias": "x"},
    ),
    "one's own alias": (KEYS["user"], "/user/update", {"user_id": "user", "user_alias": "x"}),
    "anything, as an admin": (KEYS["admin"], "/key/update", {"key": CAROLS, "models": ["*"]}),
    "all routes, as an admin": (KEYS["admin"], "/key/generate", {"allowed_routes": ["/key/*"]}),
}


@pytest.mark.parametrize("attempt", ALLOWED)
async def test_what_is_within_ones_own_is_done(world, attempt):
    key, path, body = ALLOWED[attempt]
    answer = await world.call("POST", path, body, key=key)
    assert answer.status == 200, await answer.text()
    assert len(world.journal.committed) == 1


async def test_the_refusal_names_the_entry_and_what_could_be_given(world):
    body = {"models": ["gpt-4", "gpt-4o"]}
    answer = await world.call("POST", "/key/generate", body, key=LIMITED)
    error = (await answer.json())["error"]
    assert (answer.status, error["param"]) == (403, "models")
    assert "'gpt-4o'" in error["message"]
    assert "['gpt-4']" in error["message"]


async def test_a_missing_permission_is_told_apart(world):
    answer = await world.call("POST", "/key/delete", {"keys": [IN_TEAM]}, key=KEYS["user"])
    error = (await answer.json())["error"]
    assert (answer.status, error["type"]) == (401, "team_member_permission_error")
    assert "/key/delete" in error["message"]


async def test_only_an_admin_acts_in_somebody_elses_name(world):
    headers = {"litellm-changed-by": "somebody"}
    for key, by in ((KEYS["user"], "user"), (KEYS["admin"], "admin for somebody")):
        answer = await world.call("POST", "/key/generate", {}, key=key, headers=headers)
        made = await answer.json()
        assert world.journal.committed[-1][1] == by
        assert made["created_by"] == by.rpartition(" ")[2]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (("/key/block", {"key": KEYS["admin"]}), 401),
        (("/key/update", {"key": KEYS["admin"], "duration": "0s"}), 401),
        (("/key/update", {"key": KEYS["admin"], "allowed_routes": ["/v1/*"]}), 403),
        (("/user/update", {"user_id": "admin", "user_role": "internal_user"}), 401),
        (("/user/delete", {"user_ids": ["admin"]}), 401),
        (("/key/delete", {"keys": [KEYS["admin"]]}), 401),
    ],
)
async def test_an_admins_key_loses_its_power_with_the_next_call(world, change, status):
    assert (await world.call("POST", "/team/new", {}, key=KEYS["admin"])).status == 200
    await world.made(*change)
    assert (await world.call("POST", "/team/new", {}, key=KEYS["admin"])).status == status


async def test_a_filter_shows_no_more_than_the_list_without_it(world):
    async def listed(who):
        answer = await world.call("GET", "/key/list?user_id=carol", key=KEYS[who])
        return answer.status, (await answer.json()).get("keys")

    assert (await listed("user"))[0] == 403
    assert await listed("lead") == (200, [digest(CAROLS_IN_TEAM)])
    assert set((await listed("viewer"))[1]) == {digest(CAROLS), digest(CAROLS_IN_TEAM)}
