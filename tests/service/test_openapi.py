"""The description of the API, and that no answer is outside it: schemathesis, for a few seconds."""

import hashlib
import json
import re
from base64 import b64encode
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from services.gateway import about
from services.gateway.routes import served
from services.keys.endpoints import READS, WRITES
from shared.decisions import Listing, More
from tests.fuzz import seeds
from tests.fuzz.run import run
from tests.service import gateway_world
from tests.service.keys_world import MASTER, keys_world

CALLS = {call.call for call in (*WRITES, *READS)}


class TablePolicy(gateway_world.TablePolicy):
    """Says what a list's options ask for too."""

    async def ask(self, ask):
        answer = await super().ask(ask)
        if isinstance(answer, Listing) and ask.options is not None:
            return msgspec.structs.replace(answer, more=More())
        return answer


@asynccontextmanager
async def public():
    """A gateway before the management API, with records in it; what is known of them."""
    async with keys_world() as keys:

        async def call(method, path, body):
            answer = await keys.call(method, path, body)
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()

        known = await seeds.sow(call, "http://up.example/v1")
        url = str(keys.client.make_url("")).rstrip("/")
        policy = TablePolicy()
        async with gateway_world.running(policy=policy, keys_url=url, master_key=MASTER) as world:
            world.seeds = known
            world.keys_client = keys.client
            yield world


async def fetch(url):
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, answer.headers, await answer.text()


async def test_every_call_of_the_public_port_is_described_to_anybody_and_nothing_else():
    async with public() as world:
        status, headers, text = await fetch(f"{world.url}/openapi.json")
    assert (status, headers["cache-control"]) == (200, "public, max-age=60")
    paths = json.loads(text)["paths"]
    described = {f"{m.upper()} {path}" for path, calls in paths.items() for m in calls}
    ours = {f"{method} {path}" for path, route in served() for method in route.methods}
    assert described == CALLS | ours


async def test_a_description_outlives_keys():
    async with public() as world:
        _, _, before = await fetch(f"{world.url}/openapi.json")
        await world.keys_client.close()
        world.gateway._about._asked_at -= about.FRESH_S
        status, _, after = await fetch(f"{world.url}/openapi.json")
        assert (status, after) == (200, before)


async def test_without_keys_there_is_no_description_yet():
    async with gateway_world.running(keys_url="http://127.0.0.1:9") as world:
        status, headers, text = await fetch(f"{world.url}/openapi.json")
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(text)["error"]["type"] == "management_unavailable"
        assert (await fetch(f"{world.url}/docs"))[0] == 200


async def test_the_page_needs_no_other_host_and_runs_nothing_but_its_own():
    async with gateway_world.running() as world:
        status, headers, text = await fetch(f"{world.url}/docs")
    assert (status, headers.getall("content-type")) == (200, ["text/html; charset=utf-8"])
    assert not re.search(r"(?:https?:)?//[a-z]", text)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


BUDGET = ("--phases", "fuzzing", "--max-examples", "2", "--generation-deterministic")


async def test_no_answer_to_the_master_key_is_outside_the_description(tmp_path):
    other_spellings = ("--exclude-path-regex", "^/(?!v1/|v2/)[a-z]+$|/engines/|/deployments/")
    async with public() as world:
        done = await run(tmp_path, world.url, MASTER, world.seeds, *BUDGET, *other_spellings)
    assert done.code == 0, done.report
    assert not done.never_done(CALLS)


async def test_no_answer_to_an_internal_user_is_outside_the_description(tmp_path):
    async with public() as world:
        _, _, text = await fetch(f"{world.url}/openapi.json")
        theirs = {
            f"{method.upper()} {path}": call["operationId"]
            for path, calls in json.loads(text)["paths"].items()
            for method, call in calls.items()
            if "internal_user" in call.get("x-grantgate-roles", ())
        }
        only = [option for name in theirs.values() for option in ("--include-operation-id", name)]
        done = await run(tmp_path, world.url, seeds.LEAD, world.seeds, *BUDGET, *only)
    assert done.code == 0, done.report
    assert not done.never_done(theirs)
