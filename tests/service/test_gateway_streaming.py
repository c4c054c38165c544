"""A stream crosses byte for byte, as it comes, and ends as its upstream ended it."""

import asyncio
import resource

import pytest

from tests.parts import until
from tests.service.gateway_world import HASTY, raw_request, running, world
from tests.service.recording import SSE_HEAD, chunk, hang_up, say, statuses

__all__ = ["world"]

EVENTS = b'data: {"a":"\xc3\xa9\xf0\x9f\x98\x80"}\r\n\r\ndata: x\n\n: ping\n\ndata: [DONE]\n\n'
END = b"0\r\n\r\n"


def body_of(answer):
    """The body of a chunked answer, and whether it was ended."""
    rest = answer.partition(b"\r\n\r\n")[2]
    out = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return out, True
        out, rest = out + rest[:length], rest[length + 2 :]
    return out, False


async def open_stream(world, **kwargs):
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(raw_request(**kwargs))
    return reader, writer


async def test_a_stream_cut_anywhere_arrives_unchanged(world):
    async def one_byte_each(_recorded, writer):
        writer.write(SSE_HEAD)
        for at in range(len(EVENTS)):
            writer.write(chunk(EVENTS[at : at + 1]))
            await writer.drain()
        writer.write(END)

    world.openai.script = one_byte_each
    answer = await say(world.port, raw_request())
    assert body_of(answer) == (EVENTS, True)
    assert b"text/event-stream" in answer


async def test_an_event_is_passed_on_before_the_next_exists(world):
    seen = asyncio.Event()

    async def second_after_first_was_seen(_recorded, writer):
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await seen.wait()
        writer.write(chunk(b"data: 2\n\n") + END)

    world.openai.script = second_after_first_was_seen
    reader, writer = await open_stream(world)
    async with asyncio.timeout(5):
        await reader.readuntil(b"data: 1\n\n")
        seen.set()
        await reader.readuntil(b"data: 2\n\n")
    await hang_up(writer)


@HASTY
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("ending", ["close", "reset", "stall"])
async def test_an_upstream_that_dies_mid_stream_is_an_error_and_no_end(world, path, ending):
    recorder = world.claude if path == "/v1/messages" else world.openai

    async def die(_recorded, writer):
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await writer.drain()
        if ending == "stall":
            await recorder.client_left.wait()
        elif ending == "reset":
            writer.transport.abort()
        else:
            writer.close()

    recorder.script = die
    model = b'{"model":"claude"}' if path == "/v1/messages" else b'{"model":"gpt-4"}'
    answer = await say(world.port, raw_request(model, target=path))
    body, is_ended = body_of(answer)
    assert not is_ended
    assert body.startswith(b"data: 1\n\n")
    assert b"[DONE]" not in body
    assert b"broke off" in body
    assert (b"event: error\n" in body) is (path == "/v1/messages")


@pytest.mark.parametrize("sent", [b"data: 1\n\ndata: {", b"data: [DONE]", b"data: 1\n"])
async def test_half_an_event_is_not_made_whole_by_an_error(world, sent):
    async def die(_recorded, writer):
        writer.write(SSE_HEAD + chunk(sent))
        await writer.drain()
        writer.close()

    world.openai.script = die
    body, is_ended = body_of(await say(world.port, raw_request()))
    assert (body, is_ended) == (sent, False)


async def test_an_error_event_never_fills_the_length_that_an_upstream_announced(world):
    events = b"data: 1\n\n" * 10_000

    async def die(_recorded, writer):
        length = b"Content-Length: %d\r\n\r\n" % (len(events) + 200)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + length + events)
        await writer.drain()
        writer.close()

    world.openai.script = die
    answer = await say(world.port, raw_request())
    assert answer.endswith(b"\r\n\r\n" + events)


@pytest.mark.parametrize("head", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
async def test_another_body_that_breaks_off_is_broken_off(world, head):
    async def die(_recorded, writer):
        data = b"x" * 70_000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n" + head + b"\r\n\r\n")
        writer.write(chunk(data) if b"chunked" in head else data)
        await writer.drain()
        writer.close()

    world.openai.script = die
    answer = await say(world.port, raw_request())
    assert statuses(answer) == [200]
    assert not answer.endswith(END)
    assert answer.count(b"x") >= 70_000
    assert b"error" not in answer


async def test_to_an_old_client_a_body_that_breaks_off_ends_in_a_reset(world):
    async def die(_recorded, writer):
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n"
        )
        writer.write(b"\r\n" + chunk(b"x" * 70_000))
        await writer.drain()
        writer.close()

    world.openai.script = die
    with pytest.raises(ConnectionResetError):
        await say(world.port, raw_request().replace(b"HTTP/1.1", b"HTTP/1.0"))


