"""What is done to a running cluster, each as a context: hurt on entry, healed on exit.

`keeps_serving` names what the data plane must not notice at all.
"""

import asyncio
import random
import shutil
import signal
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nats.aio.client import Client

from services.dev.bundled import NATS_CONF
from tests import parts
from tests.chaos.cluster import GATEWAYS, KEYS, LEASE_S, POLICIES

STREAM = "GRANTS"


@dataclass(frozen=True)
class Nemesis:
    """One way to hurt a cluster, for `hold_s` seconds."""

    name: str
    strike: Callable
    hold_s: float = 1.5
    keeps_serving: bool = False


def _one(names):
    return lambda: [random.choice(names)]


def kill(victims, down_s=1.0):
    """kill -9, and start again after `down_s`."""

    @asynccontextmanager
    async def strike(cluster):
        chosen = victims()
        await asyncio.gather(*(cluster.servers[name].kill() for name in chosen))
        await asyncio.sleep(down_s)
        await asyncio.gather(*(cluster.servers[name].start() for name in chosen))
        yield

    return strike


def freeze(victims):
    """SIGSTOP, and SIGCONT in the end."""

    @asynccontextmanager
    async def strike(cluster):
        chosen = victims()
        for name in chosen:
            cluster.servers[name].signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for name in chosen:
                cluster.servers[name].signal(signal.SIGCONT)

    return strike


def tell(victims, number, undo=None):
    """A signal that the test build answers with a blocked loop or a jump of its wall clock."""

    @asynccontextmanager
    async def strike(cluster):
        chosen = victims()
        for name in chosen:
            cluster.servers[name].signal(number)
        yield
        for name in chosen if undo else ():
            cluster.servers[name].signal(undo)

    return strike


def network(pattern, act):
    """`act` on every link whose name ends with `pattern`, or on one that begins with it."""

    @asynccontextmanager
    async def strike(cluster):
        chosen = [link for link in cluster.links.values() if link.name.endswith(pattern)]
        for link in chosen:
            act(link)
        try:
            yield
        finally:
            for link in chosen:
                link.heal()

    return strike


@asynccontextmanager
async def _keys_admin(cluster):
    """A connection to NATS as the user keys."""
    client = Client()
    await client.connect(
        f"nats://127.0.0.1:{cluster.servers['nats'].port}",
        user="keys",
        password=parts.PASSWORDS["GRANTGATE_NATS_KEYS_PASSWORD"],
        inbox_prefix=b"_INBOX_keys",
        connect_timeout=2,
    )
    try:
        yield client.jetstream(timeout=2)
    finally:
        await client.close()


@asynccontextmanager
async def delete_stream(cluster):
    """The stream is deleted by hand."""
    async with _keys_admin(cluster) as jetstream:
        await jetstream.delete_stream(STREAM)
    yield


@asynccontextmanager
async def purge_stream(cluster):
    """Every message of the stream is removed by hand."""
    async with _keys_admin(cluster) as jetstream:
        await jetstream.purge_stream(STREAM)
    yield


@asynccontextmanager
async def wipe_store(cluster):
    """nats-server dies, and comes back with an empty disk."""
    await cluster.servers["nats"].kill()
    shutil.rmtree(cluster.folder / "jetstream")
    await cluster.servers["nats"].start()
    yield


@asynccontextmanager
async def fill_store(cluster):
    """nats-server may store hardly more than it already holds."""
    nats = cluster.servers["nats"]
    folder = cluster.folder / "jetstream"
    await nats.kill()
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    text = NATS_CONF.read_text()
    conf = cluster.folder / "nats-small.conf"
    limit = f"jetstream {{\n  max_file_store: {held + 4096}"
    assert "jetstream {" in text
    conf.write_text(text.replace("jetstream {", limit))
    roomy = nats.command
    nats.command = [str(conf) if part == str(NATS_CONF) else part for part in roomy]
    await nats.start()
    try:
        yield
    finally:
        nats.command = roomy
        await nats.kill()
        await nats.start()


@asynccontextmanager
async def restore_older_database(cluster):
    """The database is put back to a copy from before some changes, then to the newest again.

    While the older one is in place no write may succeed; afterwards keys is restarted, which is
    what an operator does who has found the newer copy.
    """
    mongo, data = cluster.servers["mongo"], cluster.folder / "mongo"
    older, newest = cluster.folder / "mongo-older", cluster.folder / "mongo-newest"
    await mongo.kill()
    _copy(data, older)
    await mongo.start()
    changes = 0
    while changes < 5:
        made = await cluster.call("/key/generate", {"models": []}, gateway=random.choice(GATEWAYS))
        changes += made.status == 200
    await mongo.kill()
    _copy(data, newest)
    _copy(older, data)
    await mongo.start()
    restarted = random.choice(KEYS)
    await cluster.servers[restarted].kill()
    await cluster.servers[restarted].start()
    try:
        for gateway in GATEWAYS:
            refused = await cluster.call("/key/generate", {"models": []}, gateway=gateway)
            assert refused.status == 503, f"a write on an older copy of the log: {refused}"
        yield
    finally:
        await mongo.kill()
        for name in KEYS:
            await cluster.servers[name].kill()
        _copy(newest, data)
        await mongo.start()
        for name in KEYS:
            await cluster.servers[name].start()


