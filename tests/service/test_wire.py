"""Upstream connections against a hostile origin: the answer is right, or the exchange is broken.

Never a truncated success, never another request's bytes.
"""

import asyncio
import os
import socket
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.answer import Broken, ConnectTimeout, Unreachable
from services.gateway.answer_reader import MAX_HEAD, MAX_HEADERS
from services.gateway.pool import Pools
from services.gateway.target import target_of
from services.gateway.upstream_tls import UpstreamTls
from tests import parts
from tests.authority import Authority

REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"
)
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"
TO_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello world"
BODY = b"hello world"


class Way:
    """How origins are reached in a test."""

    tls = None
    trust = None
    scheme = "http"


@pytest.fixture(params=["http", "https"])
def both_ways(request, tmp_path, monkeypatch):
    """Have the test done over TCP and over TLS."""
    if request.param == "https":
        authority = Authority(tmp_path / "ca")
        monkeypatch.setattr(Way, "tls", authority.server())
        monkeypatch.setattr(Way, "trust", UpstreamTls(authority.ca))
        monkeypatch.setattr(Way, "scheme", "https")


class Origin:
    """Answers each connection with the next of its scripts: bytes to send, or a coroutine."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.requests = []
        self.connections = 0
        self._writers = []

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        try:
            while self.scripts:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                script = self.scripts.pop(0)
                if isinstance(script, bytes):
                    writer.write(script)
                    await writer.drain()
                elif await script(reader, writer) == "close":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self, tls=None):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls or Way.tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()


@asynccontextmanager
async def pools(**changes):
    made = Pools(
        **{
            "tls": Way.trust or UpstreamTls(),
            "connect_timeout_s": 1.0,
            "keep_idle_s": 30.0,
            "most": 100,
            **changes,
        }
    )
    try:
        yield made
    finally:
        made.close()


def to(origin, scheme=None):
    return target_of("d", f"{scheme or Way.scheme}://127.0.0.1:{origin.port}/v1/x")


async def ask(made, origin, request=(REQUEST,), first_byte_s=2.0, idle_s=1.0):
    answer = await made.exchange(
        to(origin), list(request), first_byte_s=first_byte_s, idle_s=idle_s
    )
    try:
        return answer.status, await answer.whole()
    finally:
        answer.close()


def in_pieces(data, *cuts, close=False):
    async def script(_, writer):
        last = 0
        for cut in [*cuts, len(data)]:
            writer.write(data[last:cut])
            await writer.drain()
            last = cut
            await asyncio.sleep(0)
        return "close" if close else None

    return script


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("framing", [CHUNKED, SIZED])
async def test_an_answer_cut_at_every_byte_is_read_right_and_its_connection_kept(framing):
    scripts = [in_pieces(framing, cut) for cut in range(1, len(framing))]
    async with Origin(*scripts).running() as origin, pools() as made:
        for _ in range(1, len(framing)):
            assert await ask(made, origin) == (200, BODY)
        assert origin.connections == 1


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("framing", [CHUNKED, SIZED])
async def test_an_answer_that_ends_early_at_any_byte_is_never_a_success(framing):
    scripts = [in_pieces(framing[:cut], close=True) for cut in range(len(framing))]
    async with Origin(*scripts).running() as origin, pools() as made:
        for cut in range(len(framing)):
            with pytest.raises(Broken):
                await ask(made, origin)
            assert origin.connections == cut + 1


@pytest.mark.usefixtures("both_ways")
async def test_a_body_that_ends_with_the_connection_is_whole_and_the_connection_not_kept():
    scripts = [in_pieces(TO_CLOSE, close=True)] * 2
    async with Origin(*scripts).running() as origin, pools() as made:
        assert await ask(made, origin) == (200, BODY)
        assert await ask(made, origin) == (200, BODY)
        assert origin.connections == 2


@pytest.mark.usefixtures("both_ways")
async def test_a_body_that_ends_with_a_reset_is_not_whole():
    async def reset(_, writer):
        writer.write(TO_CLOSE)
        await writer.drain()
        writer.transport.abort()

    async with Origin(reset).running() as origin, pools() as made:
        try:
            status, body = await ask(made, origin)
        except Broken:
            return
        # A reset after the last byte may reach us as an ordinary end; nothing of it is lost then.
        assert (status, body) == (200, BODY)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_without_a_body_ends_with_its_head(status):
    script = b"HTTP/1.1 " + status + b"\r\n\r\n"
    async with Origin(script, SIZED).running() as origin, pools() as made:
        assert (await ask(made, origin))[1] == b""
        assert await ask(made, origin) == (200, BODY)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_body_where_none_may_be_never_reaches_the_next_caller(status, framing):
    script = b"HTTP/1.1 " + status + b"\r\n" + framing + b"\r\n\r\n"
    async with Origin(script, SIZED).running() as origin, pools() as made:
        assert (await ask(made, origin))[1] == b""
        assert await ask(made, origin) == (200, BODY)
        assert origin.connections == 2


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"]
)
async def test_interim_answers_are_passed_over(interim):
    async with Origin(interim * 3 + SIZED).running() as origin, pools() as made:
        assert await ask(made, origin) == (200, BODY)


async def test_trailers_never_become_headers():
    framing = CHUNKED[:-2] + b"Set-Cookie: a=b\r\n\r\n"
    async with Origin(framing).running() as origin, pools() as made:
        answer = await made.exchange(to(origin), [REQUEST], first_byte_s=1, idle_s=1)
        assert await answer.whole() == BODY
        assert answer.headers == [("transfer-encoding", "chunked")]
        answer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiXX0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"x" * (MAX_HEAD * 4),
        b"HTTP/1.1 200 OK\r\na: " + b"x" * MAX_HEAD + b"\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nhi",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x00\x01\x02",
        b"HTTP/3.0 200 OK\r\n\r\n",
    ],
)
async def test_what_two_readers_could_take_differently_is_refused(answer):
    async with Origin(answer).running() as origin, pools() as made:
        with pytest.raises(Broken):
            await ask(made, origin)


@pytest.mark.parametrize("size", [70_000, 300_000, 3_000_000])
async def test_an_answer_that_was_not_read_harms_no_later_one(size):
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    async with Origin(large, SIZED, SIZED).running() as origin, pools() as made:
        answer = await made.exchange(to(origin), [REQUEST], first_byte_s=1, idle_s=1)
        with suppress(AssertionError):
            await parts.until(lambda: answer.has_arrived, "the whole answer", 0.3)
        answer.close()
        origin.scripts[:] = [SIZED]
        assert await ask(made, origin) == (200, BODY)


async def test_bytes_after_an_answer_never_reach_the_next_caller():
    stolen = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
    async with Origin(SIZED + stolen, SIZED).running() as origin, pools() as made:
        with suppress(Broken):
            assert (await ask(made, origin))[1] == BODY
        assert await ask(made, origin) == (200, BODY)
        assert origin.connections == 2


@pytest.mark.usefixtures("both_ways")
async def test_bytes_on_an_idle_connection_end_it():
    said = asyncio.Event()

    async def speak_up(_, writer):
        writer.write(SIZED)
        await writer.drain()
        await said.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
        await writer.drain()

    async with Origin(speak_up, SIZED).running() as origin, pools() as made:
        assert await ask(made, origin) == (200, BODY)
        kept = made._pools[to(origin).pool].idle[0]
        said.set()
        await parts.until(lambda: not kept.is_usable, "the end of the connection")
        assert await ask(made, origin) == (200, BODY)


async def test_an_upstream_that_never_answers_times_out():
    async def silence(reader, _):
        await reader.read()

    async with Origin(silence).running() as origin, pools() as made:
        with pytest.raises(TimeoutError):
            await ask(made, origin, first_byte_s=0.1)


@pytest.mark.usefixtures("both_ways")
async def test_an_upstream_that_stalls_in_the_middle_times_out():
    async def stall(reader, writer):
        writer.write(SIZED[:-3])
        await reader.read()

    async with Origin(stall).running() as origin, pools() as made:
        with pytest.raises(TimeoutError):
            await ask(made, origin, idle_s=0.1)


async def drip_for_ever(_, writer, head):
    writer.write(head)
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b"1\r\nx\r\n" if b"chunked" in head else b"x")
            await writer.drain()
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "head", [TO_CLOSE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_drip_that_never_ends_has_its_time_in_all_and_is_no_success(head):
    origin = Origin(lambda reader, writer: drip_for_ever(reader, writer, head))
    async with origin.running(), pools() as made:
        answer = await made.exchange(to(origin), [REQUEST], first_byte_s=2, idle_s=2, total_s=0.1)
        # Not read until the connection is gone, whose end then could pass for the body's.
        connection = answer._source._carrier
        await parts.until(lambda: connection._transport is None, "the end of the connection")
        with pytest.raises(TimeoutError):
            await answer.whole()
        answer.close()
        assert made._pools[to(origin).pool].open == 0


async def test_no_answer_in_the_time_for_all_of_it_is_a_timeout():
    async with Stuck(b"").running() as origin, pools() as made:
        with pytest.raises(TimeoutError):
            await made.exchange(to(origin), [REQUEST], first_byte_s=5, idle_s=5, total_s=0.1)


async def test_a_slow_drip_within_the_idle_time_is_no_stall():
    async def drip(_, writer):
        for byte in SIZED:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)

    async with Origin(drip).running() as origin, pools() as made:
        assert await ask(made, origin, idle_s=0.2, first_byte_s=5) == (200, BODY)


@pytest.mark.usefixtures("both_ways")
async def test_a_cancelled_caller_closes_its_upstream_at_once():
    closed = asyncio.Event()

    async def wait_for_the_end(reader, _):
        await reader.read()
        closed.set()

    async with Origin(wait_for_the_end).running() as origin, pools() as made:
        asking = asyncio.ensure_future(ask(made, origin))
        await parts.until(lambda: origin.requests, "the request")
        asking.cancel()
        await asyncio.wait_for(closed.wait(), 1)


@pytest.mark.parametrize("host", [".dot.test", "a..test", "x" * 64 + ".test"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_can_be_none_is_no_connection(scheme, host):
    async with pools() as made:
        target = target_of("d", f"{scheme}://{host}:9/v1/x")
        with pytest.raises(Unreachable):
            await made.exchange(target, [REQUEST], first_byte_s=1, idle_s=1)
        assert not any(pool.open for pool in made._pools.values())


@pytest.mark.usefixtures("both_ways")
async def test_a_slow_reader_pauses_the_upstream():
    sent = 0

    async def flood(_, writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * 1024 * 1024))
        for _ in range(1024):
            writer.write(bytes(64 * 1024))
            await writer.drain()
            sent += 64 * 1024

    async with Origin(flood).running() as origin, pools() as made:
        answer = await made.exchange(to(origin), [REQUEST], first_byte_s=1, idle_s=5)
        await answer.chunk()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        # What is out of the origin's hands is in socket buffers, not in ours.
        assert sent < 32 * 1024 * 1024
        assert answer._source._reader.size <= 128 * 1024
        rest = await answer.whole()
        assert len(rest) > 32 * 1024 * 1024
        answer.close()


@pytest.mark.usefixtures("both_ways")
async def test_a_large_request_is_written_no_faster_than_it_is_taken():
    size = 32 * 1024 * 1024
    slices = [memoryview(bytes(256 * 1024))] * (size // (256 * 1024))
    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size
    async with Origin(SIZED).running() as origin, pools() as made:
        assert await ask(made, origin, [head, *slices], first_byte_s=20) == (200, BODY)
        assert len(origin.requests[0]) == len(head) + size


class Stuck(Origin):
    """Answers once it has a request's head, perhaps, and reads no further."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        await writer.wait_closed()


