"""The whole product through its failures: afterwards no secret stands where it should not.

`GRANTGATE_TEST_SECRETS` takes all of them (`make test-secrets`), else it is the quick ones.
"""

import os
import re
from contextlib import ExitStack, closing
from pathlib import Path
from typing import get_type_hints

import bson
import pymongo
import pytest

from shared.credentials import Secret
from shared.settings import Settings
from tests.e2e.leaks import bad_upstream
from tests.e2e.leaks.failures import (
    break_down,
    expire,
    fail_upstream,
    manage,
    misplace_keys,
    present_keys,
    reload,
)
from tests.e2e.leaks.overheard import Overheard
from tests.e2e.leaks.product import running, until
from tests.e2e.leaks.sweep import Sweep, files
from tests.e2e.leaks.world import (
    ALIAS,
    ASKED,
    CANARIES,
    DIGEST,
    EPOCH,
    MASTER,
    METRIC,
    MODULE,
    REQUEST,
    SECRETS,
    STARTED,
    TEAM,
    VARIABLE,
    World,
    config,
    environ,
    made_for,
)
from tests.e2e.leaks.wrong_starts import (
    UNKNOWN_NKEY,
    leak,
    run_commands,
    start_in_vain,
    start_wrongly,
)

ALL = bool(os.environ.get("GRANTGATE_TEST_SECRETS"))

LAWFUL = {
    ("answer to /internal/upstream", "credential of a stored model"): (
        "what a gateway fetches from keys with the internal token; a stranger asks in vain"
    ),
    ("request to an upstream", "credential of the file"): "it is what the upstream asks for",
    ("request to an upstream", "header of the file"): "the operator has it sent there",
    ("request to an upstream", "credential of a stored model"): "it is what the upstream asks for",
    ("request to a proxy", "password of the proxy"): "it is what the proxy asks for",
    ("answer to /key/info", "minted key"): "as in LiteLLM, `key` is what the admin asked with",
    ("answer to /key/update", "deleted key"): "as in LiteLLM, `key` is what the admin asked with",
}
ENVIRONMENT = {
    "keys": {"master key", "internal token", "snapshot token", "salt key", "keys's password"},
    "policy": {"internal token", "snapshot token", "policy's password"},
    "gateway": {"master key", "internal token", "gateway's password"},
    "nats": {"keys's password", "policy's password", "gateway's password"},
}
"""What a process is told by its environment, besides what `_INHERITED` says."""
_INHERITED = {"credential of the file", "password of the proxy"}
"""The services are given all of an operator's own variables."""

_TELLS_NO_DIGEST = re.compile(
    r"log|argument|environment|request|answer to (/v1/|/metrics|a |another )"
)
"""Where not even a key's digest may stand."""

PLANTED = {
    "answer to the test itself",
    "argument of leaky",
    "environment of leaky",
    "file of JetStream",
    "file of policy",
    "file of the database",
    "log of leaky",
    "message on planted",
    "record",
    "stream PLANTED",
}
"""Every kind of place: what is put into one by the test has to be found there."""

_SERVICES = ("keys", "policy", "gateway")
PASSES = {
    ASKED: {
        "answer to /v1/chat/completions",
        "log of gateway",
        "message on _INBOX_gateway",
        "message on policy",
    },
    ALIAS: {
        "answer to /key/info",
        "file of JetStream",
        "file of the database",
        "message on grants",
        "record",
    },
    TEAM: {"message on snapshot", "stream SNAPSHOTS", *(["file of policy"] if ALL else [])},
    REQUEST: {"answer to /v1/chat/completions", "log of gateway"},
    EPOCH: {"message on grants", "stream GRANTS"},
    STARTED: {f"log of {name}" for name in _SERVICES},
    MODULE: {f"argument of {name}" for name in _SERVICES},
    VARIABLE: {f"environment of {name}" for name in _SERVICES},
    METRIC: {f"answer to /metrics of {name}" for name in _SERVICES},
}
"""Where each mark is known to pass, and has to be found."""


def ask_everywhere(world):
    """What every service tells about itself, to whoever asks."""
    product = world.product
    paths = ["/metrics", "/livez", "/readyz", "/health", "/health/readiness", "/health/liveliness"]
    paths += ["/health/propagation", "/openapi.json", "/docs", "/v1/models", "/"]
    for name, port in {"the public port": product.port, **product.internal_ports}.items():
        for path in paths:
            product.call(path, MASTER, port=port, what=f"{path} of {name}")
            product.ask(f"{path} of {name}", f"GET {path} HTTP/1.1\r\n", port=port)


