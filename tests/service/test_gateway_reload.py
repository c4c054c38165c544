"""Another file's upstreams under a gateway that is serving: each request has one or the other."""

import asyncio

import pytest

from services.gateway.app import _replace
from services.gateway.routes import resolve
from services.gateway.upstreams import Upstream, Upstreams
from tests.service.gateway_world import UPSTREAM_SECRET, client, world
from tests.service.recording import SSE_HEAD, Recorder, chunk

__all__ = ["client", "world"]

NEW_SECRET = "up-secret-after-the-reload"


@pytest.fixture
async def moved():
    """Where the deployments are after the reload."""
    async with Recorder().running() as recorder:
        yield recorder


def at(recorder, deployment="gpt-4-a", name="gpt-4"):
    return Upstream(
        id=deployment,
        speaks="openai",
        base_url=f"http://127.0.0.1:{recorder.port}/v1",
        name=name,
        model="moved",
        headers=(("authorization", f"Bearer {NEW_SECRET}"),),
    )


def reload(world, *upstreams):
    _replace(world.stored, world.relay, Upstreams({each.id: each for each in upstreams}))


async def test_the_next_request_goes_to_the_new_address_with_the_new_credential(
    world,
    client,
    moved,
):
    assert (await client.chat()).status == 200
    reload(world, at(moved))

    assert (await client.chat()).status == 200

    (before,), (after,) = world.openai.requests, moved.requests
    assert before.header("authorization") == f"Bearer {UPSTREAM_SECRET}"
    assert after.header("authorization") == f"Bearer {NEW_SECRET}"
    assert after.json()["model"] == "moved"
    assert after.header("host") == f"127.0.0.1:{moved.port}"


async def test_a_credential_never_goes_to_the_address_that_replaced_its_own(
    world,
    client,
    moved,
):
    old = world.stored.get("gpt-4-a")
    await client.chat()
    reload(world, at(moved))
    await client.chat()
    suffix = resolve("POST", "/v1/chat/completions").suffix

    line = world.relay._line(world.stored.get("gpt-4-a"), suffix, "gpt-4")
    # As a request would that had begun before the reload.
    late = world.relay._line(old, suffix, "gpt-4")

    assert late.target.port == world.openai.port
    assert line.target.port == moved.port
    assert not any(kept.upstream is old for kept in world.relay._lines.values())


async def test_what_decisions_still_name_is_served_until_it_is_dropped(world, client, moved, capfd):
    gone = world.stored.declare(Upstreams({"other": at(moved, "other", "other")}))
    world.relay.forget()
    assert (await client.chat()).status == 200
    assert len(world.openai.requests) == 1

    world.stored.drop(gone)

    answer = await client.chat()
    assert (answer.status, answer.error["type"]) == (503, "configuration_mismatch")
    assert "deployment_unknown" in capfd.readouterr().out
    assert not moved.requests


async def test_what_came_back_meanwhile_is_not_dropped(world, client, moved):
    gone = world.stored.declare(Upstreams({}))
    world.stored.declare(Upstreams({"gpt-4-a": at(moved)}))
    world.stored.drop(gone)
    assert (await client.chat()).status == 200
    assert len(moved.requests) == 1


async def test_a_stream_in_flight_ends_where_it_began(world, client, moved):
    go_on = asyncio.Event()

    async def script(_recorded, writer):
        writer.write(SSE_HEAD + chunk(b"data: one\n\n"))
        await writer.drain()
        await go_on.wait()
        writer.write(chunk(b"data: [DONE]\n\n") + chunk(b""))

    world.openai.script = script
    streaming = asyncio.create_task(client.chat(stream=True))
    await asyncio.wait_for(world.openai.arrived.wait(), 10)
    reload(world, at(moved))
    go_on.set()
    answer = await streaming
    assert (answer.status, answer.body) == (200, b"data: one\n\ndata: [DONE]\n\n")
    assert not moved.requests
