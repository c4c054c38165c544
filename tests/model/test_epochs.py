"""A stream that is wiped once, at any moment, and made again as a second epoch.

The log holds a grant (revision 0) and then its revocation (revision 1); two keys replicas refill
the stream, one of them writes the revocation; one policy replica lives in the first epoch and may
start anew. Any number of others stand behind a choice: whoever else has a record has applied.

| step here                | code                                                 |
| ------------------------ | ---------------------------------------------------- |
| Journal.commit/current   | services/keys/journal.py                             |
| EpochKeeper.look/begin   | services/keys/epochs.py                              |
| EpochKeeper.advance      | the same                                             |
| Publisher._push          | services/keys/publisher.py                           |
| Members.named            | services/keys/members.py: the names, then the epoch  |
| Barrier.enforced         | services/keys/barrier.py                             |
| Feed._join, Feed._renew  | services/policy/feed.py                              |
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.model.explore import explore, put

LEASE = 1
EMPTY = -1


class Rules(NamedTuple):
    """The protocol; each wrong variant changes one of these."""

    reads_log_after_epoch: bool = True
    reads_epoch_last: bool = True
    heeds_settled: bool = True
    settles: int = LEASE
    fills_before_complete: bool = True


class Stream(NamedTuple):
    epoch: int = 1
    is_complete: bool = True
    is_settled: bool = True
    holds: int = 0


WIPED = Stream(0, False, False, EMPTY)


class Keys(NamedTuple):
    step: str
    log: int = 0
    epoch: int = 1
    watched: int = LEASE


class Barrier(NamedTuple):
    step: str = "committing"
    epoch: int = 0
    waited: int = 0
    must_hear: bool = False
    """Whether the replica was among those with a record."""


ENFORCED = Barrier(step="enforced")


class Replica(NamedTuple):
    """`table` and `head` are EMPTY, 0 (the grant) or 1; an empty table allows nothing."""

    step: str = "idle"
    joined: int = 1
    table: int = 0
    head: int = EMPTY
    age: int = 0
    lease: int = LEASE
    has_record: bool = True
    heard: int = 0
    """The epoch for which keys has its report of the revocation."""
    was_ours: bool = True
    """Whether the epoch was this replica's when its record was stored."""


class State(NamedTuple):
    stream: Stream = Stream()
    log: int = 0
    keys: tuple[Keys, ...] = (Keys(step="look"), Keys(step="look"))
    barrier: Barrier = Barrier()
    replica: Replica = Replica()
    was_wiped: bool = False


