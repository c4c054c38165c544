"""`/v1/models` as clients see it: options, teams, and what upstreams are found to have."""

import asyncio
import json

import aiohttp
import pytest

from services.gateway.errors import PolicyUnavailable
from services.gateway.upstreams import Upstream
from services.policy.responder import answer
from shared.catalogue import Deployment
from shared.changes import KeyGrant, RetiredKey, TeamGrant
from shared.credentials import Secret
from shared.decisions import MASTER, Behind, ListOptions
from tests.parts import until
from tests.service.gateway_world import KEY, MASTER_KEY, OTHER_KEY, UPSTREAM_SECRET, Client, running
from tests.service.recording import chunk, reply
from tests.unit.test_every_list import extend
from tests.unit.test_every_list import table_of as table_of_models

DIGEST, OTHER = Secret(KEY).digest(), Secret(OTHER_KEY).digest()
CATALOGUE = (
    Deployment(id="plain", name="plain", access_groups=("beta",), position=10),
    Deployment(id="o", name="openai/*", access_groups=("default",), position=11),
    Deployment(id="o1", name="openai/o1-*", access_groups=("restricted",), position=12),
    Deployment(id="c", name="claude/*", position=13),
)
OPENAI = ("gpt-4", "gpt-4o", "o1-mini", "GPT-5", "openai/o1-mini", "bad\x00", "a b", "x" * 300, "*")


class GrantPolicy:
    """Answers from a grant table, as a policy replica does."""

    def __init__(self, *mutations):
        self.table = table_of_models(*CATALOGUE, *mutations)
        for name in ("a", "b", "both", "p/*"):
            assert name in self.table.catalogue.names
        self.asked = []
        self.floor = 0

    async def ask(self, ask):
        self.asked.append(ask)
        found = answer(self.table, ask, 0.0)
        if isinstance(found, Behind):
            raise PolicyUnavailable
        return found

    def saw(self, revision):
        self.floor = max(self.floor, revision)

    async def ping(self):
        return self.table.rev


def upstreams(openai, claude, dead):
    def at(deployment, name, port, **more):
        url = f"http://127.0.0.1:{port}/v1"
        return Upstream(id=deployment, base_url=url, name=name, **{"speaks": "openai"} | more)

    bearer = (("authorization", f"Bearer {UPSTREAM_SECRET}"),)
    keyed = (("x-api-key", UPSTREAM_SECRET),)
    return [
        at("o", "openai/*", openai, model="*", headers=bearer),
        at("o1", "openai/o1-*", dead, model="o1-*"),
        at("c", "claude/*", claude, speaks="anthropic", model="*", headers=keyed),
        at("p", "p/*", dead, model="fixed"),
    ]


def models(*names, **more):
    return json.dumps({"object": "list", "data": [{"id": n} for n in names], **more}).encode()


def lists(*mutations, discover=True, **changes):
    policy = GrantPolicy(*mutations)
    return running(policy=policy, extra=upstreams, discover_models=discover, **changes)


async def send(world, query="", key=KEY, path="/v1/models"):
    async with aiohttp.ClientSession(
        world.url, headers={"Authorization": f"Bearer {key}"}
    ) as session:
        return await Client(world, session).send("GET", path + query)


async def listed(world, query="", key=KEY):
    found = await send(world, query, key)
    assert found.status == 200, found.body
    assert UPSTREAM_SECRET.encode() not in world.seen_by_clients
    return [model["id"] for model in found.json()["data"]]


ALL = KeyGrant(id=DIGEST)


# -- options


async def test_groups_are_listed_after_the_models_or_alone():
    async with lists(KeyGrant(id=DIGEST, models=("beta", "default")), discover=False) as world:
        assert await listed(world) == ["plain", "openai/*"]
        assert world.policy.asked[-1].options is None
        groups = await listed(world, "?include_model_access_groups=true")
        assert groups == ["plain", "openai/*", "beta", "default"]
        for query in ("only_model_access_groups=true", "only_model_access_groups=True&x=y"):
            assert await listed(world, "?" + query) == ["beta", "default"]
        assert await listed(world, "?return_wildcard_routes=true") == ["plain", "openai/*"]
        refused = await send(world, "?only_model_access_groups=maybe")
        assert (refused.status, refused.error["param"]) == (400, "only_model_access_groups")


