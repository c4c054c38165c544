"""Nkeys in the place of passwords, against a real server that knows the public halves alone."""

import asyncio
import base64
import binascii
import os
import re
import sys
from contextlib import asynccontextmanager

import pytest

from services.dev.bundled import NATS_CONF
from shared import bus
from shared.courier import Courier
from shared.credentials import Secret
from shared.nkey import Nkey
from shared.reading import ConfigError
from shared.settings_reader import read_settings, with_secret_files
from shared.streams import ChangeStream
from tests.parts import connecting, nats_server, until

USERS = ("keys", "policy", "gateway")
# The pair of NATS's own documentation.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
OF_A_USER, OF_AN_ACCOUNT = b"\x95\x00", b"\x90\x00"


def encoded(kind, secret):
    checked = kind + secret
    checked += binascii.crc_hqx(checked, 0).to_bytes(2, "little")
    return base64.b32encode(checked).rstrip(b"=").decode()


def fresh():
    return Secret(encoded(OF_A_USER, os.urandom(32)))


@asynccontextmanager
async def serving(folder):
    """The shipped configuration with an nkey for each user; the address and the seeds."""
    seeds = {user: fresh() for user in USERS}
    conf = NATS_CONF.read_text()
    for user, seed in seeds.items():
        named = rf"user: {user}\s+password: \S+"
        conf, count = re.subn(named, f"nkey: {Nkey(seed).public}", conf)
        assert count == 1
    (folder / "nats.conf").write_text(conf)
    server = nats_server(folder, folder / "nats.conf")
    async with server.running():
        yield f"nats://127.0.0.1:{server.port}", seeds


def couriers(url, user, seed):
    return connecting(Courier(url, user, Nkey(seed)))


async def test_both_connections_of_each_service_prove_themselves_and_may_what_its_user_may(
    tmp_path,
):
    async with serving(tmp_path) as (url, seeds):
        for user, seed in seeds.items():
            async with bus.reach(url, user, Nkey(seed), 10, None) as client:
                assert client.is_connected
            async with couriers(url, user, seed) as courier:
                await until(lambda: courier.is_connected, "a connection")
        async with bus.reach(url, "keys", Nkey(seeds["keys"]), 10, None) as keys:
            await ChangeStream(keys, beginning=lambda: 1).create()
            async with bus.reach(url, "policy", Nkey(seeds["policy"]), 10, None) as policy:
                stream = ChangeStream(policy)
                assert await stream.put("grants.member.r1", b"here") == 1
                with pytest.raises(bus.BusUnavailable):
                    await stream.put("grants.change.1", b"forged")


async def test_a_connection_comes_back_with_its_nkey_after_the_server_did(tmp_path):
    async with (
        serving(tmp_path) as (url, seeds),
        couriers(url, "policy", seeds["policy"]) as courier,
    ):
        await until(lambda: courier.is_connected, "a connection")
        courier._link.transport.abort()
        await until(lambda: not courier.is_connected, "the loss")
        await until(lambda: courier.is_connected, "a new connection")


async def test_a_key_that_the_server_does_not_know_is_refused(tmp_path):
    async with serving(tmp_path) as (url, _):
        with pytest.raises(bus.BusUnavailable):
            async with bus.reach(url, "keys", Nkey(fresh()), 0.6, None):
                pass
        async with couriers(url, "keys", fresh()) as courier:
            with pytest.raises(AssertionError, match="in vain"):
                await until(lambda: courier.is_connected, "a connection", timeout_s=0.6)


def test_the_pair_of_the_documentation_is_one_and_prints_its_public_half_alone():
    assert Nkey(Secret(SEED)).public == PUBLIC
    assert repr(Nkey(Secret(SEED))) == f"Nkey({PUBLIC})"


@pytest.mark.parametrize(
    "bad",
    [
        SEED[:-1],
        SEED[:-1] + ("A" if SEED[-1] != "A" else "B"),
        SEED[:20] + ("A" if SEED[20] != "A" else "B") + SEED[21:],
        SEED.lower(),
        SEED + "AAAA",
        PUBLIC,
        encoded(OF_AN_ACCOUNT, bytes(32)),
        "S\u00dc" + SEED[2:],
        "password",
    ],
)
def test_what_is_no_seed_of_a_user_is_one_line_that_quotes_nothing_of_it(tmp_path, bad):
    file = tmp_path / "seed"
    file.write_text(f"{bad}\n")
    environ = with_secret_files({"GRANTGATE_NATS_NKEY_SEED_FILE": str(file)})
    for section, variables in ((None, environ), ({"nats_nkey_seed": bad}, {})):
        with pytest.raises(ConfigError, match="is no nkey seed of a user") as caught:
            read_settings(section, variables, "config.yaml")
        assert "\n" not in str(caught.value)
        assert bad[2:10] not in str(caught.value).replace("nkey seed", "")


def test_a_seed_and_a_password_are_not_both_taken():
    with pytest.raises(ConfigError, match="keep one of the two"):
        read_settings({"nats_nkey_seed": SEED, "nats_password": "word"}, {}, "config.yaml")


@pytest.mark.parametrize(
    ("service", "content", "told"),
    [
        ("keys", None, "cannot be read (no such file or directory)"),
        ("policy", "\n", "names an empty file"),
        ("gateway", SEED[:-2] + "AA", "is no nkey seed of a user"),
    ],
)
async def test_a_service_without_a_seed_that_can_be_used_says_so_and_does_not_start(
    tmp_path, service, content, told
):
    config, seed = tmp_path / "config.yaml", tmp_path / "seed"
    config.write_text("model_list: []\n")
    if content is not None:
        seed.write_text(content)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"services.{service}"),
        env={
            "PATH": os.environ["PATH"],
            "GRANTGATE_CONFIG": str(config),
            "GRANTGATE_MASTER_KEY": "sk-master-of-the-nkeys",
            "GRANTGATE_NATS_NKEY_SEED_FILE": str(seed),
        },
        stderr=asyncio.subprocess.PIPE,
    )
    said = (await asyncio.wait_for(process.communicate(), 30))[1].decode()
    assert process.returncode == 2
    assert said.startswith(f"grantgate {service}: environment: GRANTGATE_NATS_NKEY_SEED")
    assert told in said
    assert said.count("\n") == 1
    assert SEED[4:16] not in said