def upload(size=64 * 1024 * 1024):
    slices = [memoryview(bytes(256 * 1024))] * (size // (256 * 1024))
    return [b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size, *slices]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", (413, b"")),
        (SIZED, (200, BODY)),
    ],
)
async def test_an_answer_before_the_whole_request_was_taken_is_given_and_nothing_reused(
    answer, found
):
    async with Stuck(answer).running() as origin, pools() as made:
        async with asyncio.timeout(5):
            assert await ask(made, origin, upload(), first_byte_s=20) == found
        assert not made._pools[to(origin).pool].idle


async def test_an_upstream_that_takes_no_more_and_says_nothing_has_its_time_too():
    async with Stuck(b"").running() as origin, pools() as made:
        async with asyncio.timeout(5):
            with pytest.raises(TimeoutError):
                await ask(made, origin, upload(), first_byte_s=0.2)
        assert made._pools[to(origin).pool].open == 0


async def test_no_connection_is_told_apart_from_a_broken_one():
    origin = Origin()
    origin.port = parts.free_port()
    async with pools() as made:
        with pytest.raises(Unreachable):
            await ask(made, origin)


async def test_connections_that_stay_idle_are_closed_and_their_pool_forgotten():
    left = asyncio.Event()

    async def script(reader, writer):
        writer.write(SIZED)
        await writer.drain()
        assert await reader.read() == b""
        left.set()

    async with Origin(script).running() as origin, pools(keep_idle_s=0.0) as made:
        await ask(made, origin)
        await asyncio.wait_for(left.wait(), 10)
        assert not made._pools