async def test_a_teams_list_for_its_key_and_for_the_master_key_needs_no_keys_service():
    team = TeamGrant(id="t", models=("plain", "a"))
    grant = KeyGrant(id=DIGEST, team_id="t", models=("a",))
    async with lists(team, grant, discover=False) as world:
        assert await listed(world) == ["a"]
        assert await listed(world, "?team_id=t") == ["a", "plain"]
        assert await listed(world, "?team_id=t", MASTER_KEY) == ["a", "plain"]
        nothing = await send(world, "?team_id=nobody", MASTER_KEY)
        assert (nothing.status, nothing.error["param"]) == (403, "team_id")
        assert not world.keys.requests


@pytest.mark.parametrize(
    ("answered", "status"),
    [("200 OK", 200), ("403 No", 403), ("404 No", 403), ("401 No", 403), ("500 Oops", 503)],
)
async def test_whether_another_may_see_a_team_is_asked_of_keys_as_the_caller(answered, status):
    team = TeamGrant(id="t & u", models=("plain",))
    async with lists(team, ALL, discover=False) as world:
        world.keys.answering(b'{"team_id":"t"}', status=answered)
        found = await send(world, "?team_id=t%20%26%20u")
        assert found.status == status
        (asked,) = world.keys.requests
        assert asked.target == "/team/info?team_id=t+%26+u&key_limit=0"
        assert asked.header("authorization") == f"Bearer {KEY}"
        if status == 200:
            assert [model["id"] for model in found.json()["data"]] == ["plain"]
            assert [ask.key for ask in world.policy.asked] == [DIGEST, MASTER]
        elif status == 403:
            assert found.headers["x-grantgate-reason"] == "team_not_visible"
            assert found.error["type"] == "team_access_denied"
            assert "t & u" in found.error["message"]


async def test_a_team_that_cannot_be_asked_about_is_503_and_an_unknown_key_401():
    async with lists(TeamGrant(id="t"), ALL, discover=False) as world:
        assert (await send(world, "?team_id=t", OTHER_KEY)).status == 401
        assert not world.keys.requests
        world.gateway._management._keys_url = "http://127.0.0.1:1"
        found = await send(world, "?team_id=t")
        assert (found.status, found.headers["retry-after"]) == (503, "1")


async def test_an_answer_without_what_was_asked_for_is_no_list():
    async with running() as world:  # its policy knows no options, as one of an older version
        assert (await send(world)).status == 200
        assert (await send(world, "?team_id=t")).status == 503
        assert (await send(world, "?include_model_access_groups=true")).status == 503


async def test_a_list_says_when_an_old_secret_ends():
    retired = RetiredKey(id=OTHER, successor=DIGEST, until=60.0)
    async with lists(ALL, retired, discover=False) as world:
        for path in ("/v1/models", "/models", "/v1/models/plain", "/v1/models/openai%2F*"):
            old, new = await send(world, "", OTHER_KEY, path), await send(world, "", KEY, path)
            assert (old.status, new.status) == (200, 200)
            assert old.headers["x-grantgate-key-retires-at"] == "1970-01-01T00:01:00Z"
            assert "x-grantgate-key-retires-at" not in new.headers


async def test_one_model_is_answered_as_ever_and_asks_no_upstream():
    async with lists(KeyGrant(id=DIGEST, models=("default",))) as world:
        for name, status in (
            ("openai%2Fgpt-4", 200),
            ("openai%2F*", 200),
            ("openai%2Fo1-mini", 404),
            ("plain", 404),
        ):
            found = await send(world, "?team_id=x", path=f"/v1/models/{name}")
            assert found.status == status, name
        assert world.reached_nothing()


