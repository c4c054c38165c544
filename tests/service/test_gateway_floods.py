"""Many connections at once, slow, idle, or more than there are descriptors; and packed bodies."""

import asyncio
import gzip
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from shared.decisions import Allow
from tests import parts
from tests.service.gateway_world import KEY, OTHER_KEY, raw_request, running, world
from tests.service.recording import OK_BODY, SSE_HEAD, chunk, hang_up, reply, say, statuses

__all__ = ["world"]

BODY = b'{"model":"gpt-4"}'
ALIVE = raw_request(b"", target="/health/liveliness", method="GET")
MANY = 200

# Made by node's zlib and by zstd: no library that is installed here packs either.
BROTLI = bytes.fromhex("0b08807b226d6f64656c223a226770742d34227d03")
ZSTD = bytes.fromhex("28b52ffd04588900007b226d6f64656c223a226770742d34227db76316fc")
ZSTD_BOMB = bytes.fromhex("28b52ffd00684c000008000100fcff391002" + "02001000" * 126 + "03001000")
"""Blocks that repeat one byte: 16 MiB."""
GZIP_BOMB = gzip.compress(bytes(64 * 1024 * 1024))


async def opened(port, count, **options):
    """That many connections; those that were closed at once are among them."""
    return [await asyncio.open_connection("127.0.0.1", port, **options) for _ in range(count)]


async def all_gone(connections):
    await asyncio.gather(*(hang_up(writer) for _, writer in connections))


async def heard(connections):
    """What each connection is told until the gateway ends it."""

    async def hear(reader):
        with suppress(ConnectionResetError):
            return await reader.read()
        return b""

    async with asyncio.timeout(10):
        return await asyncio.gather(*(hear(reader) for reader, _ in connections))


# Row 49.


async def test_row_49_headers_that_come_a_byte_at_a_time_end_at_their_limit():
    async with running(header_limit_s=0.5) as world:
        slow = await opened(world.port, MANY)

        async def drip():
            for byte in raw_request():
                for _, writer in slow:
                    writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        began = time.monotonic()
        dripping = asyncio.create_task(drip())
        assert statuses(await say(world.port, raw_request())) == [200]
        assert await heard(slow) == [b""] * MANY
        assert time.monotonic() - began < 4
        dripping.cancel()
        await all_gone(slow)
        assert len(world.openai.requests) == 1


async def test_row_49_bodies_that_come_slowly_end_at_their_limit():
    async with running(body_timeout_s=0.5) as world:
        begun = raw_request(BODY[:5], headers=[f"Content-Length: {len(BODY)}"])
        slow = await opened(world.port, MANY)
        for _, writer in slow:
            writer.write(begun)
        assert statuses(await say(world.port, raw_request())) == [200]
        assert [statuses(answer) for answer in await heard(slow)] == [[408]] * MANY
        await all_gone(slow)
        assert len(world.openai.requests) == 1


async def test_row_49_idle_connections_end_at_their_limit():
    async with running(idle_s=0.5) as world:
        silent = await opened(world.port, MANY)
        used = await opened(world.port, MANY)
        for reader, writer in used:
            writer.write(raw_request().replace(b"Connection: close\r\n", b""))
            await reader.readuntil(OK_BODY)
        assert await heard([*silent, *used]) == [b""] * 2 * MANY
        await all_gone([*silent, *used])
        assert statuses(await say(world.port, raw_request())) == [200]


# Row 50.


async def test_row_50_two_thousand_idle_connections_of_one_address_leave_room_for_others():
    async with running(max_connections_per_address=100) as world:
        idle = await opened(world.port, 2000, local_addr=("127.0.0.2", 0))
        async with asyncio.timeout(10):
            await asyncio.gather(*(reader.read() for reader, _ in idle[100:]))
        assert world.shed == ["connections_per_address"] * 1900
        assert not any(reader.at_eof() for reader, _ in idle[:100])
        assert statuses(await say(world.port, raw_request())) == [200]
        await all_gone(idle)