async def test_a_pool_at_its_limit_hands_connections_on():
    async with Origin(*[in_pieces(SIZED, 20)] * 50).running() as origin, pools(most=3) as made:
        found = await asyncio.gather(*(ask(made, origin) for _ in range(50)))
        assert found == [(200, BODY)] * 50
        assert origin.connections <= 3
        assert made._pools[to(origin).pool].open <= 3


async def test_a_pool_that_stays_full_is_a_connect_timeout():
    async def silence(reader, _):
        await reader.read()

    async with (
        Origin(silence).running() as origin,
        pools(most=1, connect_timeout_s=0.2) as made,
    ):
        first = asyncio.ensure_future(ask(made, origin, first_byte_s=5))
        await parts.until(lambda: origin.requests, "the request")
        with pytest.raises(ConnectTimeout):
            await ask(made, origin)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert made._pools[to(origin).pool].open == 0


async def test_a_certificate_that_is_not_trusted_is_no_connection(tmp_path):
    tls = Authority(tmp_path / "ca").server()
    async with Origin(SIZED).running(tls) as origin, pools() as made:
        with pytest.raises(Unreachable):
            await made.exchange(to(origin, "https"), [REQUEST], first_byte_s=1, idle_s=1)
        assert not origin.requests


async def test_a_trusted_certificate_is_accepted_for_its_own_name_alone(tmp_path):
    authority = Authority(tmp_path / "ca")
    tls, trusting = authority.server(), UpstreamTls(authority.ca)
    async with Origin(SIZED, SIZED).running(tls) as origin, pools(tls=trusting) as made:
        answer = await made.exchange(to(origin, "https"), [REQUEST], first_byte_s=1, idle_s=1)
        assert await answer.whole() == BODY
        answer.close()
        other = target_of("e", f"https://localhost:{origin.port}/v1/x")
        with pytest.raises(Unreachable):
            await made.exchange(other, [REQUEST], first_byte_s=1, idle_s=1)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_body_to_the_end_of_a_tls_connection_is_whole_only_with_its_close(tmp_path, is_cut):
    async def end(_, writer):
        writer.write(TO_CLOSE)
        await writer.drain()
        if is_cut:
            # The end of TCP with no close_notify, as anybody on the way could make it.
            with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as raw:
                raw.shutdown(socket.SHUT_WR)
            return None
        return "close"

    authority = Authority(tmp_path / "ca")
    tls, trusting = authority.server(), UpstreamTls(authority.ca)
    async with Origin(end).running(tls) as origin, pools(tls=trusting) as made:
        answer = await made.exchange(to(origin, "https"), [REQUEST], first_byte_s=2, idle_s=2)
        if is_cut:
            with pytest.raises(Broken):
                await answer.whole()
        else:
            assert await answer.whole() == BODY
        answer.close()