def plant(world, database):
    """Put a secret into each kind of place that is searched."""
    secret = SECRETS["planted"]
    world.overheard.plant(secret)
    database["planted"]["planted"].insert_one({"secret": secret})
    (world.product.data / "policy").mkdir(exist_ok=True)
    (world.product.data / "policy" / "planted").write_text(secret)
    leak(world, secret)
    world.product.answers.append(("answer to the test itself", secret.encode()))


def places(world):
    """All that is searched, by its kind."""
    product = world.product
    yield from (*world.shown, *product.answers, *world.upstream.heard, *world.overheard.messages)
    yield from ((f"log of {name}", part.log.read_bytes()) for name, part in product.parts.items())
    for kind, name in (("JetStream", "jetstream"), ("the database", "mongo"), ("policy", "policy")):
        yield from files(f"file of {kind}", product.data / name)


def documents(client):
    """Every document of every database, as it is encoded."""
    return [
        ("record", bson.encode(document))
        for name in client.list_database_names()
        for collection in client[name].list_collection_names()
        for document in client[name][collection].find()
    ]


def fail(world):
    """Every failure, or the quick ones."""
    key = present_keys(world)
    misplace_keys(world, key)
    fail_upstream(world, key)
    manage(world, key)
    reload(world)
    world.look_at_processes()
    if ALL:
        expire(world)
        break_down(world, key)
        start_wrongly(world)
        start_in_vain(world)
        run_commands(world)
    ask_everywhere(world)


def go_through_it(folder):
    """Run it all; the world, and what is found in it."""
    with ExitStack() as stack:
        upstream = stack.enter_context(bad_upstream.serving())
        (folder / "config.yaml").write_text(config(upstream.port))
        product = stack.enter_context(running(folder, environ(folder, upstream.port)))
        overheard = stack.enter_context(closing(Overheard(product.nats_url)))
        world = World(folder, product, upstream, overheard)
        for name in ("keys", "policy", "gateway"):
            product.parts[name].start()
            world.secrets[f"{name}'s password"] = product.environ(name)["GRANTGATE_NATS_PASSWORD"]
        product.until_ready()
        fail(world)
        if ALL:
            until((product.data / "policy" / "snapshot").exists, "the policy's own copy")
        with pymongo.MongoClient(product.environ("keys")["GRANTGATE_MONGO_URL"]) as database:
            plant(world, database)
            world.shown += documents(database)
        world.look_at_processes()
        world.shown += overheard.stored()
        for part in reversed(product.parts.values()):
            part.end()
        return world, Sweep(world.secrets).found(places(world))


def test_every_setting_that_is_a_secret_is_planted():
    secret = {name for name, hint in get_type_hints(Settings).items() if hint == Secret | None}
    planted = {*environ(Path(), 0), *UNKNOWN_NKEY}
    assert {f"GRANTGATE_{name.upper()}" for name in secret} <= planted


@pytest.mark.timeout(600)
def test_no_failure_brings_a_secret_where_it_does_not_belong(tmp_path, monkeypatch):
    for variable in [name for name in os.environ if name.startswith("GRANTGATE_")]:
        monkeypatch.delenv(variable)
    world, found = go_through_it(tmp_path)
    assert {place for place, secret, _ in found if secret == "planted"} >= PLANTED
    passed = {(place, mark) for mark, there in PASSES.items() for place in there}
    assert passed <= {(place, CANARIES.get(mark)) for place, mark, _ in found}
    given = {
        (f"environment of {name}", secret)
        for name, secrets in ENVIRONMENT.items()
        for secret in secrets | (_INHERITED if name != "nats" else set())
    }
    there = {each[:2] for each in found}
    assert LAWFUL.keys() | given | {("answer to /key/info", DIGEST)} <= there
    assert {(made_for(name), name) for name in ("minted key", "chosen key")} <= there
    lawful = LAWFUL.keys() | given | {(made_for(name), name) for name in world.secrets}
    lawful |= {(place, DIGEST) for place, _, _ in found if not _TELLS_NO_DIGEST.match(place)}
    ours = {"planted", *CANARIES}
    leaks = [each for each in found if each[1] not in ours and each[:2] not in lawful]
    assert not leaks, "\n".join(map(str, leaks))