# -- discovery


async def test_a_pattern_becomes_the_names_its_upstream_has_and_the_decision_allows():
    async with lists(KeyGrant(id=DIGEST, models=("beta", "default", "!openai/gpt-4o"))) as world:
        world.openai.answering(models(*OPENAI))
        names = await listed(world)
        assert names == ["plain", "openai/gpt-4", "openai/GPT-5"]
        (sent,) = world.openai.requests
        assert (sent.method, sent.target, sent.body) == ("GET", "/v1/models", b"")
        assert sent.header("authorization") == f"Bearer {UPSTREAM_SECRET}"
        assert sent.header("host") == f"127.0.0.1:{world.openai.port}"
        assert not world.claude.requests  # nothing there may be called
        wildcards = await listed(world, "?return_wildcard_routes=true")
        assert wildcards == ["plain", "openai/*", "openai/gpt-4", "openai/GPT-5"]
        assert await listed(world, "?only_model_access_groups=true") == ["beta", "default"]
        assert len(world.openai.requests) == 1


async def test_every_listed_name_is_one_that_may_be_called():
    async with lists(KeyGrant(id=DIGEST, models=("default", "openai/o1-mini"))) as world:
        world.openai.answering(models(*OPENAI))
        names = await listed(world)
        # The narrower pattern's own upstream does not tell, and this one may not serve it.
        assert names == ["openai/gpt-4", "openai/gpt-4o", "openai/GPT-5", "openai/o1-*"]
        world.openai.answering()
        for name in names[:-1]:
            async with aiohttp.ClientSession(
                world.url, headers={"Authorization": f"Bearer {KEY}"}
            ) as session:
                assert (await Client(world, session).chat(name)).status == 200, name


async def test_callers_share_what_is_known_and_each_sees_their_own_part():
    team = TeamGrant(id="t", models=("openai/gpt-4",))
    one = KeyGrant(id=OTHER, models=("openai/GPT*",), team_id="t")
    async with lists(ALL, one, team) as world:
        world.openai.answering(models(*OPENAI))
        world.claude.answering(models("opus", has_more=False))
        names = await listed(world)
        assert [n for n in names if "/" in n] == [
            "p/*",
            "openai/gpt-4",
            "openai/gpt-4o",
            "openai/GPT-5",
            "openai/o1-*",
            "claude/opus",
        ]
        assert await listed(world, "", OTHER_KEY) == []
        assert await listed(world, "?team_id=t", OTHER_KEY) == ["openai/gpt-4"]
        assert len(world.openai.requests) == 1


async def test_anthropics_upstream_is_asked_in_its_own_words():
    async with lists(KeyGrant(id=DIGEST, models=("claude/*",))) as world:
        world.claude.answering(models("opus", "haiku", has_more=False))
        assert await listed(world) == ["claude/opus", "claude/haiku"]
        (sent,) = world.claude.requests
        assert sent.target == "/v1/models?limit=1000"
        assert sent.header("x-api-key") == UPSTREAM_SECRET
        assert sent.header("anthropic-version") == "2023-06-01"


TOO_MANY = models(*(f"m{n}" for n in range(2001)))


@pytest.mark.parametrize(
    "given",
    [
        reply(models("gpt-4"), status="500 Oops"),
        reply(b"", status="302 Found", headers=["Location: /v1/models2"]),
        reply(b"", status="401 No"),
        reply(b"", status="204 Nothing"),
        reply(b"not json"),
        reply(b'{"data": {"id": "gpt-4"}}'),
        reply(b'{"data": [{"id": 4}]}'),
        reply(b"[" * 100_000),
        reply(models()),
        reply(models("bad\x00", "x" * 300)),
        reply(models("gpt-4", has_more=True)),
        reply(TOO_MANY),
        reply(models("gpt-4"))[:-5],
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"[:20],
        b"\x00\x01",
    ],
    ids=lambda given: given[:24].decode("latin-1") + str(len(given)),
)
async def test_whatever_goes_wrong_the_pattern_stays_and_is_not_asked_for_at_once(given, capfd):
    async def script(_recorded, writer):
        writer.write(given)
        writer.close()

    async with lists(KeyGrant(id=DIGEST, models=("default",))) as world:
        world.openai.script = script
        for _ in range(3):
            assert await listed(world) == ["openai/*"]
        assert [sent.target for sent in world.openai.requests] == ["/v1/models"]
    out = "".join(capfd.readouterr())
    assert out.count("models_not_discovered") == 1
    assert UPSTREAM_SECRET not in out
    assert "Traceback" not in out


