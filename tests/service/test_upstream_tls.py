"""The gateway's own way to upstreams over TLS: its certificates file, and proxies on the way.

What the environment and the settings say is read as the gateway reads it.
"""

import asyncio
import contextlib
import ssl
from contextlib import asynccontextmanager

import pytest

from services.gateway.answer import Unreachable
from services.gateway.app import upstream_pools
from services.gateway.target import target_of
from shared.reading import ConfigError
from tests.authority import Authority
from tests.service.gateway_world import settings

REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@asynccontextmanager
async def serving(handle, tls=None):
    """A server on a free port, whose connections all end with it."""
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def answer_all(reader, writer):
    while True:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        writer.write(ANSWER)


class ConnectProxy:
    """An HTTP proxy that opens tunnels, or says `refusal`; `heads` are what it was asked."""

    def __init__(self, refusal=b""):
        self.heads = []
        self._refusal = refusal

    async def __call__(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self._refusal:
            writer.write(self._refusal)
            await reader.read()
            return
        if not head.startswith(b"CONNECT "):
            await reader.readexactly(2)
            writer.write(ANSWER)
            await reader.read()
            return
        _, port = head.split(b" ")[1].rsplit(b":", 1)
        there_reader, there = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nvia: tests\r\n\r\n")
        try:
            await asyncio.gather(copy(reader, there), copy(there_reader, writer))
        finally:
            there.close()


async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def ask(pools, url):
    answer = await pools.exchange(target_of("d", url), [REQUEST], first_byte_s=2, idle_s=2)
    try:
        return await answer.whole()
    finally:
        answer.close()


async def test_an_authority_of_the_operators_own_is_trusted_once_its_file_is_named(authority):
    async with serving(answer_all, authority.server()) as port:
        with upstream_pools(settings()) as pools, pytest.raises(Unreachable):
            await ask(pools, f"https://127.0.0.1:{port}/v1/x")
        with upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools:
            assert await ask(pools, f"https://127.0.0.1:{port}/v1/x") == b"hello"


@pytest.mark.parametrize(
    "certificate",
    [
        {"first_day": -3, "last_day": -1},
        {"first_day": 1, "last_day": 3},
        {"address": "127.0.0.2"},
        {"address": "localhost"},
        {"address": "elsewhere.test"},
    ],
    ids=["expired", "not-yet-valid", "other-address", "a-name-for-an-address", "other-name"],
)
async def test_a_certificate_for_another_time_or_name_is_no_connection(authority, certificate):
    seen = []

    async def record(reader, _):
        seen.append(await reader.read(1))

    async with serving(record, authority.server(**certificate)) as port:
        with (
            upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools,
            pytest.raises(Unreachable),
        ):
            await ask(pools, f"https://127.0.0.1:{port}/v1/x")
    assert not any(seen), "nothing of a request may be sent"


@pytest.mark.parametrize(
    "said", [b"", b"\x16", b"\x16\x03\x03\x00\x7a\x02\x00", b"HTTP/1.1 400 \r\n"]
)
async def test_a_handshake_that_is_cut_or_none_is_no_connection(authority, said):
    async def cut(reader, writer):
        await reader.read(5)
        writer.write(said)

    async with serving(cut) as port:
        with (
            upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools,
            pytest.raises(Unreachable),
        ):
            await ask(pools, f"https://127.0.0.1:{port}/v1/x")


async def test_the_name_is_asked_for_and_proved_through_a_proxys_tunnel(authority, monkeypatch):
    names = []
    tls = authority.server("localhost")
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    proxy = ConnectProxy()
    async with serving(answer_all, tls) as port, serving(proxy) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy_port}")
        with upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools:
            for _ in range(3):
                assert await ask(pools, f"https://localhost:{port}/v1/x") == b"hello"
            with pytest.raises(Unreachable):
                await ask(pools, f"https://127.0.0.1:{port}/v1/x")
    # One tunnel for three requests, then one whose end proved another name than was asked for.
    assert names == ["localhost", None]
    assert len(proxy.heads) == 2
    assert proxy.heads[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % port)
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in proxy.heads[0]
    assert b"/v1/x" not in proxy.heads[0]


