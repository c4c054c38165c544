"""Compares the log with the stream and tells what an operator has to decide. Changes nothing."""

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

import msgspec

from services.keys.log import CorruptLog, Entry, read_entry
from services.keys.state import State
from shared import subjects
from shared.bus import BusUnavailable
from shared.changes import GENESIS, Change, Unreadable, decode_change
from shared.replication import LEFT, Epoch, Member, decode_epoch, decode_member
from shared.streams import ChangeStream

_PAGE = 1000

Kind = Literal[
    "log_gap",
    "log_corrupt",
    "log_behind",
    "forked",
    "stream_regressed",
    "stream_unreadable",
    "stream_without_epoch",
    "stream_behind",
    "replica_of_another_history",
    "copies_ahead",
    "writes_refused",
    "bus_unreachable",
]

NEEDS_OPERATOR: frozenset[Kind] = frozenset(
    {"log_gap", "log_corrupt", "log_behind", "forked", "replica_of_another_history"}
)
"""Findings after which keys takes no write until somebody has chosen; others pass by themselves."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be, and what to do about it."""

    kind: Kind
    says: str
    cure: str


class LogView(msgspec.Struct, kw_only=True):
    """The log, read and checked from its first entry on.

    `head` is the last revision that continues the history before it; what stands beyond it
    (`beyond` entries, up to `highest`) does not.
    """

    head: int
    chain: bytes
    beyond: int
    highest: int
    projected: int
    repairs_from: int | None = None
    """The first of the entries at the end that a repair appended; None: there are none."""


class StreamView(msgspec.Struct, kw_only=True):
    """The stream as its leader has it. `agreed` is the last revision it shares with the log."""

    epoch: Epoch | None
    first: int
    last: Change | None
    agreed: int
    members: tuple[Member, ...]


class Report(msgspec.Struct, kw_only=True):
    """What was seen, and what is wrong with it. `seen` is the highest revision met anywhere."""

    log: LogView
    stream: StreamView | None
    seen: int
    findings: tuple[Finding, ...]

    def has(self, *kinds: Kind) -> bool:
        """Whether one of these was found."""
        return any(finding.kind in kinds for finding in self.findings)


class Log(Protocol):
    """The log's home."""

    async def after(self, rev: int, limit: int = 1000) -> list[Entry]:
        """The entries that follow `rev`. Raises Unavailable."""

    async def projected(self) -> int:
        """The revision the queryable copies are of. Raises Unavailable."""


class Reading:
    """The log read from its start: its view, its state, and the chain at every revision."""

    def __init__(self) -> None:
        """Begin before the first entry."""
        self.state = State()
        self.chains: list[bytes] = [GENESIS]
        self.problem: Finding | None = None
        self.view = LogView(head=0, chain=GENESIS, beyond=0, highest=0, projected=0)

    async def read(self, store: Log) -> None:
        """Read every entry. Raises Unavailable."""
        while found := await store.after(self.view.highest, _PAGE):
            for entry in found:
                self.view.highest = entry.rev
                if self.problem is None:
                    self._take(entry)
                self.view.beyond += self.problem is not None
        self.view.head, self.view.chain = self.state.rev, self.state.chain
        self.view.projected = await store.projected()

    def _take(self, entry: Entry) -> None:
        if entry.rev != self.state.rev + 1:
            self.problem = Finding(
                kind="log_gap",
                says=f"the log ends at revision {self.state.rev} and goes on at {entry.rev}",
                cure="restore the missing entries from a backup, or --adopt-log",
            )
            return
        try:
            writes, origin = read_entry(entry, self.state.chain)
        except CorruptLog as problem:
            self.problem = Finding(
                kind="log_corrupt", says=str(problem), cure="restore a backup, or --adopt-log"
            )
            return
        self.state.fold(entry.rev, writes, entry.chain)
        self.chains.append(entry.chain)
        if not origin.reason.startswith(REPAIR):
            self.view.repairs_from = None
        elif self.view.repairs_from is None:
            self.view.repairs_from = entry.rev


REPAIR = "doctor/"
"""How the reason of every entry begins that a repair appended."""


