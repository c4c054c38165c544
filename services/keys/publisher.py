"""The relay from the log to the stream: in order, once, again after any loss.

Any keys replica may publish any committed change at any time; "already there" is success. The
stream is made anew here too, when it was lost.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.keys import failpoints
from services.keys.epochs import EpochKeeper
from services.keys.errors import Unavailable
from services.keys.log_view import Entry, Log
from services.keys.waiting import Waiters
from shared import subjects
from shared.bus import BusUnavailable
from shared.changes import SCHEMA, Unreadable, decode_change, encode_change
from shared.replication import Epoch
from shared.streams import ChangeStream, Superseded

log = structlog.get_logger()

_LOOK_S = 1.0
"""How often the stream is compared with the log when nothing else calls for it."""
_RETRY_S = 0.25
_COMPARE_WAIT_S = 5.0
_PAGE = 500


async def _from_the_first() -> int:
    return 1


async def _claimed() -> bool:
    return True


class Publisher:
    """Keeps the stream GRANTS equal to the log. One task runs it; `published` waits for it."""

    def __init__(
        self,
        journal: Log,
        stream: ChangeStream,
        *,
        lease_s: float,
        margin_s: float,
        boottime: Callable[[], float],
        new_id: Callable[[], str],
        schema: int = SCHEMA,
    ) -> None:
        """Publish `journal`'s log to `stream`; the times are those of a new epoch, in seconds."""
        self._journal = journal
        self._stream = stream
        self._keeper = EpochKeeper(
            stream, lease_s=lease_s, margin_s=margin_s, boottime=boottime, new_id=new_id
        )
        self._own_schema = schema
        self._wake = asyncio.Event()
        self._waiters = Waiters()
        self._must_look = True
        self._looked_at = float("-inf")
        self._was_prepared = False
        self._has_compared = False
        self._published = 0
        self._last_seq = 0
        self._trim_to, self._trim_of = 0, ""
        self.base: Callable[[], Awaitable[int]] = _from_the_first
        """From which revision a new epoch is filled: a snapshot's, when the log is long."""
        self.claim_first: Callable[[], Awaitable[bool]] = _claimed
        """Whether no stream was ever begun for this log; true once."""
        self.oldest_schema: Callable[[Epoch], int | None] = lambda _: None
        """The oldest schema among the live replicas; None when none is known."""
        self.trouble: str | None = "starting"
        """Why the stream may differ from the log; None: it was compared and is equal."""
        journal.on_grown(self._grown)

    @property
    def epoch(self) -> Epoch | None:
        """The stream's epoch as last seen."""
        return self._keeper.epoch

    @property
    def published_rev(self) -> int:
        """The revision up to which the stream is known to hold the log."""
        return self._published

    def writable_schema(self) -> int:
        """The newest schema whose records every replica that may answer understands."""
        return self._keeper.schema()

    def _grown(self) -> None:
        # What another replica committed it publishes itself; the next look makes sure of it.
        if self._journal.is_own(self._journal.state.rev):
            self._wake.set()

    def look_again(self) -> None:
        """Compare the stream with the log anew: after a reconnect, perhaps to another server."""
        self._was_prepared = False
        self._must_look = True
        self._wake.set()

    def trim_below(self, rev: int, epoch: str) -> None:
        """Take the changes before `rev` from the stream, now that snapshots hold them.

        In this epoch alone: what a later one begins at, fewer snapshots may hold.
        """
        self._trim_to = max(self._trim_to, rev) if self._trim_of == epoch else rev
        self._trim_of = epoch
        self._wake.set()

    async def compared(self) -> None:
        """Return once log and stream have been compared for the first time.

        Until then nothing may be written: on a log restored from an older copy a first write
        would fork it. Raises Unavailable when it takes long.
        """
        if not await self._waiters.wait(lambda: self._has_compared, _COMPARE_WAIT_S):
            msg = f"the log has not been compared with the stream since the start: {self.trouble}"
            raise Unavailable(msg)

    async def published(self, rev: int, timeout_s: float) -> bool:
        """Whether the stream holds `rev` within the time."""
        return await self._waiters.wait(lambda: self._published >= rev, timeout_s)

    async def run(self) -> None:
        """Keep the stream up until cancelled."""
        while True:
            try:
                await self._keep_up()
                self.trouble = self._journal.refusal
                pause = _LOOK_S
            except Superseded:
                self._must_look = True
                pause = 0.0
            except BusUnavailable as error:
                self._must_look = True
                self.trouble = f"the bus (NATS) does not answer, or not as it must: {error}"
                pause = _RETRY_S
            except Unavailable:
                self._must_look = True
                self.trouble = "the log cannot be read"
                pause = _LOOK_S
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                self._must_look = True

    async def _keep_up(self) -> None:
        self._wake.clear()
        now = asyncio.get_running_loop().time()
        # While writes come fast nothing ever times out.
        if self._must_look or now - self._looked_at >= _LOOK_S:
            # Before the look: who asks for one meanwhile gets another.
            self._must_look, self._looked_at = False, now
            await self._journal.current()
            await self._look()
            self._has_compared = True
            self._waiters.look()
        await self._push()
        epoch = self._keeper.epoch
        if epoch is not None and not epoch.complete:
            # The log once more, after the epoch began: what was published to the stream before
            # it, and may be in force since, is in the log by now and has to be in here.
            await self._journal.current()
            await self._push()
        if self._journal.refusal is None and epoch is not None and epoch is self._keeper.epoch:
            await self._keeper.advance(self._published, self.oldest_schema(epoch), self._own_schema)
            await self._trim(epoch)

    async def _look(self) -> None:
        """Read where the stream stands; make it anew when it lost something."""
        last_seq = await self._stream.last_sequence()
        if last_seq is None or not self._was_prepared:
            await self._stream.create()
            self._was_prepared = True
        try:
            is_as_it_was = await self._keeper.look(last_seq or 0)
        except Unreadable:
            # Not begun anew: a newer version's, perhaps, under which replicas answer.
            self._journal.refuse_writes("the stream's epoch cannot be read by this version")
            return
        if is_as_it_was:
            await self._compare_last()
        elif self._journal.refusal is None:
            await self._begin_epoch(last_seq or 0)

    async def _begin_epoch(self, last_seq: int) -> None:
        """Have the stream begin again, under a new identity, with this log."""
        known = self._keeper.epoch
        first_rev = await self.base()
        await self._keeper.begin(
            last_seq,
            self._journal.state.rev,
            first_rev,
            max(self._journal.schema_used, 1 if known is None else known.schema),
            is_first=self._journal.state.rev == 0 and await self.claim_first(),
        )
        self._last_seq = 0
        self._set_published(first_rev - 1)

    async def _compare_last(self) -> None:
        """Find how far the stream goes, and that it tells the same history as the log."""
        found = await self._last_change()
        if found is None:
            self._last_seq = 0
            epoch = self._keeper.epoch
            self._set_published(0 if epoch is None else epoch.first_rev - 1)
            return
        seq, data = found
        try:
            change = decode_change(data)
        except Unreadable:
            self._journal.refuse_writes("the stream's last change cannot be read")
            return
        if change.rev > self._journal.state.rev:
            await self._journal.current()
        chain = await self._journal.chain_at(change.rev)
        if chain == change.chain:
            self._last_seq = seq
            self._set_published(change.rev)
        elif self._journal.adopted > change.rev and self._journal.refusal is None:
            # The operator knows of the other history, and has put this log above it.
            log.warning("other_history_ended", revision=change.rev, by=self._journal.adopted)
            await self._begin_epoch(await self._stream.last_sequence() or 0)
        else:
            self._journal.refuse_writes(
                f"the stream holds revision {change.rev}, which the log does not have so: "
                "the log was restored from an older copy, or forked (see `grantgate doctor`)"
            )

    async def _last_change(self) -> tuple[int, bytes] | None:
        """The stream's last change; what is left over in an epoch being filled is removed.

        A change that was stored between a look at a lost stream and its purge survives that. One
        older than the epoch may go at any time: to another replica's late purge of what it saw.
        Raises Superseded.
        """
        found = await self._stream.last(subjects.CHANGES)
        epoch = self._keeper.epoch
        if found is None or epoch is None or epoch.complete:
            return found
        first = await self._stream.last(subjects.change(epoch.first_rev))
        if first is not None and self._keeper.is_older_than(first[0]):
            # Once more: what was read above may have been left over, and removed meanwhile.
            return await self._stream.last(subjects.CHANGES)
        if await self._keeper.stands():
            await self._stream.purge(subject=subjects.CHANGES, up_to=found[0])
        raise Superseded(subjects.CHANGES)

    async def _push(self) -> None:
        """Publish what the stream lacks, each change only after the one before it."""
        while self._journal.refusal is None and self._published < self._journal.state.rev:
            if not self._journal.is_own(self._published + 1):
                # Another replica's, who has very likely published it by now.
                await self._compare_last()
                if self._journal.refusal is not None:
                    return
            try:
                for entry in await self._journal.entries_after(self._published, _PAGE):
                    await self._publish(entry)
            except Superseded:
                # Another replica was faster, as a rule: only its position is news.
                came_to = self._published
                await self._compare_last()
                if self._published <= came_to:
                    raise

    async def _publish(self, entry: Entry) -> None:
        self._last_seq = await self._stream.put(
            subjects.change(entry.rev),
            encode_change(entry.as_change()),
            after=(subjects.CHANGES, self._last_seq),
        )
        self._keeper.saw(self._last_seq)
        failpoints.reach("after_publish")
        self._set_published(entry.rev)

    async def _trim(self, epoch: Epoch) -> None:
        if self._trim_of != epoch.id or self._trim_to <= epoch.first_rev or not epoch.complete:
            return
        # The change at that revision stays: by its chain a snapshot of it is recognised.
        kept = await self._stream.last(subjects.change(self._trim_to))
        if kept is not None and self._trim_to <= self._published:
            await self._keeper.move_first(self._trim_to)
            await self._stream.purge(subject=subjects.CHANGES, up_to=kept[0] - 1)
            log.info("stream_trimmed", first_rev=self._trim_to)

    def _set_published(self, rev: int) -> None:
        self._published = rev
        self._waiters.look()
