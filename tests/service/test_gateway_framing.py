"""What two HTTP readers could read differently is refused, and reaches no upstream."""

import asyncio
import gzip
import tracemalloc
import zlib

import pytest

from tests.parts import until
from tests.service.gateway_world import HASTY, KEY, OTHER_KEY, raw_request, running, world
from tests.service.recording import OK_BODY, hang_up, reply, say, statuses

__all__ = ["world"]

BODY = b'{"model":"gpt-4"}'
EVIL = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Smuggled: 1\r\n\r\n"


async def first_status(world, data):
    answer = await say(world.port, data)
    return statuses(answer)[0] if statuses(answer) else None


def with_headers(*headers, body=BODY):
    return raw_request(body, headers=headers)


def bare(*lines, body=b""):
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


AUTH = f"Authorization: Bearer {KEY}"
JSON = "Content-Type: application/json"
POST = "POST /v1/chat/completions HTTP/1.1"


async def test_the_well_formed_request_these_tests_bend_is_served(world):
    assert await first_status(world, raw_request()) == 200
    chunked = with_headers("Transfer-Encoding: chunked", body=b"11\r\n" + BODY + b"\r\n0\r\n\r\n")
    assert await first_status(world, chunked) == 200
    assert [sent.json() for sent in world.openai.requests] == [{"model": "up-gpt-4"}] * 2


@pytest.mark.parametrize(
    "data",
    [
        with_headers("Content-Length: 17", "Transfer-Encoding: chunked"),
        with_headers("Content-Length: 17", "Content-Length: 17"),
        with_headers("Content-Length: 17", "Content-Length: 3"),
        with_headers("Content-Length: +17"),
        with_headers("Content-Length: 0x11"),
        with_headers("Content-Length: 1_7"),
        with_headers("Content-Length: -1"),
        with_headers("Content-Length: 99999999999999999999999"),
        with_headers("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        with_headers("Transfer-Encoding: xchunked"),
        with_headers(
            "Transfer-Encoding: chunked", body=b"11\r\n" + BODY + b"\r\n0\r\n\r\n"
        ).replace(b"HTTP/1.1", b"HTTP/1.0"),
        with_headers("Transfer-Encoding: chunked, identity"),
        with_headers("Transfer-Encoding: gzip, chunked", body=b"11\r\n" + BODY + b"\r\n0\r\n\r\n"),
        with_headers("Transfer-Encoding: chunked", body=b"0x11\r\n" + BODY + b"\r\n0\r\n\r\n"),
        with_headers("Transfer-Encoding: chunked", body=b"-11\r\n" + BODY + b"\r\n0\r\n\r\n"),
        with_headers("Transfer-Encoding: chunked", body=b"11\n" + BODY + b"\n0\n\n"),
        with_headers("Transfer-Encoding: chunked", body=b"11\r\n" + BODY + b"\r\nzz\r\n"),
        with_headers("Content-Length : 17"),
        with_headers("X-A: b", " folded"),
        with_headers("X-A: b\x00c"),
        with_headers("X-A: b\rX-B: c"),
        with_headers("X-A: b\nX-B: c"),
        raw_request().replace(b"\r\n", b"\n"),
        with_headers("Host: other"),
        raw_request().replace(b"Host: gateway\r\n", b""),
        raw_request().replace(b"Host: gateway", b"Host: a:4000/#@evil"),
        with_headers(*[f"X-{i}: 1" for i in range(200)]),
        with_headers("X-A: " + "a" * 9000),
        with_headers("Upgrade: websocket", "Connection: Upgrade") + EVIL,
        with_headers("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__") + EVIL,
        raw_request(target="http://evil/v1/chat/completions"),
        raw_request(target="//evil/v1/chat/completions".replace("//", "evil:")),
        raw_request(target="/v1/chat/completions#x"),
        raw_request(target="*"),
        raw_request(method="CONNECT", target="evil:443"),
        raw_request(method="GET", target="/v1/models"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/models\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_ambiguous_framing_is_refused_and_nothing_is_sent(world, data):
    answer = await say(world.port, data)
    assert statuses(answer) in ([400], [505], [])
    assert world.reached_nothing()


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "GET"])
async def test_a_wrong_method_is_405(world, method):
    data = bare(f"{method} /v1/chat/completions HTTP/1.1", "Host: a", AUTH, "Connection: close")
    assert await first_status(world, data) == 405
    assert world.reached_nothing()


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9"])
async def test_another_http_version_is_refused_in_one_that_can_be_read(world, version):
    data = raw_request().replace(b"HTTP/1.1", version.encode())
    answer = await say(world.port, data)
    assert not answer.startswith(b"HTTP/2.0")
    assert int(answer.split(b" ")[1]) in (400, 505)
    assert world.reached_nothing()


async def test_trailers_never_become_headers(world):
    body = b"11\r\n" + BODY + b"\r\n0\r\nAuthorization: Bearer sk-other-key-of-tests\r\n\r\n"
    data = with_headers("Transfer-Encoding: chunked", body=body)
    assert await first_status(world, data) in (200, 400)
    assert all(b"sk-other" not in sent.head for sent in world.openai.requests)


async def test_pipelined_requests_are_each_decided(world):
    denied = raw_request(b'{"model":"gpt-4o"}').replace(b"Connection: close\r\n", b"")
    allowed = raw_request().replace(b"Connection: close\r\n", b"")
    answer = await say(world.port, allowed + denied + raw_request())
    assert statuses(answer) == [200, 403, 200]
    assert len(world.openai.requests) == 2


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/%63hat/completions", 200),
        ("/v1//chat/completions", 404),
        ("/v1/chat%2Fcompletions", 404),
        ("/v1/x/../chat/completions", 404),
        ("/v1/chat/completions/", 404),
        ("/v1/chat/completions;a", 404),
        ("/V1/chat/completions", 404),
        ("/v1/chat/completions?api_key=x", 400),
        ("/v1/chat/completions?model=claude", 400),
    ],
)
async def test_the_upstream_path_is_the_canonical_one_or_nothing(world, target, status):
    assert await first_status(world, raw_request(target=target)) == status
    sent = [sent.target for sent in world.openai.requests]
    assert sent == (["/v1/chat/completions"] if status == 200 else [])


