"""The product's processes, put together as their apps do, on simulated parts."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from services.gateway.errors import PolicyUnavailable
from services.gateway.policy_client import PolicyClient
from services.keys.barrier import Barrier
from services.keys.errors import Unavailable
from services.keys.journal import Journal
from services.keys.management import Plan
from services.keys.publisher import Publisher
from services.keys.records import KeyDetails, KeyRecord
from services.keys.snapshots import Snapshots
from services.keys.state import State
from services.policy.feed import Feed
from services.policy.lease import Lease
from services.policy.own_copy import OwnCopy
from services.policy.rebuild import Rebuilder
from services.policy.responder import Responder
from services.policy.sources import Bucket, keep_copy
from shared.changes import KeyGrant, Tombstone
from shared.decisions import Allow, Question
from shared.http import Readiness
from shared.streams import ChangeStream, SnapshotStream, new_beginning
from tests.sim.clients import Client, Courier
from tests.sim.clockwork import Process, World
from tests.sim.network import Server
from tests.sim.snapshots import Folder, Judge, KeysNearby
from tests.sim.store import Disk, LogStore

ROUTE = "/v1/chat/completions"
_RETRY_S = 1.0


class Facts:
    """What has been promised to callers so far."""

    def __init__(self) -> None:
        self.enforced = 0
        """The highest revision whose write was answered as being in force."""
        self.acknowledged: dict[int, str] = {}
        self.answers = 0
        self.refused_writes = 0
        self.unanswered = 0


class Site:
    """What all processes share, and which classes they are made of (planted bugs change those)."""

    feed = Feed
    lease = Lease
    responder = Responder
    barrier = Barrier
    publisher = Publisher
    journal = Journal
    snapshots = Snapshots
    gateway = PolicyClient
    change_stream = ChangeStream
    patches: tuple[tuple[Any, str, Any], ...] = ()
    """What is replaced while the world lasts, where no subclass can be put in."""

    def __init__(
        self, world: World, *, lease_s: float, margin_s: float, snapshot_every: int = 0
    ) -> None:
        self.world = world
        self.server = Server(world)
        self.disk = Disk(world)
        self.facts = Facts()
        self.lease_s = lease_s
        self.margin_s = margin_s
        self.snapshot_every = snapshot_every
        """After how many changes a snapshot is due; 0: there are none, and nothing is trimmed."""
        self.judge = Judge(self)
        if snapshot_every:
            self.server.on_kept = self.judge.look
        self.all_keys: list[KeysProcess] = []
        self.free_folders: list[Folder] = []
        """Of policy replicas that have ended: the next to start finds one as it was left."""
        self.on_enforced: Callable[[], None] = lambda: None
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"id{self._ids}"

    def new_beginning(self) -> int:
        return new_beginning(self.world.now, self._ids)


def site_with(**parts: Any) -> type[Site]:
    """A site with other parts in it, by their names there."""
    return type("SiteWithOthers", (Site,), parts)


class KeysProcess(Process):
    """One keys replica."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site.world, name)
        self.site = site
        self.store = LogStore(site.disk, self)
        self.journal = site.journal(
            self.store, clock=self.clock, new_id=site.new_id, enforce=self._enforce
        )
        self.client = Client(site.server, self)
        stream = site.change_stream(self.client, beginning=site.new_beginning)
        self.publisher = site.publisher(
            self.journal,
            stream,
            lease_s=site.lease_s,
            margin_s=site.margin_s,
            boottime=self.boottime,
            new_id=site.new_id,
        )
        self.publisher.claim_first = self.store.claim_first
        self.barrier = site.barrier(self.client, stream, self.publisher, self.boottime)
        self.snapshots = site.snapshots(
            self.journal,
            SnapshotStream(self.client, beginning=site.new_beginning),
            every=site.snapshot_every,
            every_bytes=1_000_000,
            new_id=site.new_id,
        )
        if site.snapshot_every:
            self.publisher.base = self.snapshots.base
        site.all_keys.append(self)
        self.client.on_reconnected = self.publisher.look_again
        self.spawn(self._run(), "keys")

    async def _enforce(self, rev: int) -> Any:
        return await self.barrier.enforced(rev)

    async def _run(self) -> None:
        await self.barrier.open()
        self.spawn(self.publisher.run(), "the publisher")
        if self.site.snapshot_every:
            self.spawn(self.snapshots.run(self.publisher), "the snapshots")
        while True:
            with suppress(Unavailable):
                await self.journal.current()
            await asyncio.sleep(_RETRY_S)

    async def write(self, request: str, key: bytes, *, allowed: bool | None) -> None:
        """One management call: allow, block, or (None) delete a key."""
        world = self.world
        world.say(self.name, "asked to write", request, key[-1], allowed)
        try:
            made = await self.journal.commit(_plan(key, allowed), actor="sim", request_id=request)
        except Unavailable as problem:
            self.site.facts.refused_writes += 1
            world.say(self.name, "refused", request, problem)
            return
        world.say(self.name, made.propagation.upper(), made.revision, request)
        facts = self.site.facts
        if made.plan.writes:
            facts.acknowledged[made.revision] = request
            if self.site.disk.requests.get(made.revision) != request:
                world.fail(f"{request} was acknowledged as {made.revision}, which is not it")
        if made.propagation == "enforced":
            facts.enforced = max(facts.enforced, made.revision)
            self.site.on_enforced()


