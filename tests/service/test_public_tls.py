"""The public port over TLS: what is answered, refused and ended there, and renewal."""

import asyncio
import json
import os
import ssl
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from services.gateway import certificate, server
from services.gateway.certificate import Certificate, certificate_for
from services.gateway.handshakes import Handshake
from shared.reading import ConfigError
from shared.settings import Settings
from shared.settings_reader import read_settings
from tests.authority import Authority
from tests.parts import until
from tests.service.gateway_world import raw_request, running
from tests.service.recording import SSE_HEAD, chunk

STAYS = raw_request().replace(b"Connection: close\r\n", b"")


@pytest.fixture(name="authority")
def _authority(tmp_path):
    return Authority(tmp_path / "ours")


@asynccontextmanager
async def connected(port, tls, **options):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="127.0.0.1" if tls else None, **options
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def secured(authority, **changes):
    held = Certificate(*authority.issue("gateway"))
    async with running(tls=held.context, **changes) as world:
        yield world, held


async def one(reader):
    """The next answer: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return head, await reader.readexactly(int(length))


async def test_requests_and_streams_are_answered_on_one_connection(authority):
    async with (
        secured(authority) as (world, _),
        connected(world.port, authority.client(), limit=1 << 20) as (reader, writer),
    ):
        big = b'{"model":"gpt-4","pad":"' + b"x" * 300_000 + b'"}'
        for body in (b'{"model":"gpt-4"}', big):
            writer.write(raw_request(body).replace(b"Connection: close\r\n", b""))
            head, answer = await one(reader)
            assert head.startswith(b"HTTP/1.1 200")
            assert json.loads(answer)["id"] == "c-1"
        assert len(world.openai.requests[1].body) > 300_000

        async def stream(_recorded, upstream):
            upstream.write(SSE_HEAD + chunk(b"data: 1\n\n"))
            await upstream.drain()
            seen = await reader.readuntil(b"data: 1\n\n")  # it came before there was more
            assert seen.startswith(b"HTTP/1.1 200")
            upstream.write(chunk(b"data: " + b"y" * 200_000 + b"\n\n") + b"0\r\n\r\n")

        world.openai.script = stream
        writer.write(STAYS)
        await until(lambda: len(world.openai.requests) == 3, "the stream's request")
        rest = await reader.readuntil(b"0\r\n\r\n")
        assert rest.count(b"y") == 200_000


async def test_it_proves_who_it_is_and_speaks_http_1_1_over_tls_1_2_or_later(authority, tmp_path):
    client, stranger = authority.client(), Authority(tmp_path / "theirs").client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with secured(authority) as (world, held):
        assert held.context.minimum_version is ssl.TLSVersion.TLSv1_2
        async with connected(world.port, client) as (_, writer):
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connected(world.port, stranger):
                pass
        await until(lambda: not world.gateway_server.connections, "no connection")


async def test_plain_http_and_silence_get_nothing_and_end_in_time(authority, capfd):
    async with secured(authority, header_limit_s=0.3) as (world, _):
        for sent in (STAYS, b""):
            async with connected(world.port, None) as (reader, writer):
                writer.write(sent)
                async with asyncio.timeout(5):
                    try:
                        heard = await reader.read()
                    except ConnectionError:
                        heard = b""
                assert b"HTTP" not in heard
        assert world.reached_nothing()
    assert "Traceback" not in capfd.readouterr().err


async def test_a_handshake_counts_as_a_connection_of_its_address(authority):
    client = authority.client()
    async with secured(authority, max_connections_per_address=2) as (world, _):
        async with connected(world.port, None), connected(world.port, client):
            await until(lambda: len(world.gateway_server.greeting) == 1, "the silent one")
            with pytest.raises(ConnectionError):
                async with connected(world.port, client):
                    pass
            assert world.shed == ["connections_per_address"]
        await until(lambda: not world.gateway_server.greeting, "no handshake")
        await until(lambda: not world.gateway_server.connections, "no connection")
        async with connected(world.port, client), connected(world.port, client) as (reader, writer):
            writer.write(STAYS)
            head, _ = await one(reader)
            assert head.startswith(b"HTTP/1.1 200")
    assert world.shed == ["connections_per_address"]


async def test_a_handshake_that_is_ended_before_its_first_turn_leaves_nothing(
    authority, monkeypatch
):
    made = Handshake.connection_made

    def end_at_once(self, transport):
        made(self, transport)
        self.abort()

    async with secured(authority, max_connections_per_address=2) as (world, _):
        monkeypatch.setattr(Handshake, "connection_made", end_at_once)
        async with connected(world.port, None) as (reader, _), asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        await until(lambda: not world.gateway_server.greeting, "no handshake")
        assert not world.gateway_server._by_client


async def test_a_client_that_takes_nothing_is_cut_off(authority):
    async with secured(authority, client_stall_timeout_s=0.2) as (world, _):
        world.openai.answering(b"y" * (32 * 1024 * 1024))
        async with connected(world.port, authority.client(), limit=1024) as (_, writer):
            writer.write(raw_request())
            await until(lambda: world.shed == ["client_stall"], "the end of its patience")
            await until(lambda: not world.gateway_server.connections, "no connection")


async def test_a_stream_without_its_end_is_not_ended_by_tls_either(authority):
    async def die(_recorded, upstream):
        upstream.write(SSE_HEAD + chunk(b"data: {"))
        await upstream.drain()
        upstream.transport.abort()

    async with secured(authority) as (world, _):
        world.openai.script = die
        async with connected(world.port, authority.client()) as (reader, writer):
            writer.write(STAYS)
            whole = await reader.read()
    assert whole.endswith(b"data: {\r\n")


async def test_what_has_begun_when_it_stops_is_answered(authority, monkeypatch):
    monkeypatch.setattr(server, "IDLE_GRACE_S", 5.0)  # on a busy machine all this takes a while
    release = asyncio.Event()

    async def late(recorded, upstream):
        await release.wait()
        await world.openai.answer_ok(recorded, upstream)

    async with secured(authority) as (world, _):
        world.openai.script = late
        client = authority.client()
        async with (
            connected(world.port, client) as (reader, writer),
            connected(world.port, None) as (raw_reader, raw_writer),
        ):
            writer.write(STAYS)
            await world.openai.arrived.wait()
            stopping = asyncio.create_task(world.leaving.aclose())
            await until(lambda: world.gateway_server.is_draining, "the stop")
            release.set()
            head, _ = await one(reader)
            assert head.startswith(b"HTTP/1.1 200")
            # Connected before the stop, its handshake begins only now, when nothing else is left.
            await until(lambda: not world.gateway_server.connections, "no connection")
            _, waiting = await asyncio.wait([stopping], timeout=3 * server._LOOK_S)
            assert waiting
            handshake = ssl.MemoryBIO(), ssl.MemoryBIO()
            talk = client.wrap_bio(*handshake, server_hostname="127.0.0.1")
            for step in (talk.do_handshake, lambda: talk.write(STAYS), lambda: talk.read(12)):
                while True:
                    try:
                        done = step()
                    except ssl.SSLWantReadError:
                        raw_writer.write(handshake[1].read())
                        handshake[0].write(await raw_reader.read(65536))
                    else:
                        raw_writer.write(handshake[1].read())
                        break
            assert done == b"HTTP/1.1 200"
            raw_writer.transport.abort()
            await stopping


async def shown(port, authority):
    """The serial number of the certificate that a new connection is shown."""
    async with connected(port, authority.client()) as (_, writer):
        return writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]


async def is_another(port, authority, than):
    return await shown(port, authority) != than


def told(capfd, so_far):
    so_far += capfd.readouterr()
    return "".join(so_far)


async def test_a_renewed_certificate_serves_new_connections(authority, monkeypatch, capfd):
    monkeypatch.setattr(certificate, "LOOK_EVERY_S", 0.02)
    async with secured(authority) as (world, held):
        first = await shown(world.port, authority)
        looking = asyncio.create_task(held.run())
        try:
            async with connected(world.port, authority.client()) as (reader, writer):
                writer.write(STAYS)
                await one(reader)
                pem, key = (Path(file) for file in authority.issue("next"))
                (authority.folder / "gateway.pem").write_bytes(pem.read_bytes())
                logged = []
                await until(lambda: "certificate_refused" in told(capfd, logged), "the refusal")
                assert await shown(world.port, authority) == first
                (authority.folder / "gateway-key.pem").write_bytes(key.read_bytes())
                await until(lambda: is_another(world.port, authority, first), "the new one")
                assert 0 < certificate.EXPIRES._value.get() - time.time() <= 86400
                writer.write(STAYS)
                head, _ = await one(reader)
                assert head.startswith(b"HTTP/1.1 200")
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    assert "BEGIN" not in told(capfd, logged)


@pytest.mark.parametrize("wrong", ["missing", "empty", "another's key", "no certificate"])
def test_a_pair_that_cannot_be_used_is_refused_by_name(authority, wrong):
    cert, key = authority.issue("gateway")
    if wrong == "missing":
        Path(key).unlink()
    elif wrong == "empty":
        Path(cert).write_bytes(b"")
    elif wrong == "another's key":
        key = authority.issue("other")[1]
    else:
        cert = key
    told = Settings(gateway_cert_file=cert, gateway_key_file=key)
    with pytest.raises(ConfigError, match="gateway_cert_file") as refusal:
        certificate_for(told)
    assert "BEGIN" not in str(refusal.value)


def test_one_file_without_the_other_is_refused():
    with pytest.raises(ConfigError, match="belong together"):
        read_settings({"gateway_cert_file": "x.pem"}, {}, "config.yaml")
    assert certificate_for(Settings()) is None


async def test_a_gateway_with_a_bad_pair_does_not_start_and_says_why(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("model_list: []\ngeneral_settings: {master_key: sk-of-a-test-1234}\n")
    environ = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "GRANTGATE_CONFIG": str(config),
        "GRANTGATE_GATEWAY_CERT_FILE": str(tmp_path / "no.pem"),
        "GRANTGATE_GATEWAY_KEY_FILE": str(tmp_path / "no-key.pem"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.gateway"),
        env=environ,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"Traceback" not in said
    assert said.splitlines()[-1].startswith(b"grantgate gateway: settings: gateway_cert_file")