@pytest.mark.parametrize(
    "encoded",
    [
        ("gzip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY))),
        ("deflate", zlib.compress(BODY)),
        ("br", BODY),
        ("zstd", BODY),
        ("gzip", gzip.compress(b"") * 20_000),
    ],
)
async def test_a_compressed_body_is_415_and_costs_nothing(world, encoded):
    name, body = encoded
    before = asyncio.get_running_loop().time()
    data = with_headers(f"Content-Encoding: {name}", body=body)
    assert await first_status(world, data) == 415
    assert asyncio.get_running_loop().time() - before < 1.0
    assert world.reached_nothing()


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json; charset=utf-16", "multipart/form-data; boundary=x"],
)
async def test_json_under_another_type_is_415(world, content_type):
    data = raw_request().replace(
        b"Content-Type: application/json", f"Content-Type: {content_type}".encode()
    )
    assert await first_status(world, data) == 415
    twice = with_headers("Content-Type: text/plain")
    assert await first_status(world, twice) == 400
    assert world.reached_nothing()


# A body that need not be read.


async def conversation(world, *pieces):
    """Send pieces, each after an answer to the one before has begun to arrive."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    heard = []
    async with asyncio.timeout(5):
        for piece in pieces:
            writer.write(piece)
            heard.append(await reader.readuntil(b"\r\n\r\n"))
        heard.append(await reader.read())
    await hang_up(writer)
    return heard


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 17", "Expect: 100-continue"],
        ["Content-Length: 70000"],
        ["Transfer-Encoding: chunked"],
    ],
)
@pytest.mark.parametrize("target", ["/v1/chat/completions", "/key/generate"])
async def test_an_unknown_key_is_refused_before_its_body_is_read(world, headers, target):
    head = raw_request(b"", headers=headers, key=OTHER_KEY, target=target)
    heard = await conversation(world, head)
    assert statuses(heard[0]) == [401]
    assert b"100 Continue" not in b"".join(heard)
    assert [ask.model for ask in world.policy.asked] == [None]


LARGE = b'{"model":"gpt-4","a":"' + b"x" * 70_000 + b'"}'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([], LARGE),
        (["Transfer-Encoding: chunked"], b"11\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (["Expect: 100-continue"], BODY),
    ],
    ids=["large", "chunked", "expect"],
)
async def test_of_an_unknown_key_no_model_is_asked_about(world, headers, body):
    assert await first_status(world, raw_request(body, headers=headers, key=OTHER_KEY)) == 401
    assert [ask.model for ask in world.policy.asked] == [None]


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/key/generate"])
async def test_an_unknown_key_that_withholds_its_body_holds_no_place(target):
    async with running() as world:
        head = raw_request(b"", headers=["Content-Length: 17"], key=OTHER_KEY, target=target)
        assert await first_status(world, head) == 401
        assert world.gateway.load.in_flight == 0
        assert [ask.model for ask in world.policy.asked] == [None]
        assert not world.keys.requests


@pytest.mark.parametrize("is_down", [False, True])
async def test_a_slow_body_of_the_management_api_needs_no_policy(world, is_down):
    world.policy.is_down = is_down
    head = raw_request(b"", headers=["Content-Length: 17"], target="/key/generate")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(head)
    async with asyncio.timeout(5):
        await until(lambda: world.policy.asked, "the question", 3)
        writer.write(BODY)
        assert statuses(await reader.read()) == [200]
    await hang_up(writer)
    assert [sent.body for sent in world.keys.requests] == [BODY]


async def test_a_connection_whose_body_was_not_read_is_not_kept(world):
    head = raw_request(b"", headers=["Content-Length: 70000"], key=OTHER_KEY)
    data = head.replace(b"Connection: close\r\n", b"") + BODY
    answer = await say(world.port, data)
    assert statuses(answer) == [401]
    assert b"connection: close" in answer


async def test_a_known_key_is_told_to_continue_and_then_served(world):
    head = raw_request(b"", headers=["Content-Length: 17", "Expect: 100-continue"])
    first, second, _ = await conversation(world, head, BODY)
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert statuses(second) == [200]
    assert world.openai.requests[0].json() == {"model": "up-gpt-4"}


async def test_another_expectation_is_417(world):
    assert await first_status(world, with_headers("Expect: 200-ok")) == 417


@pytest.mark.parametrize(
    "data",
    [
        raw_request(b"", headers=["Content-Length: 1048577"]),
        raw_request(b"", headers=["Content-Length: 1099511627776"]),
        with_headers("Transfer-Encoding: chunked", body=b"fffffff\r\n" + b" " * (2 * 1024 * 1024)),
    ],
)
async def test_a_body_over_the_limit_is_413_and_not_kept(world, data):
    tracemalloc.start()
    try:
        assert await first_status(world, data) == 413
        assert tracemalloc.get_traced_memory()[1] < len(data) + 3 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert world.reached_nothing()


async def test_a_large_body_within_the_limit_arrives_whole():
    async with running() as world:
        body = b'{"model":"gpt-4","input":"' + b"x" * 900_000 + b'"}'
        assert await first_status(world, raw_request(body)) == 200
        assert world.openai.requests[0].json()["input"] == "x" * 900_000


# Time limits: a hasty world's are half a second each.


@HASTY
@pytest.mark.parametrize("begun", [b"P", b"POST /v1/chat", raw_request()[:-40]])
async def test_a_header_that_does_not_end_is_closed(world, begun):
    before = asyncio.get_running_loop().time()
    assert await say(world.port, begun.split(b"\r\n\r\n", maxsplit=1)[0], timeout_s=5) == b""
    assert asyncio.get_running_loop().time() - before < 3


@HASTY
async def test_a_header_that_does_not_end_on_a_used_connection_is_closed(world):
    first = raw_request().replace(b"Connection: close\r\n", b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(first)
    async with asyncio.timeout(5):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(OK_BODY))
        writer.write(b"POST /v1/ch")
        assert await reader.read() == b""
    await hang_up(writer)


@HASTY
async def test_a_header_is_timed_anew_after_one_that_came_in_pieces(world):
    first = raw_request().replace(b"Connection: close\r\n", b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(first[:20])
    await asyncio.sleep(0.1)  # the header has begun, and its time runs
    writer.write(first[20:])
    async with asyncio.timeout(5):
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(OK_BODY))
        writer.write(b"POST /v1/ch")
        assert await reader.read() == b""
    await hang_up(writer)


async def test_a_used_connection_may_rest_longer_than_a_header_may_take():
    async with running(header_limit_s=0.1) as world:
        first = raw_request().replace(b"Connection: close\r\n", b"")
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(first[:20])
        await asyncio.sleep(0.05)  # the header has begun, and its time runs
        writer.write(first[20:])
        async with asyncio.timeout(5):
            await reader.readuntil(OK_BODY)
            await asyncio.sleep(0.3)
            writer.write(raw_request())
            assert statuses(await reader.read()) == [200]
        await hang_up(writer)


async def test_a_request_that_comes_while_another_is_answered_waits_its_turn(world):
    finish = asyncio.Event()

    async def slow(_recorded, writer):
        await finish.wait()
        writer.write(reply())

    world.openai.script = slow
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    async with asyncio.timeout(5):
        writer.write(raw_request().replace(b"Connection: close\r\n", b""))
        await world.openai.arrived.wait()
        writer.write(raw_request(b'{"model":"gpt-4o"}'))
        (connection,) = world.gateway_server.connections
        await until(lambda: connection._reader.waiting, "the second request", 3)
        assert len(world.policy.asked) == 1
        finish.set()
        assert statuses(await reader.read()) == [200, 403]
    await hang_up(writer)


@HASTY
async def test_a_slow_connection_holds_no_other_up(world):
    slow = [asyncio.create_task(say(world.port, b"POST /", timeout_s=5)) for _ in range(100)]
    assert await first_status(world, raw_request()) == 200
    assert await asyncio.gather(*slow) == [b""] * 100


@HASTY
async def test_a_body_that_does_not_end_is_408(world):
    data = raw_request(BODY[:5], headers=["Content-Length: 17"])
    assert await first_status(world, data) == 408
    assert world.reached_nothing()


# Keys and logs. The fixture searches all logs for every secret when a test ends.


@pytest.mark.parametrize(
    "headers",
    [
        [f"Authorization: Bearer {OTHER_KEY}\x00"],
        [f"Authorization: Bearer {OTHER_KEY}" + "x" * 9000],
        [f"Authorization: Bearer {OTHER_KEY}\rx"],
        [f"Authorization: Bearer {OTHER_KEY}", AUTH],
        [f"Authorization: Basic {OTHER_KEY}"],
        [f"Authorization {OTHER_KEY}"],
        [AUTH, f"x-api-key: {OTHER_KEY}"],
        [f"x-api-key: {OTHER_KEY}", f"api-key: {KEY}"],
    ],
)
async def test_a_malformed_credential_is_refused_and_in_no_log(world, headers, caplog):
    data = bare(
        POST, "Host: a", JSON, "Connection: close", "Content-Length: 17", *headers, body=BODY
    )
    answer = await say(world.port, data)
    assert int(answer.split(b" ")[1]) in (400, 401)
    assert OTHER_KEY.encode() not in answer
    assert OTHER_KEY not in caplog.text
    assert world.reached_nothing()
    assert world.policy.asked == []