@pytest.mark.parametrize(
    "refusal",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nbytes before the tunnel",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 20_000,
    ],
    ids=["no-credential", "no-way", "bytes-beyond", "not-http", "too-long"],
)
async def test_a_proxy_that_makes_no_tunnel_is_no_connection(authority, monkeypatch, refusal):
    async with serving(ConnectProxy(refusal)) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy_port}")
        with (
            upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools,
            pytest.raises(Unreachable),
        ):
            await ask(pools, "https://localhost:9/v1/x")


async def test_a_proxy_that_says_nothing_has_the_time_of_a_connection(monkeypatch):
    async def silence(reader, _):
        while await reader.read(1024):
            pass

    async with serving(silence) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy_port}")
        with upstream_pools(settings(connect_timeout_s=0.2)) as pools, pytest.raises(Unreachable):
            await ask(pools, "https://localhost:9/v1/x")


async def test_hosts_of_no_proxy_are_reached_directly(authority, monkeypatch):
    proxy = ConnectProxy()
    async with serving(answer_all, authority.server()) as port, serving(proxy) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy_port}")
        monkeypatch.setenv("NO_PROXY", "elsewhere.test,127.0.0.1")
        with upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools:
            assert await ask(pools, f"https://127.0.0.1:{port}/v1/x") == b"hello"
    assert not proxy.heads


async def test_what_is_not_tls_goes_to_its_own_proxy_alone(monkeypatch):
    proxy, other = ConnectProxy(), ConnectProxy()
    async with serving(proxy) as port, serving(other) as other_port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{other_port}")
        with upstream_pools(settings()) as pools:
            target = target_of("d", "http://models.test/v1/x")
            assert pools.request_target(target) == b"http://models.test/v1/x"
            assert await ask(pools, "http://models.test/v1/x") == b"hello"
    assert len(proxy.heads) == 1
    assert not other.heads


class Reuse:
    """A server's answers, each the last of its connection; `seen` says which were resumed."""

    def __init__(self):
        self.seen = []

    async def __call__(self, reader, writer):
        self.seen.append(writer.get_extra_info("ssl_object").session_reused)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_continued_with_whom_it_was_made_and_nobody_else(authority, version):
    first, second = Reuse(), Reuse()
    here, there = authority.server("localhost"), authority.server("127.0.0.1")
    here.maximum_version = there.maximum_version = version
    async with serving(first, here) as port, serving(second, there) as other_port:
        with upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools:
            for _ in range(3):
                assert await ask(pools, f"https://localhost:{port}/v1/x") == b"hi"
            for _ in range(2):
                assert await ask(pools, f"https://127.0.0.1:{other_port}/v1/x") == b"hi"
    assert first.seen == [False, True, True]
    assert second.seen == [False, True]


async def test_connections_that_are_made_at_once_do_not_wait_for_one_anothers_session(authority):
    reuse = Reuse()
    async with serving(reuse, authority.server("localhost")) as port:
        with upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools:
            for _ in range(2):
                asked = (ask(pools, f"https://localhost:{port}/v1/x") for _ in range(20))
                assert await asyncio.gather(*asked) == [b"hi"] * 20


async def test_a_session_does_not_stand_for_a_certificate(authority, tmp_path):
    reuse, stranger = Reuse(), Authority(tmp_path / "theirs")
    with upstream_pools(settings(upstream_ca_file=str(authority.ca))) as pools:
        async with serving(reuse, authority.server("localhost")) as port:
            assert await ask(pools, f"https://localhost:{port}/v1/x") == b"hi"
        async with serving(reuse, stranger.server("localhost")) as port:
            with pytest.raises(Unreachable):
                await ask(pools, f"https://localhost:{port}/v1/x")
        async with serving(reuse, authority.server("localhost")) as port:
            assert await ask(pools, f"https://localhost:{port}/v1/x") == b"hi"
    assert reuse.seen == [False, False]


def test_a_file_of_no_certificates_is_refused_by_name(tmp_path):
    (tmp_path / "empty.pem").write_bytes(b"")
    for file in ("empty.pem", "missing.pem"):
        with (
            pytest.raises(ConfigError, match="upstream_ca_file"),
            upstream_pools(settings(upstream_ca_file=str(tmp_path / file))),
        ):
            pass
