"""The policy replicas as keys sees them: their records on the stream, and their reports.

A record is a replica's heartbeat; one that stands still for longer than a lease is that of a
replica that cannot answer. "Standing still" is judged by this process's own clock alone.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

import msgspec
import structlog

from services.keys.waiting import Shared, Waiters
from shared import subjects
from shared.bus import BusUnavailable
from shared.changes import Unreadable
from shared.replication import LEFT, Epoch, Member, decode_epoch, decode_member
from shared.streams import ChangeStream

log = structlog.get_logger()

PURGE_AFTER_S = 60.0
"""How long a record stands still before it is taken from the stream; far above any lease."""
PURGE_LEASES = 10

_Named = tuple[list[str], Epoch | None]


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """A replica's last word, the sequence of its record, and since when that has stood still."""

    member: Member
    seq: int
    since: float


class Members:
    """What is known of each replica. Times are seconds of the boot clock."""

    def __init__(self, stream: ChangeStream, boottime: Callable[[], float]) -> None:
        """Read the records of this stream."""
        self._stream = stream
        self._boottime = boottime
        self._reports: dict[str, Member] = {}
        self._records: dict[str, Replica] = {}
        self._left: dict[str, int] = {}
        self._waiters = Waiters()
        self._named = Shared(self._read_named)

    def last_word(self, replica: str) -> Member | None:
        """What this replica was last heard to have applied."""
        return self._reports.get(replica)

    def known(self) -> dict[str, Replica]:
        """Each replica with a record, as of the last `look`."""
        return dict(self._records)

    async def heard(self, data: bytes) -> None:
        """Take a report in."""
        try:
            member = decode_member(data)
        except Unreadable:
            return
        self._remember(member)
        self._waiters.look()

    def has(self, replica: str, epoch: Epoch, rev: int) -> bool:
        """Whether this replica has said that it applied `rev` of this epoch."""
        report = self._reports.get(replica)
        return report is not None and report.epoch == epoch.id and report.rev >= rev

    async def all_have(
        self, replicas: Collection[str], epoch: Epoch, rev: int, wait_s: float
    ) -> bool:
        """Whether each of these says so within the time."""

        def done() -> bool:
            return all(self.has(replica, epoch, rev) for replica in replicas)

        return await self._waiters.wait(done, wait_s)

    async def named(self) -> _Named:
        """The replicas with a record, and the stream's epoch, read after them.

        The epoch last: a stream that was wiped in between has no records, and must not pass for
        one without replicas. Calls share a reading, but only one that began after they did.
        Raises BusUnavailable.
        """
        return await self._named.fresh()

    async def _read_named(self) -> _Named:
        found = await self._stream.subjects_under(subjects.MEMBERS)
        return [subjects.replica_of(subject) for subject in found], await self._epoch()

    async def _epoch(self) -> Epoch | None:
        stored = await self._stream.last(subjects.EPOCH)
        try:
            return None if stored is None else decode_epoch(stored[1])
        except Unreadable:
            return None  # the publisher says so; until then no record proves anything

    async def look(self, replicas: Collection[str]) -> tuple[list[Replica], Epoch | None]:
        """The records of these replicas, but those that have left, and the epoch, read after them.

        Raises BusUnavailable.
        """
        names = list(replicas)
        records = await asyncio.gather(
            *(self._stream.last(subjects.member(name)) for name in names)
        )
        epoch = await self._epoch()
        now = self._boottime()
        found = []
        for name, record in zip(names, records, strict=True):
            if record is None or record[1] == LEFT:
                self.forget(name)
                if record is not None:
                    self._left[name] = record[0]
                continue
            known = self._records.get(name)
            member = self._read(name, record[1])
            # The epoch too: a stream that was made anew counts its sequences from the start.
            if known is None or (known.seq, known.member.epoch) != (record[0], member.epoch):
                if member.epoch:
                    self._remember(member)
                known = Replica(member=member, seq=record[0], since=now)
                self._records[name] = known
            found.append(known)
        return found, epoch

    def _read(self, name: str, data: bytes) -> Member:
        """A record's content; of one that cannot be read, that somebody lives and may lag."""
        try:
            return decode_member(data, name)
        except Unreadable:
            known = self._records.get(name)
            if known is None or known.member.epoch:
                log.error("member_record_unreadable", of=name)  # noqa: TRY400
            return Member(replica=name, epoch="", rev=0, chain=b"", schema=1)

    def is_silent(self, name: str, for_s: float) -> bool:
        """Whether this replica's record, when it was last seen, had stood still for so long."""
        known = self._records.get(name)
        return known is not None and self.still_for(known) >= for_s

    def still_for(self, replica: Replica) -> float:
        """For how many seconds this process has watched the record stand still."""
        return self._boottime() - replica.since

    def forget(self, name: str) -> None:
        """Drop a replica whose record is gone."""
        self._records.pop(name, None)
        self._reports.pop(name, None)

    async def look_at_all(self) -> list[Replica]:
        """Every record there is; those of replicas long dead, or left, are taken from the stream.

        Raises BusUnavailable.
        """
        found, _ = await self.named()
        for gone in self._records.keys() - set(found):
            self.forget(gone)
        replicas, epoch = await self.look(found)
        for name, seq in tuple(self._left.items()):
            await self._stream.purge(subject=subjects.member(name), up_to=seq)
            self._left.pop(name, None)
        if epoch is None:
            return replicas
        patience = max(PURGE_AFTER_S, PURGE_LEASES * (epoch.lease_s + epoch.margin_s))
        for replica in replicas:
            if self.still_for(replica) > patience:
                name = replica.member.replica
                # Up to the record that was seen: one it has written since must stay.
                await self._stream.purge(subject=subjects.member(name), up_to=replica.seq)
                self.forget(name)
                log.info("dead_replica_forgotten", gone=name)
        return replicas

    def oldest_schema(self, epoch: Epoch) -> int | None:
        """The oldest schema among the replicas that may hold a lease; None without any."""
        length = epoch.lease_s + epoch.margin_s
        alive = (r for r in self._records.values() if self.still_for(r) <= length)
        return min((replica.member.schema for replica in alive), default=None)

    def _remember(self, member: Member) -> None:
        known = self._reports.get(member.replica)
        if known is None or known.epoch != member.epoch or known.rev < member.rev:
            self._reports[member.replica] = member


async def watch(members: Members, every_s: float = 1.0) -> None:
    """Keep looking at every record, until cancelled."""
    while True:
        with suppress(BusUnavailable):
            await members.look_at_all()
        await asyncio.sleep(every_s)