async def examine(
    store: Log, stream: ChangeStream | None, refusal: str | None = None
) -> tuple[Report, Reading]:
    """Look at everything; `refusal` is why a running keys refuses writes. Raises Unavailable."""
    reading = Reading()
    await reading.read(store)
    log = reading.view
    findings = [] if reading.problem is None else [reading.problem]
    view = None
    if stream is not None:
        try:
            view = await _look_at(stream, reading, findings)
        except BusUnavailable as problem:
            findings.append(
                Finding(kind="bus_unreachable", says=f"NATS: {problem}", cure="start NATS")
            )
    seen = max(log.highest, log.projected)
    if view is not None:
        last = view.last.rev if view.last else 0
        seen = max(seen, last, *(m.rev for m in view.members), view.epoch.head if view.epoch else 0)
        findings += _compared(log, view)
        findings += [f for member in view.members if (f := _of_another(member, reading, view))]
    if log.projected > log.head:
        says = f"the copies are of revision {log.projected}, the log ends at {log.head}"
        cure = "the log lost its end: restore a newer backup, or --adopt-log"
        findings.append(Finding(kind="copies_ahead", says=says, cure=cure))
    if refusal is not None:
        findings.append(Finding(kind="writes_refused", says=refusal, cure="see the other findings"))
    return Report(log=log, stream=view, seen=seen, findings=tuple(findings)), reading


async def _look_at(stream: ChangeStream, reading: Reading, findings: list[Finding]) -> StreamView:
    stored = await stream.last(subjects.EPOCH)
    epoch = None if stored is None else _read(decode_epoch, stored[1], "epoch", findings)
    members = []
    for subject in await stream.subjects_under(subjects.MEMBERS):
        record = await stream.last(subject)
        if record is not None and record[1] != LEFT:
            what = f"record of replica {subjects.replica_of(subject)}"
            members.append(_read(decode_member, record[1], what, findings))
    found = await stream.last(subjects.CHANGES)
    last = None if found is None else _read(decode_change, found[1], "last change", findings)
    first = epoch.first_rev if epoch else 1
    agreed = await _agreed(stream, reading.chains, first, last.rev) if last else 0
    if stored is None:
        findings.append(
            Finding(
                kind="stream_without_epoch",
                says="the stream is new, or was wiped",
                cure="start keys: it fills the stream from the log",
            )
        )
    return StreamView(
        epoch=epoch, first=first, last=last, agreed=agreed, members=tuple(filter(None, members))
    )


_Read = TypeVar("_Read")


def _read(
    decode: Callable[[bytes], _Read], data: bytes, what: str, findings: list[Finding]
) -> _Read | None:
    try:
        return decode(data)
    except Unreadable:
        cure = "upgrade; if no version reads it, stop keys and purge the stream"
        says = f"the stream's {what} cannot be read"
        findings.append(Finding(kind="stream_unreadable", says=says, cure=cure))
        return None


async def _agreed(stream: ChangeStream, chains: list[bytes], first: int, last: int) -> int:
    """The last revision at which both tell the same; histories that part never meet again."""
    low, high = first - 1, min(last, len(chains) - 1)
    while low < high:
        middle = (low + high + 1) // 2
        stored = await stream.last(subjects.change(middle))
        change = None if stored is None else _read(decode_change, stored[1], f"change {middle}", [])
        if change is not None and change.chain == chains[middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _compared(log: LogView, view: StreamView) -> list[Finding]:
    last = view.last.rev if view.last else 0
    findings = []
    most = max((member.rev for member in view.members), default=0)
    if last < most:
        says = f"a replica had applied revision {most}, the stream ends at {last}"
        cure = "start keys: it begins a new epoch; replicas wait until then"
        findings.append(Finding(kind="stream_regressed", says=says, cure=cure))
    if last == view.agreed:
        if last < log.head:
            says = f"{log.head - last} changes are not published yet"
            findings.append(Finding(kind="stream_behind", says=says, cure="start keys"))
    elif _is_behind(log, view):
        says = (
            f"the stream goes to revision {last}, the log only to {view.agreed}: "
            "the log was restored from an older copy"
        )
        cure = "restore a newer backup, or --restore-from-stream, or --adopt-log"
        findings.append(Finding(kind="log_behind", says=says, cure=cure))
    else:
        says = f"log and stream part after revision {view.agreed} (to {log.head} and {last})"
        cure = "find out which is right: restore the other's backup, or --adopt-log"
        findings.append(Finding(kind="forked", says=says, cure=cure))
    return findings


def _is_behind(log: LogView, view: StreamView) -> bool:
    """Whether the log has nothing after the common part but what a repair began to append."""
    return log.head == view.agreed or log.repairs_from == view.agreed + 1


def _of_another(member: Member, reading: Reading, view: StreamView) -> Finding | None:
    """A replica whose history is neither the log's nor, by its epoch, about to be given up."""
    known = member.rev < len(reading.chains) and reading.chains[member.rev] == member.chain
    if known or view.epoch is None or member.epoch != view.epoch.id or member.rev > view.agreed:
        return None
    return Finding(
        kind="replica_of_another_history",
        says=f"replica {member.replica} has another revision {member.rev} than the log",
        cure="restart that replica",
    )


def exit_status(report: Report) -> int:
    """0: nothing to do; 1: something is wrong that passes or is cured as told."""
    return 1 if report.findings else 0