# Row 34.


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_row_34_a_gateway_without_descriptors_lives_and_recovers(tmp_path):
    conf = tmp_path / "config.yaml"
    conf.write_text(
        "model_list:\n  - model_name: m\n    litellm_params:"
        " {model: openai/m, api_base: 'http://127.0.0.1:1/v1', api_key: k}\n"
    )
    port = parts.free_port()
    env = {
        "GRANTGATE_CONFIG": str(conf),
        "GRANTGATE_MASTER_KEY": "sk-master-of-the-flood-tests",
        "GRANTGATE_NATS_URL": f"nats://127.0.0.1:{parts.free_port()}",
        "GRANTGATE_GATEWAY_PORT": str(port),
        "GRANTGATE_GATEWAY_INTERNAL_PORT": str(parts.free_port()),
        "GRANTGATE_DRAIN_S": "0.5",
    }
    command = ["sh", "-c", f"ulimit -n 128; exec {sys.executable} -m services.gateway"]
    gateway = parts.Server(command, port, env, tmp_path / "gateway.log")
    async with gateway.running():
        assert statuses(await say(port, ALIVE)) == [200]
        idle = await opened(port, 400)
        for _ in range(5):
            try:
                answer = await say(port, ALIVE, timeout_s=0.3)
            except (TimeoutError, ConnectionError):
                continue  # it was refused, or waits for a descriptor
            assert statuses(answer) in ([], [503])
        served = [asyncio.create_task(reader.read()) for reader, _ in idle]
        for _, writer in idle:
            writer.write(ALIVE)
        answers = await asyncio.wait_for(asyncio.gather(*served, return_exceptions=True), 10)
        assert sum(isinstance(each, bytes) and statuses(each) == [200] for each in answers) > 50
        await all_gone(idle)
        assert statuses(await say(port, ALIVE)) == [200]
        assert gateway.process.returncode is None
        assert len(gateway.log.read_bytes()) < 64 * 1024
        assert b"Traceback" not in gateway.log.read_bytes()
        assert descriptors(gateway.process.pid) < 64


# Row 52.


PACKED = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "deflate": ("deflate", zlib.compress(BODY)),
    "raw deflate": ("deflate", zlib.compress(BODY, wbits=-15)),
    "br": ("br", BROTLI),
    "zstd": ("zstd", ZSTD),
    "gzip bomb": ("gzip", GZIP_BOMB),
    "bomb in a bomb": ("gzip, gzip", gzip.compress(GZIP_BOMB)),
    "zstd bomb": ("zstd", ZSTD_BOMB),
    "members": ("gzip", gzip.compress(BODY) + gzip.compress(b"") * 20_000),
    "two names": ("GZip,br", gzip.compress(BODY)),
}


@pytest.mark.parametrize(("coding", "body"), PACKED.values(), ids=PACKED)
async def test_row_52_a_packed_body_is_415_and_costs_no_time(world, coding, body):
    data = raw_request(body, headers=[f"Content-Encoding: {coding}"])
    before = time.process_time()
    answer = await say(world.port, data)
    spent = time.process_time() - before  # the client's own time is in it
    assert statuses(answer) == [415]
    assert spent < 0.05
    assert world.reached_nothing()


async def test_row_52_the_refusal_of_a_packed_body_waits_for_none_of_it(world):
    # Of a body that was to be read the rest would be waited for, and then be 408.
    headers = ["Content-Encoding: gzip", "Content-Length: 100000"]
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(raw_request(b"", headers=headers))
    async with asyncio.timeout(5):
        assert statuses(await reader.readuntil(b"\r\n\r\n")) == [415]
    await hang_up(writer)
    assert world.reached_nothing()


# Row 55.


async def test_row_55_what_an_upstream_sets_for_one_tenant_no_other_sees_or_sends():
    async with running() as world:
        world.policy.says = Allow(7, "gpt-4", ("gpt-4-a",), "t-1")
        cookie = "session=of-tenant-{}; Path=/; Max-Age=3600"

        async def script(recorded, writer):
            number = len(world.openai.requests)
            header = "Set-Cookie: " + cookie.format(number)
            if b"stream" not in recorded.body:
                writer.write(reply(headers=[header, "Set-Cookie2: " + cookie.format(number)]))
                return
            writer.write(SSE_HEAD.replace(b"\r\n", f"\r\n{header}\r\n".encode(), 1))
            writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

        world.openai.script = script
        for body in (BODY, b'{"model":"gpt-4","stream":true}'):
            for key in (KEY, OTHER_KEY, KEY, OTHER_KEY):
                headers = [f"Cookie: session=from-{key[-3:]}"]
                answer = await say(world.port, raw_request(body, key=key, headers=headers))
                assert statuses(answer) == [200]
                assert b"of-tenant" not in answer
                assert b"set-cookie" not in answer.lower()
        assert len(world.openai.requests) == 8
        assert world.openai.connections < 8, "they shared connections, which is what is tested"
        assert b"session=" not in world.openai.received
        assert b"cookie" not in world.openai.received.lower()
