"""Load above a limit is shed: those who are served do not feel it, and the log stays short."""

import asyncio
import json

import pytest

from tests.service.gateway_world import KEY, OTHER_KEY, raw_request, running
from tests.service.recording import SSE_HEAD, chunk, hang_up, reply, say, statuses


def holding(world):
    """Have the upstream answer only when the event that is returned is set."""
    go_on = asyncio.Event()

    async def script(_recorded, writer):
        await go_on.wait()
        writer.write(reply())

    world.openai.script = script
    return go_on


async def until(fact):
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110 - a fact of another task's
            await asyncio.sleep(0.01)


async def held_back_by(world, second):
    """The answer to `second` while one request is in flight; both ends of that one are checked."""
    go_on = holding(world)
    first = asyncio.create_task(say(world.port, raw_request()))
    async with asyncio.timeout(5):
        await world.openai.arrived.wait()
    answer = await say(world.port, second)
    go_on.set()
    assert statuses(await first) == [200]
    assert statuses(await say(world.port, raw_request())) == [200]
    return answer


def anthropic():
    return raw_request(b'{"model":"claude"}', target="/v1/messages")


async def test_above_the_limit_of_requests_the_next_is_503_and_health_is_answered():
    async with running(max_requests=1) as world:
        answer = await held_back_by(world, raw_request())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert statuses(answer) == [503]
        assert b"retry-after: 1" in head
        assert json.loads(body)["error"]["type"] == "overloaded"
        assert len(world.openai.requests) == 2
        assert world.shed == ["requests"]
        alive = raw_request(b"", target="/health/liveliness", method="GET", headers=["a: b"])
        assert statuses(await held_back_by(world, alive)) == [200]


@pytest.mark.parametrize(
    ("second", "read"),
    [
        (raw_request(), lambda body: (body["error"]["type"], body["error"]["code"])),
        (anthropic(), lambda body: (body["error"]["type"], "429")),
    ],
)
async def test_above_the_limit_of_a_key_its_next_is_429_in_the_shape_of_its_sdk(second, read):
    async with running(max_requests_per_key=1) as world:
        answer = await held_back_by(world, second)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert statuses(answer) == [429]
        assert b"retry-after: 1" in head
        expected = "rate_limit_error" if b"request-id: " in head.replace(b"x-r", b"") else ""
        assert read(json.loads(body)) == (expected or "throttling_error", "429")
        assert not world.claude.requests


async def test_one_keys_limit_is_not_anothers():
    async with running(max_requests_per_key=1) as world:
        other = raw_request(key=OTHER_KEY)
        assert statuses(await held_back_by(world, other)) == [401]
        assert world.gateway.load._by_key == {}
        assert world.gateway.load.in_flight == 0


async def test_row_50_an_address_has_so_many_connections_and_the_next_is_closed():
    async with running(max_connections_per_address=2) as world:
        held = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(2)]
        for _, writer in held:
            writer.write(raw_request().replace(b"Connection: close\r\n", b""))
        for reader, _ in held:
            await reader.readuntil(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        assert await reader.read() == b""
        await hang_up(writer)
        assert world.shed == ["connections_per_address"]
        await hang_up(held.pop()[1])
        await until(
            lambda: (
                len(world.gateway_server._by_client)
                and set(world.gateway_server._by_client.values()) == {1}
            )
        )
        assert statuses(await say(world.port, raw_request())) == [200]
        await hang_up(held.pop()[1])
        await until(lambda: not world.gateway_server._by_client)


async def test_row_31_a_client_that_takes_nothing_of_its_answer_is_cut_off():
    async with running(client_stall_timeout_s=0.2) as world:

        async def endless(_recorded, writer):
            writer.write(SSE_HEAD)
            while not writer.is_closing():
                writer.write(chunk(b"data: " + b"x" * 65536 + b"\n\n"))
                await writer.drain()

        world.openai.script = endless
        _, writer = await asyncio.open_connection("127.0.0.1", world.port, limit=1024)
        writer.write(raw_request())
        try:
            await until(lambda: world.shed == ["client_stall"])
            await until(lambda: world.gateway.load.in_flight == 0)
        finally:
            writer.transport.abort()
            await hang_up(writer)


async def test_row_31_a_client_that_takes_nothing_of_a_whole_last_answer_is_cut_off():
    async with running(client_stall_timeout_s=0.2) as world:
        size = 32 * 1024 * 1024
        world.openai.answering(b"y" * size)
        _, writer = await asyncio.open_connection("127.0.0.1", world.port, limit=1024)
        writer.write(raw_request())
        try:
            await until(lambda: world.shed == ["client_stall"])
            await until(lambda: not world.gateway_server.connections)
        finally:
            writer.transport.abort()
            await hang_up(writer)


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it():
    async with running(client_stall_timeout_s=0.5) as world:
        size = 8 * 1024 * 1024
        world.openai.answering(b"y" * size)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, limit=4096)
        writer.write(raw_request())
        read = 0
        while piece := await reader.read(256 * 1024):
            read += len(piece)
            await asyncio.sleep(0.01)
        assert read > size
        assert world.shed == []
        await hang_up(writer)


async def test_row_66_a_flood_of_unknown_keys_is_a_few_lines_with_a_count(capfd):
    async with running(refusals_logged_per_s=2) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        flood = raw_request(key=OTHER_KEY).replace(b"Connection: close\r\n", b"")
        for _ in range(100):
            writer.write(flood)
            await reader.readuntil(b"HTTP/1.1 401")
        await hang_up(writer)
        # The next second's first line tells of the rest.
        async with asyncio.timeout(10):
            while b"suppressed" not in (logged := capfd.readouterr().err.encode()):
                await say(world.port, raw_request(key=OTHER_KEY))
        assert logged.count(b"token_not_found") == 0
        assert logged.count(b"key_unknown") < 20
        assert KEY.encode() not in logged
        answer = await say(world.port, raw_request())
        assert statuses(answer) == [200]
