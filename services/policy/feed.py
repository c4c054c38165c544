"""Keeps the grant table current with the stream, and proves it: the lease is renewed here.

Push is a hint; the stream's content, read from its leader, decides. No step of a renewal may be
reordered: the record is stored first, then the head is read, the epoch last.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from prometheus_client import Counter

from services.policy.catch_up import CatchUp, Hole, Trimmed, is_answer
from services.policy.lease import Lease
from services.policy.rebuild import NothingToStartFrom, Rebuilder
from services.policy.responder import Responder
from services.policy.table import Forked, Gap, GrantTable
from shared import subjects
from shared.bus import BusUnavailable, say
from shared.changes import SCHEMA, Change, Unreadable, decode_change
from shared.http import Readiness
from shared.replication import LEFT, Epoch, Member, decode_epoch, decode_member, encode
from shared.streams import ChangeStream

log = structlog.get_logger()

_MAX_RENEWAL_S = 1.0
_RENEWAL_TIMEOUT_S = 5.0
_RETRY_S = 0.1
_REPORT_EACH = 256
"""Changes applied in one go before a report goes out in their midst."""

RENEWALS = Counter("policy_lease_renewals", "Attempts to renew the lease", ["outcome"])


class NotCurrent(Exception):
    """This replica cannot be shown to be current; says why."""


class Feed:
    """One replica's following of the log."""

    def __init__(
        self,
        replica: str,
        client: Client,
        stream: ChangeStream,
        lease: Lease,
        readiness: Readiness,
        boottime: Callable[[], float],
        rebuilder: Rebuilder | None = None,
    ) -> None:
        """Follow as `replica`, a name no other process ever had."""
        self._replica = replica
        self._client = client
        self._stream = stream
        self._lease = lease
        self._readiness = readiness
        self._boottime = boottime
        self._rebuilder = rebuilder or Rebuilder(stream)
        self._catch_up = CatchUp(stream, self._rebuilder.keys)
        self._wake = asyncio.Event()
        self._epoch: Epoch | None = None
        self._pushed: Subscription | None = None
        self._unreported = 0
        self.gave_up = ""
        """Why this replica may not answer, when that does not pass by itself; "": it may."""
        self.schema = SCHEMA
        """The newest schema whose records this process reads."""
        self.table = GrantTable()

    @property
    def epoch(self) -> Epoch | None:
        """The epoch this replica has joined."""
        return self._epoch

    def look_again(self) -> None:
        """Renew at once: after a reconnect, or a gap."""
        self._wake.set()

    async def run(self, responder: Responder) -> None:
        """Follow until cancelled. `responder` is open exactly while the lease holds."""
        self._pushed = await self._client.subscribe(subjects.CHANGES, cb=self._push)
        asked = await self._client.subscribe(subjects.REPORT, cb=self._report)
        try:
            while True:
                self._wake.clear()
                pause = await self._renew_or_say_why()
                if self._lease.holds(self._boottime()):
                    responder.open()
                else:
                    responder.close()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            for subscription in (self._pushed, asked):
                if not self._client.is_closed:
                    await subscription.unsubscribe()

    async def leave(self, responder: Responder) -> None:
        """Stop answering, then say so in the place of the record, so that no write waits for it."""
        self._lease.drop(self._boottime())
        responder.close()
        try:
            async with asyncio.timeout(1.0):
                await self._stream.put(subjects.member(self._replica), LEFT)
        except (BusUnavailable, TimeoutError):
            log.warning("member_record_left_behind")

    async def _renew_or_say_why(self) -> float:
        """One attempt; the seconds until the next."""
        try:
            if self._epoch is None:
                # Not under the time limit: a large table takes as long as it takes.
                self._epoch = await self._join(await self._read_epoch())
            async with asyncio.timeout(_RENEWAL_TIMEOUT_S):
                await self._renew(self._epoch)
        except (NotCurrent, BusUnavailable, TimeoutError) as problem:
            RENEWALS.labels("failed").inc()
            if not self._lease.holds(self._boottime()):
                self._readiness.set("lease", False, str(problem) or type(problem).__name__)
            return _RETRY_S
        RENEWALS.labels("renewed").inc()
        self._readiness.set("lease", True)
        self.gave_up = ""
        length = self._epoch.lease_s if self._epoch else _MAX_RENEWAL_S
        return min(_MAX_RENEWAL_S, length / 4)

    async def _renew(self, epoch: Epoch) -> None:
        began = self._boottime()
        applied = self.table.rev
        mine = await self._stream.put(subjects.member(self._replica), encode(self._member(epoch)))
        last_seq = await self._stream.last_sequence()
        if last_seq is None or last_seq < mine:
            msg = "the stream lost this replica's record"
            raise NotCurrent(msg)
        head = await self._read_head()
        if head is not None and head.rev < applied:
            # A change is pushed before it is stored: look once more before judging.
            head = await self._read_head()
        problem = None
        if (head.rev if head else 0) < applied:
            problem = f"the stream ends before revision {applied}, which this replica has"
        elif head is not None:
            problem = await self._follow(head)
        # Last: a new epoch explains whatever does not fit, and never passes for the old one.
        await self._meet(await self._read_epoch())
        if problem is not None:
            self._give_up(problem)
        self._lease.extend(began, epoch.lease_s)
        if not self._lease.holds(self._boottime()):
            raise NotCurrent(self.gave_up or "what was read is older than a lease is long")
        await self._report()

    async def _read_epoch(self) -> Epoch:
        if (found := await self._stream.last(subjects.EPOCH)) is None:
            msg = "the stream has no epoch yet"
            raise NotCurrent(msg)
        try:
            return decode_epoch(found[1])
        except Unreadable:
            self._give_up("the stream's epoch cannot be read by this version")

    async def _join(self, epoch: Epoch) -> Epoch:
        """Take the epoch as this replica's own; a table of another history is built anew."""
        self._refuse_newer(epoch)
        if not epoch.complete:
            msg = "the stream is being filled"
            raise NotCurrent(msg)
        head = await self._read_head()
        rev = head.rev if head else 0
        await self._wait_for_known_heads(rev)
        if rev < self.table.rev:
            self._give_up(f"the new epoch ends before revision {self.table.rev}")
        if self.table.rev < max(epoch.first_rev, 1):
            await self._rebuild(epoch)
        else:
            stored = await self._stream.last(subjects.change(self.table.rev))
            if stored is None:
                msg = "the stream was trimmed meanwhile"
                raise NotCurrent(msg)
            if self._read_change(stored[1]).chain != self.table.chain:
                log.error("table_of_another_history", revision=self.table.rev)
                self._lease.drop(self._boottime())
                await self._rebuild(epoch)
        log.info("epoch_joined", epoch=epoch.id, revision=self.table.rev)
        return epoch

    async def _rebuild(self, epoch: Epoch) -> None:
        """Build a table beside the one in use, then swap."""
        try:
            self.table = await self._rebuilder.build(epoch)
        except NothingToStartFrom as problem:
            raise NotCurrent(str(problem)) from problem
        self._catch_up.forget()

    async def _wait_for_known_heads(self, head: int) -> None:
        """Do not start from a stream that holds less than another replica has already seen."""
        for subject in await self._stream.subjects_under(subjects.MEMBERS):
            record = await self._stream.last(subject)
            try:
                seen = record and decode_member(record[1])
            except Unreadable:
                continue  # of whom that cannot be known
            if seen and seen.rev > head:
                msg = f"the stream ends at revision {head}, replica {seen.replica} had {seen.rev}"
                raise NotCurrent(msg)

    async def _meet(self, epoch: Epoch) -> None:
        """Raise unless this is the joined epoch; otherwise join the new one next time."""
        if self._epoch is not None and epoch.id == self._epoch.id and epoch.complete:
            self._refuse_newer(epoch)
            self._epoch = epoch
            return
        self._join_again()
        msg = "the stream has a new epoch"
        raise NotCurrent(msg)

    def _join_again(self) -> None:
        self._epoch = None
        self._wake.set()

    def _refuse_newer(self, epoch: Epoch) -> None:
        """A reader drops a field it does not know, and with it perhaps a restriction."""
        if epoch.schema > self.schema:
            why = f"records are of schema {epoch.schema}, this version reads {self.schema}: upgrade"
            self._give_up(why)

    async def _read_head(self) -> Change | None:
        found = await self._stream.last(subjects.CHANGES)
        return None if found is None else self._read_change(found[1])

    def _read_change(self, data: bytes) -> Change:
        try:
            return decode_change(data)
        except Unreadable:
            self._give_up("a change of the stream cannot be read by this version")

    async def _follow(self, head: Change) -> str | None:
        """Fetch and apply what is missing up to `head`; why that cannot be, if it cannot."""
        try:
            await self._catch_up.follow(self.table, head.rev)
        except Trimmed as problem:
            self._join_again()
            raise NotCurrent(str(problem)) from problem
        except (Hole, Forked, Unreadable) as problem:
            return str(problem)
        if self.table.rev == head.rev and self.table.chain != head.chain:
            return f"the stream tells another history of revision {head.rev}"
        return None

    def _give_up(self, why: str) -> NoReturn:
        """Not current for a reason that does not pass by itself: drop the lease, raise."""
        self._lease.drop(self._boottime())
        self._readiness.set("lease", False, why)
        if why != self.gave_up:
            log.error("lease_given_up", why=why)
        self.gave_up = why
        raise NotCurrent(why)

    async def _push(self, message: Msg) -> None:
        if self._epoch is None or is_answer(message.headers):
            return
        try:
            changed = self._catch_up.pushed(self.table, message.data)
        except Gap:
            self._wake.set()
            return
        except (Forked, Unreadable) as problem:
            with suppress(NotCurrent):
                self._give_up(str(problem))
            self._wake.set()
            return
        self._unreported += changed
        # With more waiting, the last of them reports for all.
        waiting = self._pushed is not None and self._pushed.pending_msgs > 0
        if self._unreported and (not waiting or self._unreported >= _REPORT_EACH):
            await self._report()

    async def _report(self, _asked: Msg | None = None) -> None:
        if self._epoch is not None:
            self._unreported = 0
            record = encode(self._member(self._epoch))
            with suppress(BusUnavailable):  # asked again, or told by the next heartbeat
                await say(self._client, subjects.applied(self._replica), record)

    def _member(self, epoch: Epoch) -> Member:
        return Member(
            replica=self._replica,
            epoch=epoch.id,
            rev=self.table.rev,
            chain=self.table.chain,
            schema=self.schema,
        )
