"""Bugs put into the real code on purpose: each must be found, or the simulation shows nothing."""

import asyncio
from contextlib import suppress
from typing import Literal

import msgspec

from services.gateway.policy_client import PolicyClient
from services.keys.barrier import Barrier
from services.keys.epochs import EpochKeeper
from services.keys.errors import Unavailable
from services.keys.journal import Journal
from services.keys.members import Members
from services.keys.publisher import Publisher
from services.keys.store import Taken
from services.policy.feed import Feed
from services.policy.lease import Lease
from services.policy.responder import Responder
from services.policy.table import GrantTable
from shared.bus import BusUnavailable
from shared.changes import Change, decode_mutations
from shared.replication import Epoch
from shared.streams import ChangeStream
from tests.sim import planted_snapshots
from tests.sim.clockwork import World
from tests.sim.parts import Site, site_with
from tests.sim.scenario import replaced


class HastyBarrier(Barrier):
    async def enforced(self, rev: int) -> Literal["enforced", "pending"]:
        return "enforced" if await self._publisher.published(rev, 2.0) else "pending"


class MembersFirstBarrier(Barrier):
    async def enforced(self, rev: int) -> Literal["enforced", "pending"]:
        try:
            early = await self.members.named()
        except BusUnavailable:
            return await super().enforced(rev)

        async def named():
            return early

        with replaced((self.members, "named", named)):
            return await super().enforced(rev)


class ImpatientBarrier(Barrier):
    """Waits for half a lease."""

    async def enforced(self, rev: int) -> Literal["enforced", "pending"]:
        with replaced((self, "_publisher", _HalfLease(self._publisher))):
            return await super().enforced(rev)


class _HalfLease:
    def __init__(self, publisher) -> None:
        self._publisher = publisher
        self.published = publisher.published
        epoch = publisher.epoch
        self.epoch = epoch and msgspec.structs.replace(epoch, lease_s=epoch.lease_s / 2, margin_s=0)

    @property
    def published_rev(self) -> int:
        return self._publisher.published_rev


class UnsettledBarrier(Barrier):
    """Trusts the records of an epoch that is not settled."""

    async def _each_has_applied(self, epoch: Epoch, rev: int, deadline: float) -> bool:
        real = self.members.named

        async def named():
            found, now_epoch = await real()
            return found, now_epoch and msgspec.structs.replace(now_epoch, settled=True)

        with replaced((self.members, "named", named)):
            return await super()._each_has_applied(epoch, rev, deadline)


class ForgetfulMembers(Members):
    """Counts a record as standing still once it was seen twice."""

    def still_for(self, replica) -> float:
        return 1000.0 if self._boottime() > replica.since else 0.0


class ForgetfulBarrier(Barrier):
    def __init__(self, *parts) -> None:
        super().__init__(*parts)
        self.members = ForgetfulMembers(parts[1], parts[3])


class LateLease(Lease):
    """Counts from the end of the proof, not from before its beginning."""

    clock = staticmethod(lambda: 0.0)

    def extend(self, proof_began: float, length_s: float) -> None:
        super().extend(max(proof_began, self.clock()), length_s)


class LateLeaseFeed(Feed):
    async def _renew(self, epoch: Epoch) -> None:
        self._lease.clock = self._boottime
        await super()._renew(epoch)


class UnfollowingFeed(Feed):
    """Takes the lease without catching up."""

    async def _follow(self, head: Change) -> None:
        pass


class LateRecordStream(ChangeStream):
    """Lets the member record be stored when it will: the head may be read before it."""

    async def put(self, subject: str, data: bytes, *, after=None) -> int:
        if not subject.startswith("grants.member."):
            return await super().put(subject, data, after=after)
        task = asyncio.ensure_future(self._put_late(subject, data))
        self._late = [*getattr(self, "_late", []), task][-20:]
        return 0

    async def _put_late(self, subject: str, data: bytes) -> None:
        await asyncio.sleep(0.2)
        with suppress(BusUnavailable):
            await super().put(subject, data)


class EarlyEpochFeed(Feed):
    """Reads the epoch first, when it joins, and never again at a renewal's end."""

    async def _meet(self, epoch: Epoch) -> None:
        del epoch


def _accept_gap(table: GrantTable, change: Change) -> bool:
    """Accept a change when those before it are missing."""
    return change.rev > table.rev and _take(table, change)


def _accept_unchained(table: GrantTable, change: Change) -> bool:
    """Apply the next change without a look at its chain value."""
    return change.rev == table.rev + 1 and _take(table, change)


def _take(table: GrantTable, change: Change) -> bool:
    mutations, _ = decode_mutations(change.decision)
    table._fold(mutations)
    table.rev, table.chain = change.rev, change.chain
    return True