def _copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _cut(link):
    link.cut()


def _slow(link):
    link.slow(0.03)


def _catalogue():
    long = LEASE_S * 1.5
    kinds = (("keys", KEYS), ("policy", POLICIES), ("gateway", GATEWAYS))
    services = {kind: _one(names) for kind, names in kinds}
    both_keys = lambda: list(KEYS)  # noqa: E731
    every_policy = lambda: list(POLICIES)  # noqa: E731
    everything = lambda: [*KEYS, *POLICIES, *GATEWAYS]  # noqa: E731
    some_policy = lambda what: network(f"policy{random.randrange(3)}-nats", what)  # noqa: E731
    return [
        Nemesis("none", tell(list, signal.SIGCONT), 3.0, keeps_serving=True),
        Nemesis("kill keys", kill(services["keys"]), 0.5, keeps_serving=True),
        Nemesis("kill both keys", kill(both_keys), 0.5, keeps_serving=True),
        Nemesis("kill a policy", kill(services["policy"]), 0.5),
        Nemesis("kill every policy", kill(every_policy), 0.5),
        Nemesis("kill a gateway", kill(services["gateway"]), 0.5),
        Nemesis("kill nats", kill(lambda: ["nats"]), 0.5),
        Nemesis("kill the database", kill(lambda: ["mongo"]), 0.5, keeps_serving=True),
        Nemesis("kill keys and a policy", kill(lambda: [random.choice(KEYS), "policy1"]), 0.5),
        Nemesis("freeze keys", freeze(services["keys"]), long, keeps_serving=True),
        Nemesis("freeze a policy", freeze(services["policy"]), long),
        Nemesis("freeze a policy briefly", freeze(services["policy"]), 0.4),
        Nemesis("freeze a gateway", freeze(services["gateway"]), long),
        Nemesis("freeze nats", freeze(lambda: ["nats"]), long),
        Nemesis("freeze the database", freeze(lambda: ["mongo"]), long, keeps_serving=True),
        Nemesis("block a policy's loop", tell(services["policy"], signal.SIGWINCH), 3.2),
        Nemesis(
            "block keys' loop", tell(services["keys"], signal.SIGWINCH), 3.2, keeps_serving=True
        ),
        Nemesis("block a gateway's loop", tell(services["gateway"], signal.SIGWINCH), 3.2),
        Nemesis("clocks an hour ahead", tell(everything, signal.SIGUSR1, signal.SIGUSR2), 2.0),
        Nemesis("clocks an hour back", tell(everything, signal.SIGUSR2, signal.SIGUSR1), 2.0),
        Nemesis("slow links to nats", network("-nats", _slow), 2.0),
        Nemesis("slow links to the database", network("-mongo", _slow), 2.0, keeps_serving=True),
        Nemesis("cut a policy off", _later(lambda: some_policy(_cut)), long),
        Nemesis("a policy hears nothing", _later(lambda: some_policy(_deafen)), long),
        Nemesis("a policy is not heard", _later(lambda: some_policy(_mute)), long),
        Nemesis("half-open to a policy", _later(lambda: some_policy(_half_open)), long),
        Nemesis("cut keys off nats", network("keys0-nats", _cut), long, keeps_serving=True),
        Nemesis("keys is not heard", network("keys1-nats", _mute), long, keeps_serving=True),
        Nemesis("cut keys off the database", network("keys0-mongo", _cut), long, True),
        Nemesis("cut a gateway off nats", network("gateway0-nats", _cut), long),
        Nemesis("cut a gateway off keys", network("gateway1-keys", _cut), 1.5, keeps_serving=True),
        Nemesis("cut a gateway off the provider", network("gateway0-demo", _cut), 1.5),
        Nemesis("half-open to the provider", network("gateway1-demo", _half_open), 1.5),
        Nemesis("slow links to the provider", network("-demo", _slow), 1.5),
        Nemesis("reset every link to the provider", network("-demo", _reset), 0.5),
        Nemesis("reset every link to nats", network("-nats", _reset), 1.0),
        Nemesis("reset every link to the database", network("-mongo", _reset), 1.0, True),
        Nemesis("wipe the stream's store", wipe_store, 2 * LEASE_S),
        Nemesis("delete the stream", delete_stream, 2 * LEASE_S),
        Nemesis("purge the stream", purge_stream, 2 * LEASE_S),
        Nemesis("fill the stream's store", fill_store, 2.5),
        Nemesis("restore an older database", restore_older_database, 2.0, keeps_serving=True),
    ]


def _deafen(link):
    link.down.hold()


def _mute(link):
    link.up.hold()


def _half_open(link):
    link.half_open()


def _reset(link):
    link.reset()


def _later(make):
    """Choose the victim anew each time."""
    return lambda cluster: make()(cluster)  # noqa: PLW0108 - made anew at each strike


NEMESES = _catalogue()
