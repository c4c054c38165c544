"""What an operator may choose when log and stream tell different histories.

Both ways end the same: the log, longer than any revision anybody has seen, with a last entry
that declares it the truth. The next keys that starts begins a new epoch from it.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from services.keys.doctor import REPAIR, Reading, Report
from services.keys.errors import ManagementError
from services.keys.journal import ADOPTED
from services.keys.log import Entry, Origin, make_entry, name_of
from services.keys.records import (
    GroupDetails,
    GroupRecord,
    KeyDetails,
    KeyRecord,
    ModelRecord,
    TeamDetails,
    TeamRecord,
    UserDetails,
    UserRecord,
)
from services.keys.state import State, Write
from services.keys.store import MongoStore
from shared import subjects
from shared.catalogue import Deployment
from shared.changes import (
    GroupGrant,
    KeyGrant,
    Mutation,
    RetiredKey,
    TeamGrant,
    Tombstone,
    Unreadable,
    UserGrant,
    decode_change,
    decode_mutations,
)
from shared.streams import ChangeStream

_SLACK = 100
"""How far above the highest revision known the log is lifted: a gateway may have been told of a
revision in an answer 202 that nothing else remembers, and would wait for it."""

_RECORDS_A_CHANGE = 200
_ACTOR = "operator"


_Details = TypeVar("_Details", KeyDetails, TeamDetails, UserDetails, GroupDetails)


class CannotMend(ManagementError):
    """The choice does not fit what was found; nothing was changed."""


async def adopt_log(
    store: MongoStore, report: Report, reading: Reading, above: int = 0
) -> tuple[int, int]:
    """Make the log, up to its last good entry, the truth.

    Entries beyond that are set aside. Returns the new head, and how many were set aside. Raises
    CannotMend, Unavailable, Taken (somebody else writes: every keys replica must be stopped).
    """
    return await _append(store, report, reading, [], above)


async def restore_from_stream(
    store: MongoStore, stream: ChangeStream, report: Report, reading: Reading, above: int = 0
) -> tuple[int, int]:
    """Append what the stream has and the log has lost; returns the new head, and the records.

    The decisions are restored whole. What never leaves MongoDB (alias, owner, metadata, budgets)
    is that of the restored log, and empty for a record it does not have. Raises as `adopt_log`,
    BusUnavailable.
    """
    view = report.stream
    if view is None or view.last is None or not report.has("log_behind"):
        msg = "the log is not merely behind the stream, so the two cannot be joined"
        raise CannotMend(msg)
    if view.first > view.agreed + 1:
        msg = f"the stream begins at revision {view.first}: what came before it is lost"
        raise CannotMend(msg)
    newest = await _newest(stream, view.agreed, view.last.rev)
    now = time.time()
    writes = [_whole(mutation, reading.state, now) for mutation in newest]
    head, _ = await _append(store, report, reading, writes, above)
    return head, len(writes)


async def lost_records(stream: ChangeStream, report: Report) -> list[Mutation]:
    """What the stream has changed since log and stream parted, newest state of each record.

    Raises BusUnavailable.
    """
    view = report.stream
    if view is None or view.last is None or view.last.rev == view.agreed:
        return []
    return await _newest(stream, max(view.agreed, view.first - 1), view.last.rev)


async def _newest(stream: ChangeStream, after: int, last: int) -> list[Mutation]:
    newest: dict[tuple[str, str | bytes], Mutation] = {}
    for rev in range(after + 1, last + 1):
        stored = await stream.last(subjects.change(rev))
        if stored is None:
            msg = f"the stream does not hold revision {rev}"
            raise CannotMend(msg)
        try:
            mutations, unreadable = decode_mutations(decode_change(stored[1]).decision)
        except Unreadable:
            mutations, unreadable = (), (("change", str(rev)),)
        if unreadable:
            msg = f"revision {rev} holds records this version cannot read"
            raise CannotMend(msg)
        for mutation in mutations:
            name = name_of(mutation)
            newest.pop(name, None)  # in the order of the last writes
            newest[name] = mutation
    return list(newest.values())


def _whole(mutation: Mutation, state: State, now: float) -> Write:
    """The record with this decision part, and the details the log has of it, if any."""
    match mutation:
        case KeyGrant():
            key = state.keys.get(mutation.id)
            details = key.details if key else _unknown(KeyDetails, now, key_name="sk-...")
            if key is None or key.grant.user_id != mutation.user_id:
                # Who gave it to this user, and who knows its secret, was lost with the log.
                details = msgspec.structs.replace(details, acts_for_user=False)
            return KeyRecord(grant=mutation, details=details)
        case TeamGrant():
            team = state.teams.get(mutation.id)
            known = team.details if team else _unknown(TeamDetails, now)
            return TeamRecord(grant=mutation, details=known)
        case UserGrant():
            user = state.users.get(mutation.id)
            of_user = user.details if user else _unknown(UserDetails, now)
            return UserRecord(grant=mutation, details=of_user)
        case GroupGrant():
            group = state.groups.get(mutation.id)
            of_group = group.details if group else _unknown(GroupDetails, now, name=mutation.id)
            return GroupRecord(grant=mutation, details=of_group)
        case Deployment():
            model = state.models.get(mutation.id)
            return mutation if model is None else ModelRecord(grant=mutation, details=model.details)
        case RetiredKey() | Tombstone():
            return mutation


def _unknown(kind: type[_Details], now: float, **more: str) -> _Details:
    """Details of a record the log does not have: when and by whom, and no more."""
    known = {"created_at": now, "updated_at": now, "created_by": _ACTOR, "updated_by": _ACTOR}
    return msgspec.convert({**known, **more}, kind)


async def _append(
    store: MongoStore, report: Report, reading: Reading, writes: Sequence[Write], above: int
) -> tuple[int, int]:
    if not report.has("log_gap", "log_corrupt", "log_behind", "forked", "copies_ahead"):
        msg = "log and stream tell one history; there is nothing to choose"
        raise CannotMend(msg)
    aside = await store.set_aside(report.log.head) if report.log.beyond else 0
    entries = list(_entries(report, reading, writes, above))
    await store.append_all(entries, {"at": time.time(), "actor": _ACTOR, "reason": REPAIR})
    await store.forget_projections()
    return entries[-1].rev, aside


def _entries(
    report: Report, reading: Reading, writes: Sequence[Write], above: int
) -> Iterable[Entry]:
    """The records, then empty entries up to the revision wanted, then the declaration."""
    rev, chain = report.log.head, reading.state.chain
    last = max(report.seen + _SLACK, above, rev + len(writes) // _RECORDS_A_CHANGE + 2)
    while rev < last:
        rev += 1
        piece, writes = writes[:_RECORDS_A_CHANGE], writes[_RECORDS_A_CHANGE:]
        reason = REPAIR + ("restored" if piece else "empty")
        origin = Origin(
            op_id=str(uuid.uuid4()),
            at=time.time(),
            actor=_ACTOR,
            request_id="doctor",
            reason=ADOPTED if rev == last else reason,
        )
        entry = make_entry(rev, chain, piece, origin)
        chain = entry.chain
        yield entry