class CorruptSite(Site):
    """A bus that damages what is pushed. The real table refuses that."""

    def __init__(self, world: World, **settings) -> None:
        super().__init__(world, **settings)
        self.server.corrupts_pushes = True


class AlwaysResponder(Responder):
    """Does not look whether its lease holds."""

    def __init__(self, client, lease, table, **clocks) -> None:
        del lease
        super().__init__(client, _EndlessLease(), table, **clocks)


class _EndlessLease(Lease):
    def holds(self, now: float) -> bool:
        return now >= 0


class FloorlessClient(PolicyClient):
    """Forgets what it has seen."""

    def saw(self, revision: int) -> None:
        pass


class EagerJournal(Journal):
    """Acknowledges before the log holds it."""

    async def _append(self, plan, actor, request_id):
        with replaced((self, "_store", _Optimist(self._store))):
            return await super()._append(plan, actor, request_id)


class _Optimist:
    def __init__(self, store) -> None:
        self._store = store
        self.after = store.after
        self._appending: list[asyncio.Future[None]] = []

    async def append(self, entry, described) -> None:
        work = _ignoring(self._store.append(entry, described))
        self._appending.append(asyncio.ensure_future(work))


async def _ignoring(work) -> None:
    with suppress(Taken, Unavailable):
        await work


class RudeJournal(Journal):
    """Takes "this revision is another's" for success."""

    async def _append(self, plan, actor, request_id):
        with replaced((self, "_store", _Rude(self._store))):
            return await super()._append(plan, actor, request_id)


class _Rude(_Optimist):
    async def append(self, entry, described) -> None:
        with suppress(Taken):
            await self._store.append(entry, described)


def _publisher_with(keeper: type[EpochKeeper]) -> type[Publisher]:
    class PublisherWith(Publisher):
        def __init__(self, journal, stream, **settings) -> None:
            super().__init__(journal, stream, **settings)
            settings.pop("schema", None)
            self._keeper = keeper(stream, **settings)

    return PublisherWith


class HastyKeeper(EpochKeeper):
    """Settles an epoch at once."""

    async def advance(self, *args) -> None:
        self._watched_since = float("-inf")
        await super().advance(*args)


class CompleteAtOncePublisher(Publisher):
    """Marks the epoch complete before the stream is filled."""

    async def _push(self) -> None:
        epoch = self._keeper.epoch
        if epoch is not None and not epoch.complete:
            await self._keeper.advance(self._published, None, 1)
        await super()._push()


class UnorderedStream(ChangeStream):
    """Expects only that each revision's own subject is empty."""

    async def put(self, subject: str, data: bytes, *, after=None) -> int:
        if subject.startswith("grants.change."):
            after = (subject, 0)
        return await super().put(subject, data, after=after)


class UnacknowledgedPublisher(Publisher):
    """Takes a change for published once it was sent."""

    async def _publish(self, entry) -> None:
        self._set_published(entry.rev)
        await super()._publish(entry)


PLANTED: dict[str, type[Site]] = {
    "barrier returns once published": site_with(barrier=HastyBarrier),
    "barrier reads members before the publish": site_with(barrier=MembersFirstBarrier),
    "barrier waits half a lease": site_with(barrier=ImpatientBarrier),
    "barrier ignores settled": site_with(barrier=UnsettledBarrier),
    "barrier forgets a record seen twice": site_with(barrier=ForgetfulBarrier),
    "lease counted from the end of the reads": site_with(feed=LateLeaseFeed, lease=LateLease),
    "lease without following": site_with(feed=UnfollowingFeed),
    "head read before the record is stored": site_with(change_stream=LateRecordStream),
    "epoch not read last": site_with(feed=EarlyEpochFeed),
    "table accepts a gap": site_with(patches=((GrantTable, "apply", _accept_gap),)),
    "push applied without its chain": type(
        "UnchainedSite", (CorruptSite,), {"patches": ((GrantTable, "apply", _accept_unchained),)}
    ),
    "responder ignores its lease": site_with(responder=AlwaysResponder),
    "gateway forgets its floor": site_with(gateway=FloorlessClient),
    "journal acknowledges before the append": site_with(journal=EagerJournal),
    "journal takes Taken for success": site_with(journal=RudeJournal),
    "epoch settled at once": site_with(publisher=_publisher_with(HastyKeeper)),
    "epoch complete before it is filled": site_with(publisher=CompleteAtOncePublisher),
    "changes published in any order": site_with(change_stream=UnorderedStream),
    "published before it is acknowledged": site_with(publisher=UnacknowledgedPublisher),
    **planted_snapshots.PLANTED,
}
"""What is wrong -> a site with that wrong in it."""
