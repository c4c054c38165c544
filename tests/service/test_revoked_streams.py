"""A stream ends when its caller may not have it any more, and for no other reason."""

import asyncio
import time
from contextlib import suppress

import pytest

from services.gateway.revocations import Revocations
from shared.decisions import Allow, Deny, DenyReason
from shared.replication import Member, encode
from tests.parts import until
from tests.service.gateway_world import MASTER_KEY, raw_request, world
from tests.service.recording import SSE_HEAD, chunk, hang_up

__all__ = ["world"]

WITHIN_S = 3.0
"""A second on a machine that does nothing else."""
MODELS = {
    "/v1/chat/completions": b'{"model":"gpt-4"}',
    "/v1/messages": b'{"model":"claude"}',
}


@pytest.fixture
async def watched(world):
    """The world with the task that looks for revocations at work, and no reports."""
    world.gateway.revocations._recheck_s = 0.3
    running = asyncio.create_task(world.gateway.revocations.run())
    yield world
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def endless(recorder):
    async def script(_recorded, writer):
        writer.write(SSE_HEAD)
        while not recorder.client_left.is_set():
            writer.write(chunk(b"data: 1\n\n"))
            await asyncio.wait({asyncio.ensure_future(recorder.client_left.wait())}, timeout=0.02)

    recorder.script = script


async def open_stream(world, path="/v1/chat/completions", **kwargs):
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(raw_request(MODELS[path], target=path, **kwargs))
    await reader.readuntil(b"data: 1\n\n")
    return reader, writer


def deny(world, reason):
    world.policy.revision += 1
    world.policy.says = Deny(world.policy.revision, reason)


@pytest.mark.parametrize("path", MODELS)
@pytest.mark.parametrize(
    "reason",
    [
        DenyReason.KEY_BLOCKED,
        DenyReason.KEY_UNKNOWN,
        DenyReason.TEAM_BLOCKED,
        DenyReason.TEAM_MODEL_NOT_ALLOWED,
    ],
)
async def test_a_revoked_stream_ends_with_an_error_and_its_upstream_too(watched, path, reason):
    recorder = watched.claude if path == "/v1/messages" else watched.openai
    endless(recorder)
    reader, writer = await open_stream(watched, path)
    deny(watched, reason)
    async with asyncio.timeout(WITHIN_S):
        rest = await reader.read()
    assert b"Access was revoked" in rest
    assert b"[DONE]" not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert (b"event: error\n" in rest) is (path == "/v1/messages")
    async with asyncio.timeout(WITHIN_S):
        await recorder.client_left.wait()
    await hang_up(writer)


async def test_an_expired_key_ends_its_stream_though_nothing_was_changed(watched, monkeypatch):
    monkeypatch.setattr("services.gateway.revocations._UNCHANGED_S", 0.1)
    endless(watched.openai)
    reader, writer = await open_stream(watched)
    watched.policy.says = Deny(watched.policy.revision, DenyReason.KEY_EXPIRED)
    async with asyncio.timeout(WITHIN_S):
        assert b"Access was revoked" in await reader.read()
    await hang_up(writer)


async def test_only_the_streams_that_are_denied_end(watched):
    async def script(_recorded, writer):
        writer.write(SSE_HEAD)
        with suppress(ConnectionError):
            while (
                not writer.is_closing() and not closing.is_set()
            ):  # the other stream's end is not this one's
                writer.write(chunk(b"data: 1\n\n"))
                await writer.drain()
                await asyncio.wait({asyncio.ensure_future(closing.wait())}, timeout=0.02)

    closing = asyncio.Event()
    watched.openai.script = script
    denied = await open_stream(watched)
    allowed = await open_stream(watched, key=MASTER_KEY)
    table = watched.policy.ask

    async def without_the_key(ask):
        if len(ask.key) == 32:
            return Deny(watched.policy.revision, DenyReason.KEY_BLOCKED)
        return await table(ask)

    watched.policy.ask = without_the_key
    watched.policy.revision += 1
    async with asyncio.timeout(WITHIN_S):
        assert b"Access was revoked" in await denied[0].read()
    for _ in range(60):  # more than had come before
        assert b"revoked" not in await allowed[0].readuntil(b"data: 1\n\n")
    closing.set()
    for _, writer in (denied, allowed):
        await hang_up(writer)


async def test_not_knowing_ends_no_stream(watched):
    endless(watched.openai)
    reader, writer = await open_stream(watched)
    watched.policy.is_down = True
    watched.policy.revision += 1
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        assert b"revoked" not in await reader.readuntil(b"data: 1\n\n")
    await hang_up(writer)


async def test_a_client_that_does_not_read_is_dropped(watched):
    ended = asyncio.Event()

    async def much(_recorded, writer):
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        try:
            while True:
                writer.write(chunk(b"y" * 65536))
                await writer.drain()
        finally:
            ended.set()

    watched.openai.script = much
    _, writer = await open_stream(watched)
    deny(watched, DenyReason.KEY_BLOCKED)
    try:
        async with asyncio.timeout(3 * WITHIN_S):
            await ended.wait()
    finally:
        writer.transport.abort()


async def test_one_question_is_asked_for_many_streams_and_none_while_nothing_changes():
    asked = []
    revision = 7

    async def ask(caller, model, route):
        asked.append((caller.key, model, route))
        return Allow(revision, model, ("d",))

    async def current():
        return revision

    revocations = Revocations(ask, current, clock=time.monotonic, recheck_s=0.01)
    caller = type("Caller", (), {"key": b"k" * 32})
    watching = [revocations.watched(caller, "m", "/r", 7, asked.clear) for _ in range(50)]
    for each in watching:
        each.__enter__()
    running = asyncio.create_task(revocations.run())
    looks = 0

    async def counted():
        nonlocal looks
        looks += 1
        return revision

    revocations._revision = counted
    await until(lambda: looks > 5, "some looks")
    assert asked == []
    revision = 8
    await until(lambda: asked, "a question")
    looks = 0
    await until(lambda: looks > 5, "some looks")
    assert asked == [(b"k" * 32, "m", "/r")]
    running.cancel()
    for each in watching:
        each.__exit__(None, None, None)


async def test_the_last_report_of_a_change_ends_what_the_first_came_too_early_for():
    """The replica that is asked first has not applied the change yet; no look is due by time."""
    answers, ended = [Allow(7, "m", ("d",)), Deny(8, DenyReason.KEY_BLOCKED)], asyncio.Event()
    asked = []

    async def ask(*question):
        asked.append(question)
        return answers.pop(0)

    async def never():
        pytest.fail("looked without a report")

    revocations = Revocations(ask, never, clock=time.monotonic, recheck_s=60)
    caller = type("Caller", (), {"key": b"k" * 32})
    with revocations.watched(caller, "m", "/r", 7, ended.set) as stream:
        running = asyncio.create_task(revocations.run())
        for number in range(2):
            report = Member(replica=f"r{number}", epoch="e", rev=8, chain=b"", schema=1)
            revocations.heard("policy.applied.r", "", encode(report))
            await until(lambda n=number: len(asked) > n, "a question")
        await asyncio.wait_for(ended.wait(), WITHIN_S)
        revocations.heard("policy.applied.r", "", b"no report")
        assert stream.denied.reason is DenyReason.KEY_BLOCKED
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