def steps(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    yield "tick", _tick(state)
    if not state.was_wiped:
        wiped = state.replica._replace(has_record=False)
        yield "WIPED", state._replace(stream=WIPED, was_wiped=True, replica=wiped)
    for number, keys in enumerate(state.keys):
        for name, after in _publisher(state, keys, number, rules):
            yield f"{name} [keys {number}]", after
    yield from _barrier(state, rules)
    for name, after in _feed(state.stream, state.replica, rules):
        yield name, state._replace(replica=after)


def _tick(state: State) -> State:
    barrier, r = state.barrier, state.replica
    waited = barrier.waited + (barrier.step in ("published", "named"))
    age = r.age + (r.step not in ("start", "idle"))
    return state._replace(
        keys=tuple(k._replace(watched=min(k.watched + 1, LEASE)) for k in state.keys),
        barrier=barrier._replace(waited=min(waited, LEASE)),
        replica=r._replace(lease=max(r.lease - 1, 0), age=min(age, LEASE)),
    )


def _publisher(state: State, k: Keys, number: int, rules: Rules) -> Iterator[tuple[str, State]]:
    """One turn of Publisher._keep_up: read the log, look at the stream, push, advance."""

    def become(after: Keys, **more) -> State:
        return state._replace(keys=put(state.keys, number, after), **more)

    stream = state.stream
    order = ["current", "look", "push"]
    if number == 0:  # it wrote the one change there is, so it need not read it
        order.remove("current")
    elif rules.reads_log_after_epoch:
        order = ["look", "current", "push"]
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    if k.step == "current":
        yield "Journal.current", become(k._replace(log=state.log, step=following["current"]))
    elif k.step == "look":
        if stream.epoch == 0:
            begun = WIPED._replace(epoch=2, is_complete=not rules.fills_before_complete)
            yield (
                "EpochKeeper.begin",
                become(k._replace(epoch=2, watched=0, step=following["look"]), stream=begun),
            )
        else:
            watched = k.watched if k.epoch == stream.epoch else 0
            yield (
                "EpochKeeper.look",
                become(k._replace(epoch=stream.epoch, watched=watched, step=following["look"])),
            )
    elif k.epoch != stream.epoch:
        yield "Superseded", become(k._replace(step=order[0]))
    else:
        yield from _fill(stream, k, become, rules, order[0])


def _fill(stream: Stream, k: Keys, become, rules: Rules, again: str):
    yield "Publisher.run: look again", become(k._replace(step=again))
    if stream.holds < k.log:
        yield "Publisher._push", become(k, stream=stream._replace(holds=stream.holds + 1))
    elif not stream.is_complete:
        yield "EpochKeeper.advance: complete", become(k, stream=stream._replace(is_complete=True))
    if not stream.is_settled and k.watched >= rules.settles:
        yield "EpochKeeper.advance: settled", become(k, stream=stream._replace(is_settled=True))


def _barrier(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    barrier, keys, stream = state.barrier, state.keys[0], state.stream

    def become(**changes) -> State:
        return state._replace(barrier=barrier._replace(**changes))

    if barrier.step == "committing":
        grown = put(state.keys, 0, keys._replace(log=1))
        yield "Journal.commit", become(step="committed")._replace(log=1, keys=grown)
    elif barrier.step == "committed":
        if keys.epoch == stream.epoch and stream.holds == 1:
            yield "Publisher.published", become(step="published", epoch=keys.epoch)
    elif barrier.step == "published":
        yield "Members.named: the records", become(step="named", must_hear=state.replica.has_record)
    elif barrier.step == "named":
        counts = stream.epoch == barrier.epoch and stream.is_complete
        settled = stream.is_settled or not rules.heeds_settled
        heard = state.replica.heard == barrier.epoch or not barrier.must_hear
        if counts and settled and heard:
            yield "Barrier.enforced: each has applied", state._replace(barrier=ENFORCED)
    if barrier.step in ("published", "named") and barrier.waited >= LEASE:
        yield "Barrier.enforced: waited in full", state._replace(barrier=ENFORCED)


def _feed(stream: Stream, r: Replica, rules: Rules) -> Iterator[tuple[str, Replica]]:
    yield (
        "crash, start anew",
        Replica(step="start", joined=0, table=EMPTY, lease=0, has_record=r.has_record),
    )
    is_ours = stream.epoch == r.joined and stream.is_complete
    if r.table == 1 and r.heard != r.joined:
        yield "Feed._report", r._replace(heard=r.joined)
    if r.step == "start":
        if stream.is_complete and stream.holds >= r.table:
            yield "Feed._join", r._replace(step="idle", joined=stream.epoch)
    elif r.step == "idle":
        yield "Feed._renew: began", r._replace(step="began", age=0)
    elif r.step == "began":
        if stream.epoch:
            yield (
                "Feed._renew: put the record",
                r._replace(
                    step="record", has_record=True, was_ours=is_ours or rules.reads_epoch_last
                ),
            )
    elif r.step == "record":
        if stream.holds < r.table:
            yield "Feed._give_up", r._replace(step="idle" if is_ours else "start", lease=0, age=0)
        else:
            yield "Feed._renew: read the head", r._replace(step="head", head=stream.holds)
    else:
        followed = r._replace(table=max(r.table, r.head), head=EMPTY, was_ours=True, age=0)
        if is_ours if rules.reads_epoch_last else r.was_ours:
            yield (
                "Feed._renew: read the epoch, Lease.extend",
                followed._replace(step="idle", lease=max(r.lease, LEASE - r.age)),
            )
        else:
            yield "Feed._meet: a new epoch", followed._replace(step="start", joined=0)


def answers_from_before(state: State) -> bool:
    """The revocation was answered as being in force, and a replica may still allow."""
    r = state.replica
    return state.barrier.step == "enforced" and r.lease > 0 and r.table == 0


def check(rules: Rules):
    return explore(State(), lambda state: steps(state, rules), answers_from_before)


def test_a_wiped_stream_lets_nobody_answer_from_before_a_revocation_that_returned():
    found = check(Rules())

    assert found.trace is None
    assert found.states > 10_000


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Rules(reads_log_after_epoch=False), id="filled as the log was before"),
        pytest.param(Rules(reads_epoch_last=False), id="epoch not read last"),
        pytest.param(Rules(heeds_settled=False), id="settled ignored"),
        pytest.param(Rules(settles=0), id="settled at once"),
        pytest.param(Rules(fills_before_complete=False), id="complete before it is filled"),
    ],
)
def test_each_wrong_handling_of_epochs_is_found(wrong):
    assert check(wrong).trace
