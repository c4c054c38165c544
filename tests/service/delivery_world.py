"""The parts of delivery in one process, on a real NATS: keys' side, replicas and gateways."""

import asyncio
import itertools
import secrets
import time
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client

from services.gateway.policy_client import PolicyClient
from services.keys import members
from services.keys.barrier import Barrier
from services.keys.journal import Journal
from services.keys.log import Origin, make_entry, read_entry
from services.keys.management import Plan
from services.keys.publisher import Publisher
from services.keys.records import KeyDetails, KeyRecord
from services.keys.snapshots import Snapshots
from services.keys.store import Taken
from services.policy.feed import Feed
from services.policy.lease import Lease
from services.policy.rebuild import Rebuilder
from services.policy.responder import Responder
from services.policy.sources import Bucket
from shared import bus
from shared.changes import GENESIS, Change, KeyGrant, encode_mutations, hash_rest, link
from shared.courier import Courier
from shared.credentials import Secret
from shared.decisions import Question
from shared.http import Readiness
from shared.service import boottime, end
from shared.streams import ChangeStream, SnapshotStream
from tests.parts import PASSWORDS, until

ROUTE = "/v1/chat/completions"
LEASE_S, MARGIN_S = 1.0, 0.2


class Log:
    """A change log in memory, with the journal's face towards the publisher."""

    def __init__(self):
        self.entries = []
        self.refusal = None
        self.adopted = 0
        self.schema_used = 1
        self._callbacks = []

    @property
    def state(self):
        return self

    @property
    def rev(self):
        return len(self.entries)

    @property
    def chain(self):
        return self.entries[-1].chain if self.entries else GENESIS

    def on_grown(self, callback):
        self._callbacks.append(callback)

    async def current(self):
        return self

    async def entries_after(self, rev, limit):
        return self.entries[rev : rev + limit]

    async def chain_at(self, rev):
        return self.entries[rev - 1].chain if 0 < rev <= self.rev else None

    def is_own(self, rev):
        return rev <= self.rev

    def refuse_writes(self, why):
        self.refusal = why

    def add(self, *mutations):
        decision = encode_mutations(mutations)
        rest = hash_rest(b"")
        rev = self.rev + 1
        chain = link(self.chain, rev, decision, rest)
        change = Change(rev=rev, chain=chain, decision=decision, rest_hash=rest)
        self.entries.append(Entry(change))
        for callback in self._callbacks:
            callback()
        return rev


class Entry:
    def __init__(self, change):
        self.rev, self.chain = change.rev, change.chain
        self._change = change

    def as_change(self):
        return self._change


@asynccontextmanager
async def task(work):
    running = asyncio.create_task(work)
    try:
        yield running
    finally:
        with suppress(Exception):
            await end(running)


class World:
    """One log, one stream, and any number of replicas and gateways, in this process."""

    def __init__(self, server, stack):
        self.server = server
        self.stack = stack
        self.log = Log()
        self._ids = itertools.count()

    async def connect(self, user):
        password = PASSWORDS[f"GRANTGATE_NATS_{user.upper()}_PASSWORD"]
        url = f"nats://127.0.0.1:{self.server.port}"
        client = Client()
        connection = bus.connect(client, url, user, Secret(password), on_closed=lambda: None)
        await self.stack.enter_async_context(connection)
        return client

    async def publisher(self, log=None, **options):
        client = await self.connect("keys")
        stream = ChangeStream(client)
        publisher = Publisher(
            log or self.log,
            stream,
            **{"lease_s": LEASE_S, "margin_s": MARGIN_S, **options},
            boottime=boottime,
            new_id=lambda: secrets.token_hex(4),
        )
        barrier = Barrier(client, stream, publisher, boottime)
        publisher.oldest_schema = barrier.members.oldest_schema
        await barrier.open()
        await self.stack.enter_async_context(task(members.watch(barrier.members, 0.2)))
        if log is not None:
            publisher.snapshots = Snapshots(
                log, SnapshotStream(client), every=50, every_bytes=2**30, new_id=new_id
            )
            publisher.base = publisher.snapshots.base
        running = await self.stack.enter_async_context(task(publisher.run()))
        publisher.stop = running.cancel
        return publisher, barrier

    async def policy(self, clock=boottime, copy=None, keys=None, schema=1):
        client = await self.connect("policy")
        lease = Lease()
        replica = f"replica{next(self._ids)}"
        stream = ChangeStream(client)
        bucket = Bucket(SnapshotStream(client))
        rebuilder = Rebuilder(stream, bucket, copy, keys)
        feed = Feed(replica, client, stream, lease, Readiness("lease"), clock, rebuilder)
        feed.bucket, feed.schema = bucket, schema
        courier = await self.courier("policy")
        responder = Responder(courier, lease, lambda: feed.table, boottime=clock, now=time.time)
        running = await self.stack.enter_async_context(task(feed.run(responder)))
        feed.stop = running.cancel
        feed.lease, feed.responder = lease, responder
        return feed

    async def gateway(self):
        inbox = f"_INBOX_gateway.{secrets.token_hex(8)}"
        return PolicyClient(await self.courier("gateway"), inbox=inbox, timeout_s=1.0)

    async def courier(self, user):
        password = PASSWORDS[f"GRANTGATE_NATS_{user.upper()}_PASSWORD"]
        courier = Courier(f"nats://127.0.0.1:{self.server.port}", user, Secret(password))
        await self.stack.enter_async_context(task(courier.run()))
        await until(lambda: courier.is_connected, "a courier")
        return courier


def key(number, **fields):
    return KeyGrant(id=number.to_bytes(32, "big"), **fields)


def question(number, floor=0):
    return Question(number.to_bytes(32, "big"), None, ROUTE, floor)


def new_id():
    return secrets.token_hex(6)


class MemoryStore:
    """A log's home in memory, for tests that are not about MongoDB."""

    def __init__(self):
        self.entries = []

    async def append(self, entry, _described):
        if entry.rev <= len(self.entries):
            raise Taken
        self.entries.append(entry)

    async def after(self, rev, limit=1000):
        return self.entries[rev : rev + limit]

    def fill(self, count):
        """Put this many changes in, each of a key of its own."""
        chain = self.entries[-1].chain if self.entries else GENESIS
        for rev in range(len(self.entries) + 1, len(self.entries) + count + 1):
            origin = Origin(op_id=new_id(), at=1.0, actor="a", request_id="r", reason="t")
            entry = make_entry(rev, chain, [record(rev)], origin)
            read_entry(entry, chain)
            self.entries.append(entry)
            chain = entry.chain


async def journal_on(store):
    async def enforce(_):
        return "enforced"

    journal = Journal(store, clock=time.time, new_id=new_id, enforce=enforce)
    journal.store = store
    await journal.current()
    return journal


def record(number, **fields):
    details = KeyDetails(
        key_name="sk-...abcd",
        created_at=1.0,
        updated_at=1.0,
        created_by="master_key",
        updated_by="master_key",
    )
    return KeyRecord(grant=key(number, **fields), details=details)


async def write(journal, *writes):
    """Commit these as one change; its revision."""
    plan = Plan(writes=writes, answer={}, reason="test")
    return (await journal.commit(lambda _: plan, actor="a", request_id="r")).revision