async def test_a_client_that_leaves_closes_its_upstream_within_a_second(world):
    async def endless(_recorded, writer):
        writer.write(SSE_HEAD)
        while not world.openai.client_left.is_set():
            writer.write(chunk(b"data: 1\n\n"))
            await asyncio.wait(
                {asyncio.ensure_future(world.openai.client_left.wait())}, timeout=0.05
            )

    world.openai.script = endless
    reader, writer = await open_stream(world)
    await reader.readuntil(b"data: 1\n\n")
    await hang_up(writer)
    async with asyncio.timeout(1):
        await world.openai.client_left.wait()


async def test_a_client_that_leaves_before_the_first_byte_closes_its_upstream():
    async with running() as world:

        async def silent(_recorded, _writer):
            await world.openai.client_left.wait()

        world.openai.script = silent
        _, writer = await open_stream(world)
        async with asyncio.timeout(5):
            await world.openai.arrived.wait()
        await hang_up(writer)
        async with asyncio.timeout(1):
            await world.openai.client_left.wait()


async def test_slow_readers_slow_their_upstream_and_hold_no_memory(world):
    size = 48 * 1024 * 1024
    sent = 0

    async def much(_recorded, writer):
        nonlocal sent
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // 65536):
            writer.write(b"y" * 65536)
            await writer.drain()
            sent += 65536

    world.openai.script = much
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    streams = [await open_stream(world) for _ in range(8)]
    for reader, _ in streams:
        await reader.readuntil(b"\r\n\r\n")
    # Nobody reads: the upstream's writers stand still once every buffer between is full.
    still = -1
    while still != sent:
        still = sent
        await asyncio.sleep(0.2)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert sent < 8 * size
    assert grown < 8 * 2 * 1024 * 1024
    reader, writer = streams.pop()
    read = 0
    while read < size:
        piece = await reader.read(65536)
        assert piece.strip(b"y") == b""
        read += len(piece)
    assert read == size
    for _, other in (*streams, (reader, writer)):
        other.transport.abort()
        await hang_up(other)


async def test_a_stop_refuses_new_work_and_lets_streams_end():
    finish = asyncio.Event()
    async with running() as world:

        async def until_told(_recorded, writer):
            writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
            await finish.wait()
            writer.write(chunk(b"data: [DONE]\n\n") + END)

        world.openai.script = until_told
        streams = [await open_stream(world) for _ in range(50)]
        for reader, _ in streams:
            await reader.readuntil(b"data: 1\n\n")
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", world.port)
        leaving = asyncio.create_task(world.leaving.aclose())
        async with asyncio.timeout(5):
            assert await idle_reader.read() == b""
            with pytest.raises(OSError):  # noqa: PT011 - refused or reset, by timing
                await open_stream(world)
            finish.set()
            for reader, _ in streams:
                assert (await reader.read()).endswith(END)
            await leaving
        for _, writer in (*streams, (idle_reader, idle_writer)):
            await hang_up(writer)


async def test_a_stop_keeps_the_connection_that_a_stream_has_promised():
    async with running() as world:
        finish = asyncio.Event()

        async def slow(_recorded, writer):
            writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
            await finish.wait()
            writer.write(END)

        world.openai.script = slow
        request = raw_request().replace(b"Connection: close\r\n", b"")
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(request)
        head = await reader.readuntil(b"data: 1\n\n")
        assert b"connection: close" not in head
        leaving = asyncio.create_task(world.leaving.aclose())
        async with asyncio.timeout(5):
            await until(lambda: world.gateway_server.is_draining, "the stop to begin", 5)
            finish.set()
            await reader.readuntil(END)
            writer.write(request)
            rest = await reader.read()
            assert rest.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in rest
            assert rest.endswith(b"data: 1\n\n")
            await leaving
        await hang_up(writer)


async def test_a_stop_cuts_streams_off_at_its_limit():
    async with running(drain_s=0.3) as world:

        async def endless(_recorded, writer):
            writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
            await world.openai.client_left.wait()

        world.openai.script = endless
        reader, writer = await open_stream(world)
        await reader.readuntil(b"data: 1\n\n")
        async with asyncio.timeout(5):
            await world.leaving.aclose()
            assert not (await reader.read()).endswith(END)
        await hang_up(writer)
