"""NATS over TLS against a real server that verifies its clients, and against one that does not."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client

from services.dev.bundled import NATS_CONF
from shared import bus
from shared.courier import Courier
from shared.credentials import Secret
from shared.reading import ConfigError
from shared.settings import Settings
from shared.settings_reader import read_settings
from shared.tls import for_nats
from tests.authority import Authority
from tests.parts import PASSWORDS, connecting, nats_server, until

WORD = Secret(PASSWORDS["GRANTGATE_NATS_KEYS_PASSWORD"])


@pytest.fixture(name="authority")
def _authority(tmp_path):
    return Authority(tmp_path / "ours")


@asynccontextmanager
async def secured(authority, folder, address="127.0.0.1"):
    """The shipped configuration with `tls { verify: true }`; the server's port."""
    cert, key = authority.issue("nats", address)
    tls = (
        f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{authority.ca}", verify: true }}'
    )
    conf = folder / "nats.conf"
    conf.write_text(NATS_CONF.read_text() + tls)
    server = nats_server(folder, conf)
    async with server.running():
        yield server.port


def settings(port, ca=None, pair=(None, None), scheme="tls"):
    return Settings(
        nats_url=f"{scheme}://127.0.0.1:{port}",
        nats_ca_file=ca,
        nats_cert_file=pair[0],
        nats_key_file=pair[1],
    )


def couriers(told, user="keys"):
    return connecting(Courier(told.nats_url, user, WORD, tls=for_nats(told)))


async def is_refused(told):
    with pytest.raises(bus.BusUnavailable):
        async with bus.reach(told.nats_url, "keys", WORD, 0.6, for_nats(told)):
            pass
    async with couriers(told) as courier:
        with pytest.raises(AssertionError, match="in vain"):
            await until(lambda: courier.is_connected, "a connection", timeout_s=0.6)
    return True


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_both_connections_prove_themselves_to_a_server_that_verifies(
    authority, tmp_path, scheme
):
    async with secured(authority, tmp_path) as port:
        told = settings(port, authority.ca, authority.issue("keys"), scheme)
        async with bus.reach(told.nats_url, "keys", WORD, 10, for_nats(told)) as client:
            assert isinstance(client, Client)
            await bus.say(client, "policy.report")
        async with couriers(told) as courier:
            await until(lambda: courier.is_connected, "a connection")


async def test_a_server_that_verifies_refuses_who_shows_none_or_anothers_certificate(
    authority, tmp_path
):
    stranger = Authority(tmp_path / "theirs")
    async with secured(authority, tmp_path) as port:
        assert await is_refused(settings(port, authority.ca))
        assert await is_refused(settings(port, authority.ca, stranger.issue("keys")))


async def test_a_server_that_is_not_vouched_for_is_refused(authority, tmp_path):
    stranger = Authority(tmp_path / "theirs")
    async with secured(authority, tmp_path) as port:
        assert await is_refused(settings(port, None, authority.issue("keys")))
        assert await is_refused(settings(port, stranger.ca, authority.issue("keys")))


async def test_a_certificate_for_another_name_is_refused(authority, tmp_path):
    async with secured(authority, tmp_path, "127.0.0.2") as port:
        assert await is_refused(settings(port, authority.ca, authority.issue("keys")))


@pytest.mark.parametrize(("scheme", "has_ca"), [("tls", False), ("tls", True), ("nats", True)])
async def test_a_server_without_tls_is_not_told_the_password(authority, scheme, has_ca):
    heard = bytearray()

    async def pretend(reader, writer):
        info = {"server_id": "x", "version": "2.15.0", "max_payload": 1 << 23, "headers": True}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        while data := await reader.read(4096):
            heard.extend(data)
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        told = settings(port, authority.ca if has_ca else None, scheme=scheme)
        assert await is_refused(told)
        assert heard  # the courier's TLS hello, at least: somebody was there to listen
        assert b"CONNECT" not in heard
        assert WORD.reveal().encode() not in heard


def test_old_tls_is_not_spoken(authority):
    context = for_nats(settings(1, authority.ca))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert for_nats(settings(1, scheme="nats")) is None


def test_a_certificate_without_its_key_is_refused():
    for name in ("nats_cert_file", "nats_key_file"):
        with pytest.raises(ConfigError, match="belong together"):
            read_settings({name: "x.pem"}, {}, "config.yaml")
