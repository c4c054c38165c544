"""A replica process that freezes, and the one started in its place, which has a name of its own.

| step here                 | code                                                       |
| ------------------------- | ---------------------------------------------------------- |
| Publisher._publish        | services/keys/publisher.py                                 |
| Members.look              | services/keys/members.py: a record that stands still       |
| Members.look_at_all       | the same: takes the record of a replica long dead away     |
| Barrier.enforced          | services/keys/barrier.py                                   |
| Feed._join, Feed._renew   | services/policy/feed.py                                    |

A frozen process is one whose next step does not come; it may come at any later time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.model.explore import explore, put

LEASE = 1
PATIENCE = LEASE + 1
EMPTY = -1


class Rules(NamedTuple):
    """The protocol; each wrong variant changes one of these."""

    has_own_name: bool = True
    still: int = LEASE
    """For how long a record must be seen to stand still before it does not count."""
    purges_what_was_seen: bool = True
    follows_before_lease: bool = True


class Process(NamedTuple):
    """`table` is EMPTY (which allows nothing), 0 (the grant) or 1 (the revocation)."""

    step: str = "idle"
    table: int = 0
    head: int = EMPTY
    age: int = 0
    lease: int = LEASE


class Record(NamedTuple):
    """A member record, and what keys has watched of it."""

    holds: int = 0
    is_new: bool = True
    """Whether it was written since keys last saw it."""
    still: int = 0
    is_condemned: bool = False
    """Whether keys is about to take it away."""
    heard: bool = False
    must_hear: bool = False


class State(NamedTuple):
    processes: tuple[Process, ...] = (Process(), Process(step="off", table=EMPTY, lease=0))
    records: tuple[Record | None, ...] = (Record(), None)
    stream: int = 0
    barrier: str = "committed"
    waited: int = 0


ENFORCED = {"barrier": "enforced", "waited": 0, "records": (None, None)}


def steps(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    yield "tick", _tick(state)
    yield from _barrier(state, rules)
    if state.barrier in ("committed", "published"):
        for number, record in enumerate(state.records):
            if record is not None:
                for name, after in _members(record, rules):
                    yield name, state._replace(records=put(state.records, number, after))
    for number, process in enumerate(state.processes):
        name = number if rules.has_own_name else 0
        for step, after, record in _feed(state, process, state.records[name]):
            if not rules.follows_before_lease and after.lease > process.lease:
                after = after._replace(table=max(process.table, 0))  # noqa: PLW2901
            yield (
                f"{step} [{number}]",
                state._replace(
                    processes=put(state.processes, number, after),
                    records=_kept(state, name, record),
                ),
            )


def _kept(state: State, name: int, record: Record | None) -> tuple[Record | None, ...]:
    """Once the barrier has looked, what a record holds is heard; of others nothing matters."""
    if state.barrier == "enforced" or (state.barrier == "named" and state.records[name] is None):
        return state.records
    if state.barrier == "named" and record is not None:
        record = Record(must_hear=True, heard=record.heard)
    return put(state.records, name, record)


def _tick(state: State) -> State:
    waiting = state.barrier in ("published", "named")
    return state._replace(
        waited=min(state.waited + waiting, LEASE),
        processes=tuple(
            p._replace(
                lease=max(p.lease - 1, 0),
                age=min(p.age + (p.step not in ("off", "idle")), LEASE),
            )
            for p in state.processes
        ),
        records=tuple(r and _older(r) for r in state.records),
    )


def _older(record: Record) -> Record:
    return record._replace(still=min(record.still + (not record.is_new), PATIENCE))


def _barrier(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    if state.barrier == "committed":
        yield "Publisher._publish", state._replace(stream=1, barrier="published")
    elif state.barrier == "published":
        yield "Members.look", _look(state, rules)
    elif state.barrier == "named" and all(
        r is None or r.heard or not r.must_hear for r in state.records
    ):
        yield "Barrier.enforced: each has applied", state._replace(**ENFORCED)
    if state.barrier in ("published", "named") and state.waited >= LEASE:
        yield "Barrier.enforced: waited in full", state._replace(**ENFORCED)


def _look(state: State, rules: Rules) -> State:
    """Whose record stands still for long enough need not be heard; other replicas are there."""
    looked = []
    for record in state.records:
        seen = record and _seen(record)
        must_hear = seen is not None and seen.still < rules.still
        looked.append(Record(must_hear=True, heard=seen.heard) if must_hear else None)
    return state._replace(records=tuple(looked), barrier="named")


def _seen(record: Record) -> Record:
    if not record.is_new:
        return record
    heard = record.heard or record.holds == 1
    return record._replace(is_new=False, still=0, is_condemned=False, heard=heard)


def _members(record: Record, rules: Rules) -> Iterator[tuple[str, Record | None]]:
    if record.is_condemned and (not record.is_new or not rules.purges_what_was_seen):
        yield "Members.look_at_all: purge", None
    if record.is_new:
        yield "Members.look_at_all", _seen(record)
    elif record.still >= PATIENCE and not record.is_condemned:
        yield "Members.look_at_all: long dead", record._replace(is_condemned=True)


def _feed(
    state: State, p: Process, record: Record | None
) -> Iterator[tuple[str, Process, Record | None]]:
    if p.table == 1 and record is not None and not record.heard:
        yield "Feed._report", p, record._replace(heard=True)
    if p.step == "off":
        yield "Feed._join", p._replace(step="idle"), record
    elif p.step == "idle":
        yield "Feed._renew: began", p._replace(step="began", age=0), record
    elif p.step == "began":
        before = record or Record()
        written = before._replace(holds=p.table, is_new=True)
        yield "Feed._renew: put the record", p._replace(step="record"), written
    elif p.step == "record":
        yield "Feed._renew: read the head", p._replace(step="head", head=state.stream), record
    else:
        renewed = Process(table=max(p.table, p.head), lease=max(p.lease, LEASE - p.age))
        yield "Feed._renew: follow, Lease.extend", renewed, record


def answers_from_before(state: State) -> bool:
    """The revocation was answered as being in force, and some process may still allow."""
    return state.barrier == "enforced" and any(p.lease and p.table == 0 for p in state.processes)


def check(rules: Rules):
    return explore(State(), lambda state: steps(state, rules), answers_from_before)


def test_a_restart_lets_nobody_answer_from_before_a_revocation_that_returned():
    found = check(Rules())

    assert found.trace is None
    assert found.states > 10_000


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Rules(has_own_name=False), id="the new process takes the old one's name"),
        pytest.param(Rules(still=LEASE - 1), id="a record counts for less than a lease"),
        pytest.param(Rules(purges_what_was_seen=False), id="a record written since is purged"),
        pytest.param(Rules(follows_before_lease=False), id="a new process does not follow"),
    ],
)
def test_each_wrong_handling_of_a_restart_is_found(wrong):
    assert check(wrong).trace