class Echo(Origin):
    """Answers each request with its own body, framed as asked, on connections that stay."""

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(
                    int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                )
                for _ in range(body[0] % 3):
                    await asyncio.sleep(0)
                if body[0] % 2:
                    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
                else:
                    answer = (
                        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                    )
                if body[0] % 5 == 0:
                    answer = answer.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n")
                writer.write(answer)
                await writer.drain()
                if body[0] % 5 == 0:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Kept:
    """A sink that is never full."""

    def __init__(self):
        self.body = b""

    def write(self, data):
        self.body += data
        return True

    async def drain(self):
        return


async def test_streams_that_read_into_one_buffer_share_nothing_else(tmp_path):
    async def one(made, origin, scheme, number):
        body = bytes([number]) * (20_000 * number)
        request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        answer = await made.exchange(to(origin, scheme), [request], first_byte_s=5, idle_s=5)
        sink = Kept()
        await answer.pass_to(sink)
        answer.close()
        return sink.body == body

    authority = Authority(tmp_path / "ca")
    tls, trusting = authority.server(), UpstreamTls(authority.ca)
    async with (
        Echo().running(tls) as secure,
        Echo().running() as plain,
        pools(tls=trusting) as made,
    ):
        both = ((secure, "https"), (plain, "http"))
        asks = [one(made, *each, number) for number in range(1, 16) for each in both]
        assert all(await asyncio.gather(*asks))


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.booleans()), min_size=1, max_size=40)
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_interleaving_of_requests_gives_each_caller_its_own_answer(asks):
    async def one(made, origin, body, gives_up):
        request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        asking = asyncio.ensure_future(ask(made, origin, [request]))
        if gives_up:
            for _ in range(body[-1] % 8):
                await asyncio.sleep(0)
            asking.cancel()
        with suppress(asyncio.CancelledError) if gives_up else nullcontext():
            assert await asking == (200, body)

    async def run():
        async with Echo().running() as origin, pools(most=5) as made:
            await asyncio.gather(*(one(made, origin, *each) for each in asks))

    asyncio.run(run())