def _plan(key: bytes, allowed: bool | None) -> Callable[[State], Plan]:
    def plan(state: State) -> Plan:
        if allowed is None:
            found: tuple[Any, ...] = (Tombstone(of="key", id=key),) if key in state.keys else ()
        else:
            details = KeyDetails(
                key_name="k", created_at=0, updated_at=0, created_by="sim", updated_by="sim"
            )
            found = (KeyRecord(grant=KeyGrant(id=key, blocked=not allowed), details=details),)
        return Plan(writes=found, answer={}, reason="sim")

    return plan


class PolicyProcess(Process):
    """One policy replica."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site.world, name)
        self.site = site
        self.client = Client(site.server, self)
        self.lease = site.lease()
        self.readiness = Readiness("lease")
        stream = site.change_stream(self.client)
        self.folder = site.free_folders.pop() if site.free_folders else Folder()
        self.feed = site.feed(
            name,
            self.client,
            stream,
            self.lease,
            self.readiness,
            self.boottime,
            self._rebuilder(stream) if site.snapshot_every else None,
        )
        self.courier = Courier(site.server, self)
        self.responder = site.responder(
            self.courier,
            self.lease,
            lambda: self.feed.table,
            boottime=self.boottime,
            now=self._now,
        )
        self.client.on_reconnected = self.feed.look_again
        self._checked = 0
        self._following = self.loop.create_task(self._run())

    def _rebuilder(self, stream: ChangeStream) -> Rebuilder:
        bucket = Bucket(SnapshotStream(self.client))
        copy = OwnCopy(self.folder)  # type: ignore[arg-type]
        self.spawn(keep_copy(bucket, copy), "the own copy")
        return Rebuilder(stream, bucket, copy, KeysNearby(self.site, self))

    def _now(self) -> float:
        self.world.maybe_pause(self)
        return self.clock()

    async def _run(self) -> None:
        await self._watched(self.feed.run(self.responder), "the feed")

    def run(self) -> None:
        super().run()
        table = self.feed.table
        if table.rev != self._checked:
            self._checked = table.rev
            if table.rev > self.site.disk.head or table.chain != self.site.disk.chain(table.rev):
                self.world.fail(f"{self.name}'s table at {table.rev} is no prefix of the log")
            elif {k: not e.blocked for k, e in table._keys.items()} != self.site.disk.allowed[
                table.rev
            ]:
                self.world.fail(f"{self.name}'s table at {table.rev} is not what the log says")
        self.check_lease()

    def check_lease(self) -> None:
        """A replica that may answer has applied all that was said to be in force."""
        behind = self.feed.table.rev < self.site.facts.enforced
        if behind and not self.is_dead and self.lease.holds(self.clock()):
            self.world.fail(
                f"{self.name} may answer as of {self.feed.table.rev}, "
                f"though {self.site.facts.enforced} was said to be in force"
            )

    def kill(self) -> None:
        if not self.is_dead:
            self.site.free_folders.append(self.folder)
        super().kill()

    async def leave(self) -> None:
        """Stop in order, as on SIGTERM."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.feed.leave(self.responder)
        self.world.say(self.name, "has left")
        self.kill()


class GatewayProcess(Process):
    """One gateway."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site.world, name)
        self.site = site
        self.courier = Courier(site.server, self)
        inbox = self.courier.new_inbox()
        self.asker = site.gateway(self.courier, inbox=inbox, timeout_s=1.0)
        self._seen = 0

    async def ask(self, key: bytes) -> bool:
        """One request: whether policy answered; its answer must not be from before its time."""
        world, facts = self.world, self.site.facts
        enforced, seen, began = facts.enforced, self._seen, world.now
        try:
            found = await self.asker.ask(Question(key, None, ROUTE))
        except PolicyUnavailable:
            facts.unanswered += 1
            return False
        facts.answers += 1
        self._seen = max(self._seen, found.revision)
        world.say(self.name, "answered", type(found).__name__, key[-1], found.revision)
        what = f"{type(found).__name__} of key {key[-1]} as of {found.revision}"
        if found.revision < enforced:
            world.fail(
                f"stale: {what}, asked at {began:.4f} after {enforced} was said to be in force"
            )
        if found.revision < seen:
            world.fail(f"{self.name} was answered {what} after it had seen {seen}")
        truth = self.site.disk.allowed[found.revision].get(key, False)
        if isinstance(found, Allow) != truth:
            world.fail(f"wrong: {what}")
        return True

    async def ask_and_forget(self, key: bytes) -> None:
        await self.ask(key)
