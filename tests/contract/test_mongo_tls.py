"""MongoDB over TLS: a real server with a certificate, whom it takes in, and whom keys trusts."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from services.keys.errors import Unavailable
from services.keys.store import open_store
from shared.reading import ConfigError
from tests import parts
from tests.authority import Authority


@pytest.fixture(name="authority")
def _authority(tmp_path):
    return Authority(tmp_path / "ours")


@pytest.fixture(name="server")
async def _server(authority, tmp_path):
    """The embedded server, which verifies its clients."""
    cert, key = authority.issue("mongo")
    server = parts.mongo_server(tmp_path)
    server.command += ["--tls-cert-file", cert, "--tls-key-file", key]
    server.command += ["--tls-ca-file", authority.ca, "--tls-require-client-cert"]
    async with server.running():
        yield server


def address(server, authority, proof=None, options="tls=true"):
    trusted = f"&tlsCAFile={authority.ca}" if authority else ""
    shown = f"&tlsCertificateKeyFile={proof}" if proof else ""
    return f"mongodb://127.0.0.1:{server.port}/?directConnection=true&{options}{trusted}{shown}"


def pair(authority, folder):
    """Certificate and key in the one file that MongoDB's clients want."""
    cert, key = authority.issue("keys")
    both = folder / f"{authority.folder.name}-both.pem"
    both.write_text("".join(Path(each).read_text() for each in (cert, key)))
    return both


async def test_keys_and_the_database_prove_themselves_to_each_other(server, authority, tmp_path):
    proof = pair(authority, tmp_path)
    async with open_store(address(server, authority, proof), f"tls{time.time_ns()}") as store:
        await store.prepare()
        assert await store.after(0) == []


async def test_who_does_not_prove_themselves_gets_and_gives_nothing(server, authority, tmp_path):
    stranger = Authority(tmp_path / "theirs")
    proof = pair(authority, tmp_path)

    async def is_refused(url):
        async with open_store(url, "never") as store:
            with pytest.raises(Unavailable):
                await store.after(0)

    await asyncio.gather(
        is_refused(address(server, authority)),
        is_refused(address(server, authority, pair(stranger, tmp_path))),
        is_refused(address(server, stranger, proof)),
        is_refused(address(server, None, proof)),
        is_refused(address(server, None, None, "tls=false")),
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("tls=yes", "option that is unknown"),
        ("tls=true&tlsCAFil=x", "option that is unknown"),
        ("tls=true&tlsInsecure=true", "not to verify the server (tlsinsecure)"),
        ("tls=true&tlsAllowInvalidCertificates=True", "(tlsallowinvalidcertificates)"),
        ("tls=true&tlsAllowInvalidHostnames=1", "(tlsallowinvalidhostnames)"),
        ("tls=true&tlsCAFile=/nowhere/ca.pem", "tlscafile file is not readable"),
        ("tls=true&tlsCAFile={file}", "that cannot be used"),
        ("tls=true&tlsCertificateKeyFile={file}", "or file that is none for it"),
    ],
)
async def test_an_address_without_the_tls_it_asks_for_is_one_line_without_the_password(
    tmp_path, options, told
):
    (tmp_path / "file").write_text("no certificate")
    url = "mongodb://me:hush-hush@127.0.0.1:1/?" + options.format(file=tmp_path / "file")
    with pytest.raises(ConfigError) as caught:
        async with open_store(url, "never"):
            pass
    assert told in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [("keys",), ("doctor",), ("import", "litellm", "{rows}")])
def test_every_command_that_is_given_one_ends_with_that_line(tmp_path, command):
    (tmp_path / "config.yaml").write_text("model_list: []\n")
    rows = tmp_path / "rows"
    rows.write_text("")
    done = subprocess.run(
        [str(parts.BIN / "grantgate"), *(word.format(rows=rows) for word in command)],
        env={
            "PATH": os.environ["PATH"],
            "GRANTGATE_CONFIG": str(tmp_path / "config.yaml"),
            "GRANTGATE_MASTER_KEY": "sk-master-of-mongo-tls",
            "GRANTGATE_MONGO_URL": "mongodb://me:hush-hush@127.0.0.1:1/?tls=yes",
            "GRANTGATE_KEYS_PORT": "0",
            "GRANTGATE_KEYS_URL": f"http://127.0.0.1:{parts.free_port()}",
            "GRANTGATE_NATS_URL": f"nats://127.0.0.1:{parts.free_port()}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"grantgate {command[0]}: settings: mongo_url: has an option" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr + done.stdout