async def test_an_unreachable_upstream_leaves_its_pattern():
    async with lists(KeyGrant(id=DIGEST, models=("restricted",))) as world:
        assert await listed(world) == ["openai/o1-*"]


async def test_a_pattern_stays_when_nothing_its_upstream_has_is_allowed():
    async with lists(KeyGrant(id=DIGEST, models=("openai/unlisted",))) as world:
        world.openai.answering(models("gpt-4"))
        assert await listed(world) == ["openai/*"]


async def test_a_body_without_end_is_given_up():
    given_up = asyncio.Event()

    async def script(_recorded, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(chunk(b" " * 65536))
                await writer.drain()
        finally:
            given_up.set()

    async with lists(KeyGrant(id=DIGEST, models=("default",))) as world:
        world.openai.script = script
        assert await listed(world) == ["openai/*"]
        await asyncio.wait_for(given_up.wait(), 5)


async def test_a_slow_upstream_is_asked_once_for_all_who_wait_and_who_leaves_harms_nobody():
    answered = asyncio.Event()

    async def script(_recorded, writer):
        await answered.wait()
        writer.write(reply(models("gpt-4")))

    patience = {"limit_s": 10.0}
    async with lists(KeyGrant(id=DIGEST, models=("default",)), patience=patience) as world:
        world.openai.script = script
        waiting = [asyncio.ensure_future(listed(world)) for _ in range(3)]
        await until(lambda: len(world.policy.asked) == 3 and world.openai.requests, "all to wait")
        waiting[0].cancel()  # one who leaves takes nobody's answer along
        answered.set()
        assert await waiting[1] == await waiting[2] == ["openai/gpt-4"]
        assert len(world.openai.requests) == 1


async def test_a_silent_upstream_leaves_its_pattern_after_the_limit():
    async def script(_recorded, _writer):
        await asyncio.Event().wait()

    patience = {"limit_s": 0.1}
    async with lists(KeyGrant(id=DIGEST, models=("default",)), patience=patience) as world:
        world.openai.script = script
        assert await listed(world) == ["openai/*"]


async def test_what_was_found_is_asked_for_again_when_it_is_old():
    patience = {"kept_s": 0.0}
    async with lists(KeyGrant(id=DIGEST, models=("default",)), patience=patience) as world:
        world.openai.answering(models("gpt-4"))
        assert await listed(world) == ["openai/gpt-4"]
        world.openai.answering(models("gpt-5"))
        assert await listed(world) == ["openai/gpt-5"]


async def test_a_change_of_the_grant_is_in_the_next_list():
    async with lists(KeyGrant(id=DIGEST, models=("default",))) as world:
        world.openai.answering(models("gpt-4", "gpt-5"))
        assert await listed(world) == ["openai/gpt-4", "openai/gpt-5"]
        extend(world.policy.table, KeyGrant(id=DIGEST, models=("default", "!openai/gpt-4")))
        assert await listed(world) == ["openai/gpt-5"]
        extend(world.policy.table, KeyGrant(id=DIGEST, blocked=True))
        assert (await send(world)).status == 401


async def test_nothing_is_asked_of_upstreams_without_the_setting():
    async with lists(ALL, discover=False) as world:
        assert "openai/*" in await listed(world)
        assert world.reached_nothing()
        assert ListOptions() not in [ask.options for ask in world.policy.asked]
