"""Grantgate as the benchmarks run it: the processes of `grantgate up`, filled with keys."""

import asyncio
import os
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import pymongo

from benchmarks.processes import child, until_listening, until_ready
from services.dev import stack
from services.dev.ports import free_ports
from services.dev.supervisor import Command
from services.keys.journal import Journal
from services.keys.management import Plan
from services.keys.records import KeyDetails, KeyRecord, TeamDetails, TeamRecord
from services.keys.state import State
from services.keys.store import open_store
from shared.changes import KeyGrant, TeamGrant
from shared.credentials import Secret, key_name, mint

MODEL = "gpt-4"
REFUSED_MODEL = "gpt-3.5-turbo"
"""Served, and in no key's list."""
MASTER_KEY = "sk-master-of-the-benchmarks"
DATABASE = "grantgate"

_KEYS_A_TEAM = 10
_LISTS = 100
"""How many different `models` lists the keys have."""
_ASKED = 100_000
"""Keys that requests come with, at most, spread over all: a generator has to hold them."""
PER_CHANGE = 4000
"""Records in one change: below the size a change may have."""
_ENTRY = """\
  - model_name: {model}
    litellm_params: {{model: openai/up-model, api_base: "{url}", api_key: k0}}
"""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A running Grantgate. `on_path` are the processes a request's cost is the sum of.

    They come in the order in which a request meets them.
    """

    port: int
    mongo_url: str
    on_path: dict[str, int]
    keys_file: Path
    policy: Command
    """What its first policy replica runs."""


def secrets(count: int) -> list[Secret]:
    """That many minted keys, the same in every run."""
    choose = random.Random(count).choice
    return [mint(choose) for _ in range(count)]


def grants(digests: Iterable[bytes], teams: int) -> Iterator[KeyGrant | TeamGrant]:
    """What the keys may do: the teams first, then each key, in a team, with one of the lists."""
    for number in range(teams):
        models = (MODEL, f"model-{number % 7}", "gpt-4o")
        yield TeamGrant(id=_team(number), alias=f"Team {number}", models=models)
    for number, digest in enumerate(digests):
        listed = (MODEL, f"model-{number % _LISTS}")
        yield KeyGrant(id=digest, models=listed, team_id=_team(number % teams))


def _team(number: int) -> str:
    # As long as the ids that keys makes.
    return str(uuid.UUID(int=number + 1))


def _records(keys: Sequence[Secret]) -> Iterator[KeyRecord | TeamRecord]:
    stamp: dict[str, Any] = {"created_at": 0.0, "updated_at": 0.0}
    stamp |= {"created_by": "bench", "updated_by": "bench"}
    digests = (key.digest() for key in keys)
    names = iter(keys)
    for grant in grants(digests, max(1, len(keys) // _KEYS_A_TEAM)):
        if isinstance(grant, TeamGrant):
            yield TeamRecord(grant=grant, details=TeamDetails(**stamp))
        else:
            details = KeyDetails(key_name=key_name(next(names)), **stamp)
            yield KeyRecord(grant=grant, details=details)


def _planned(made: Plan, _: State) -> Plan:
    return made


async def fill(
    mongo_url: str, records: Sequence[KeyRecord | TeamRecord], per_change: int = PER_CHANGE
) -> None:
    """Commit records as a few large changes, through the journal that keys itself uses."""

    async def never(_: int) -> Literal["enforced", "pending"]:
        return "pending"

    async with open_store(mongo_url, DATABASE) as store:
        await store.prepare()
        journal = Journal(store, clock=time.time, new_id=lambda: str(uuid.uuid4()), enforce=never)
        for start in range(0, len(records), per_change):
            writes = tuple(records[start : start + per_change])
            made = Plan(writes=writes, answer={}, reason="bench")
            await journal.commit(partial(_planned, made), actor="b", request_id="b", wait=False)
        revision = journal.state.rev
    # Copying a hundred thousand keys into the collections for people takes minutes of processor
    # time beside the measurement, and nothing decides by those copies: they count as made.
    client: pymongo.MongoClient[dict[str, object]]
    with pymongo.MongoClient(mongo_url) as client:
        client[DATABASE]["projected"].replace_one({"_id": "head"}, {"rev": revision}, upsert=True)


def plan(
    folder: Path, upstream_port: int, replicas: int, extra: dict[str, str]
) -> tuple[stack.Stack, int]:
    """The commands of a Grantgate in `folder`, and its public port."""
    url = stack.demo_url(upstream_port)
    config = folder / "config.yaml"
    entries = [_ENTRY.format(model=model, url=url) for model in (MODEL, REFUSED_MODEL)]
    config.write_text("model_list:\n" + "".join(entries))
    (port,) = free_ports(1)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GRANTGATE_")}
    environ |= {"GRANTGATE_CONFIG": str(config), "GRANTGATE_MASTER_KEY": MASTER_KEY, **extra}
    shape = stack.Shape(data_dir=folder, port=port, policy_replicas=replicas)
    return stack.plan(shape, environ, drain_s=1.0), port


@contextmanager
def product(
    folder: Path,
    upstream_port: int,
    *,
    keys: int,
    replicas: int = 1,
    extra: dict[str, str] | None = None,
    gateway_under: Sequence[str] = (),
) -> Iterator[Product]:
    """A fresh Grantgate with that many keys, ready, within the block. `extra` is environment.

    `gateway_under` is a command to run the gateway's command with.
    """
    folder.mkdir(parents=True)
    held = secrets(keys)
    keys_file = folder / "keys.txt"
    step = max(1, keys // _ASKED)
    keys_file.write_text("".join(key.reveal() + "\n" for key in held[::step]))
    planned, port = plan(folder, upstream_port, replicas, extra or {})
    mongo_url = next(
        command.environ["GRANTGATE_MONGO_URL"]
        for command in planned.services
        if command.name == "keys"
    )
    pids: dict[str, int] = {}
    with ExitStack() as running:

        def start(commands: Sequence[Command]) -> None:
            for command in commands:
                log = folder / f"{command.name}.log"
                under = gateway_under if command.name.startswith("gateway") else ()
                pids[command.name] = running.enter_context(
                    child((*under, *command.argv), log, command.environ, command.cwd)
                )

        start([command for command in planned.servers if command.name != "demo"])
        for server_port in planned.listening[1:]:  # the first is the demo upstream's
            until_listening(server_port)
        if held:
            asyncio.run(fill(mongo_url, tuple(_records(held))))
        # The gateway last: it is not to spend the seconds of a large fill asking in vain.
        for is_gateway in (False, True):
            start([c for c in planned.services if c.name.startswith("gateway") == is_gateway])
            for name in planned.ready.keys() & pids.keys():
                until_ready(planned.ready[name])
        until_ready(planned.ready["the public port"])
        on_path = {
            name: pid
            for kind in ("gateway", "policy", "nats")
            for name, pid in pids.items()
            if name.startswith(kind)
        }
        yield Product(
            port=port,
            mongo_url=mongo_url,
            on_path=on_path,
            keys_file=keys_file,
            policy=next(c for c in planned.services if c.name.startswith("policy")),
        )
