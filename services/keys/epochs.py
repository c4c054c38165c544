"""The stream's epoch: its identity, made anew after a loss, and what is promised under it."""

from collections.abc import Callable

import msgspec
import structlog

from shared import subjects
from shared.replication import Epoch, decode_epoch, encode
from shared.streams import ChangeStream

log = structlog.get_logger()


class EpochKeeper:
    """Holds the epoch record as this process last read or wrote it.

    Every write is conditional on that very record, so of several keys replicas one succeeds and
    the others meet Superseded and read again. Methods raise Superseded, BusUnavailable.
    """

    def __init__(
        self,
        stream: ChangeStream,
        *,
        lease_s: float,
        margin_s: float,
        boottime: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        """Keep this stream's; the times are those of a new epoch, in seconds."""
        self._stream = stream
        self._lease_s = lease_s
        self._margin_s = margin_s
        self._boottime = boottime
        self._new_id = new_id
        self._seq = 0
        self._highest = 0
        self._watched_since = 0.0
        self._schema_since = 0.0
        self.epoch: Epoch | None = None

    def saw(self, seq: int) -> None:
        """Remember that the stream has held this sequence: it never ends before it again."""
        self._highest = max(self._highest, seq)

    async def look(self, last_seq: int) -> bool:
        """Read the record; False when the stream has none, or has lost what it once held.

        Raises Unreadable too.
        """
        found = await self._stream.last(subjects.EPOCH)
        if found is None:
            return False
        seq, epoch = found[0], decode_epoch(found[1])
        now = self._boottime()
        if self.epoch is None or epoch.id != self.epoch.id:
            self._watched_since = now
            self._highest = 0
            self._schema_since = now
        elif epoch.schema != self.epoch.schema:
            self._schema_since = now
        self.epoch, self._seq = epoch, seq
        if last_seq < self._highest:
            log.error("stream_regressed", had=self._highest, has=last_seq)
            return False
        self._highest = last_seq
        return True

    def is_older_than(self, seq: int) -> bool:
        """Whether the record, as last seen, was stored before the message of this sequence."""
        return self._seq < seq

    async def stands(self) -> bool:
        """Whether the record is still the one last seen."""
        found = await self._stream.last(subjects.EPOCH)
        return found is not None and found[0] == self._seq

    async def begin(
        self, last_seq: int, head: int, first_rev: int, schema: int, *, is_first: bool = False
    ) -> None:
        """A new identity for a stream that is new, wiped or regressed: emptied, to be filled.

        Only what was seen is purged: an epoch that another replica made since stands, and the
        conditional publish then says so.
        """
        if last_seq:
            await self._stream.purge(up_to=last_seq)
        epoch = Epoch(
            id=self._new_id(),
            first_rev=first_rev,
            head=head,
            complete=False,
            settled=False,
            lease_s=self._lease_s,
            margin_s=self._margin_s,
            schema=schema,
            is_first=is_first,
        )
        self._seq = await self._stream.put(subjects.EPOCH, encode(epoch), after=(subjects.EPOCH, 0))
        self.epoch = epoch
        self._watched_since = self._schema_since = self._boottime()
        self._highest = self._seq
        log.info("epoch_begun", epoch=epoch.id, head=head, first_rev=first_rev)

    async def advance(self, published: int, oldest_schema: int | None, own_schema: int) -> None:
        """Mark the epoch complete once filled, settled once watched for long enough.

        `published` is the log's head as read after the epoch began. Only the very first epoch
        of a log without a change needs no settling: no replica can hold a lease of an earlier one.

        Its schema rises to what every live replica understands, never above this process's own.
        """
        epoch = self.epoch
        if epoch is None:
            return
        changed = epoch
        if not epoch.complete:
            changed = msgspec.structs.replace(
                changed, complete=True, settled=epoch.is_first and published == 0, head=published
            )
        if not epoch.settled and self._boottime() - self._watched_since > _length(epoch):
            changed = msgspec.structs.replace(changed, settled=True)
        wanted = min(own_schema, oldest_schema or 0)
        if epoch.settled and wanted > epoch.schema:
            changed = msgspec.structs.replace(changed, schema=wanted)
        if changed is not epoch:
            await self._write(changed)
            log.info("epoch", **msgspec.structs.asdict(changed))

    async def move_first(self, rev: int) -> None:
        """Promise the changes from `rev` on only; those before may be purged from now on."""
        if self.epoch is not None and self.epoch.first_rev < rev:
            await self._write(msgspec.structs.replace(self.epoch, first_rev=rev))

    def schema(self) -> int:
        """The newest schema whose records may be written now.

        A replica that took its lease under an older one has renewed it, and so has seen the
        epoch's, or has lost it: that is what the watching is for.
        """
        epoch = self.epoch
        if epoch is None or self._boottime() - self._schema_since <= _length(epoch):
            return 1
        return epoch.schema

    async def _write(self, epoch: Epoch) -> None:
        seq = await self._stream.put(
            subjects.EPOCH, encode(epoch), after=(subjects.EPOCH, self._seq)
        )
        if self.epoch is not None and epoch.schema != self.epoch.schema:
            self._schema_since = self._boottime()
        self.epoch, self._seq = epoch, seq
        self.saw(seq)


def _length(epoch: Epoch) -> float:
    return epoch.lease_s + epoch.margin_s
