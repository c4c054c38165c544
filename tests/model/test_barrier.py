"""The barrier: one revocation, two replicas, time in ticks, any step as late as it likes.

| step here               | code                                            |
| ----------------------- | ----------------------------------------------- |
| Publisher._publish      | services/keys/publisher.py                      |
| Members.named/look      | services/keys/members.py                        |
| Members.heard           | services/keys/members.py, sent by Feed._report  |
| Barrier.enforced        | services/keys/barrier.py                        |
| Feed._renew: ...        | services/policy/feed.py, its awaits in order    |
| Feed._push, Feed.leave  | services/policy/feed.py                         |

A frozen or dead replica is one whose next step never comes, so it needs no step of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.model.explore import explore, put

LEASE = 2
NONE = -1


class Rules(NamedTuple):
    """The protocol; each wrong variant changes one of these."""

    record_before_head: bool = True
    follows: bool = True
    lease_from: str = "the beginning"
    publishes_before_members: bool = True
    waits: int = LEASE
    drops_lease_before_leaving: bool = True
    checks_every_replica: bool = True


class Replica(NamedTuple):
    """`table` is 1 once it has the revocation; `age` is the ticks since the proof began."""

    step: str = "idle"
    table: int = 0
    head: int = 0
    age: int = 0
    lease: int = 0
    record: int = NONE
    """The revision in its member record, NONE without one."""
    heard: bool = False
    """Whether keys has its report of the revocation."""
    named: bool = False
    """Whether it was among those with a record when keys looked."""


class State(NamedTuple):
    replicas: tuple[Replica, ...]
    stream: int = 0
    keys: str = "committed"
    waited: int = 0


def state_of(state: State, replicas: tuple[Replica, ...]) -> State:
    """The replicas' names do not matter: one order of them stands for all."""
    return state._replace(replicas=tuple(sorted(replicas)))


def steps(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    yield "tick", _tick(state)
    yield from _keys(state, rules)
    for number, replica in enumerate(state.replicas):
        for name, after in _replica(state, replica, rules):
            yield name, state_of(state, put(state.replicas, number, after))


def _tick(state: State) -> State:
    passed = (
        r._replace(lease=max(r.lease - 1, 0), age=min(r.age + 1, LEASE) if r.step != "idle" else 0)
        for r in state.replicas
    )
    waited = min(state.waited + (state.stream > 0), LEASE)
    return state_of(state._replace(waited=waited), tuple(passed))


def _keys(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    if state.keys == "committed":
        if rules.publishes_before_members:
            yield "Publisher._publish", state._replace(stream=1, keys="published")
        else:
            yield "Members.named", _name(state, "named too early")
    elif state.keys == "named too early":
        yield "Publisher._publish", state._replace(stream=1, keys="named")
    elif state.keys == "published":
        yield "Members.named", _name(state, "named")
    elif state.keys == "named" and (named := [r for r in state.replicas if r.named]):
        heard = [r.heard for r in named]
        if all(heard) if rules.checks_every_replica else any(heard):
            yield "Barrier.enforced: each has applied", state._replace(keys="enforced")
        yield "Members.look", _look(state)
    if state.stream and state.keys != "enforced" and state.waited >= rules.waits:
        yield "Barrier.enforced: waited in full", state._replace(keys="enforced")


def _name(state: State, step: str) -> State:
    named = tuple(r._replace(named=r.record != NONE) for r in state.replicas)
    return state_of(state._replace(keys=step), named)


def _look(state: State) -> State:
    """Read the records of those not heard; one that is gone was taken back in `leave`."""
    looked = []
    for r in state.replicas:
        heard = r.heard or r.record == 1
        looked.append(r._replace(heard=heard, named=r.named and (heard or r.record != NONE)))
    return state_of(state, tuple(looked))


def _replica(state: State, r: Replica, rules: Rules) -> Iterator[tuple[str, Replica]]:
    if r.step != "gone" and r.table == 0:
        # A change is pushed before it is stored, and also while it is not known to be.
        yield "Feed._push", r._replace(table=1)
    if r.table == 1 and not r.heard:
        yield "Members.heard", r._replace(heard=True)
    first, second = ("record", "head") if rules.record_before_head else ("head", "record")
    order = ["idle", "began", first, second]
    if r.step == "idle":
        yield "Feed._renew: began", r._replace(step="began", age=0)
        yield from _leave(r, rules)
    elif r.step in order[1:3]:
        doing = order[order.index(r.step) + 1]
        if doing == "record":
            yield "Feed._renew: put the record", r._replace(step="record", record=r.table)
        else:
            yield "Feed._renew: read the head", r._replace(step="head", head=state.stream)
    elif r.step == order[3]:
        table = max(r.table, r.head) if rules.follows else r.table
        left = LEASE - (r.age if rules.lease_from == "the beginning" else 0)
        yield (
            "Feed._renew: follow, Lease.extend",
            r._replace(step="idle", table=table, lease=max(r.lease, left), age=0, head=0),
        )
    elif r.step == "leaving" and rules.drops_lease_before_leaving:
        yield "Feed.leave: purge the record", r._replace(step="gone", record=NONE, age=0)


def _leave(r: Replica, rules: Rules) -> Iterator[tuple[str, Replica]]:
    if rules.drops_lease_before_leaving:
        yield "Feed.leave: Lease.drop", r._replace(step="leaving", lease=0)
    else:
        yield "Feed.leave: purge the record", r._replace(step="gone", record=NONE)


def answers_from_before(state: State) -> bool:
    """The revocation was answered as being in force, and a replica may still allow."""
    return state.keys == "enforced" and any(r.lease and not r.table for r in state.replicas)


def check(rules: Rules, replicas: int = 2):
    return explore(
        State((Replica(),) * replicas), lambda state: steps(state, rules), answers_from_before
    )


def test_nobody_answers_from_before_a_revocation_that_returned():
    found = check(Rules())

    assert found.trace is None
    assert found.states > 10_000


@pytest.mark.parametrize(
    ("wrong", "replicas"),
    [
        pytest.param(Rules(record_before_head=False), 2, id="head read before the record"),
        pytest.param(Rules(follows=False), 1, id="lease taken without catching up"),
        pytest.param(Rules(lease_from="the end"), 1, id="lease counted from after the reads"),
        pytest.param(Rules(publishes_before_members=False), 2, id="members before the publish"),
        pytest.param(Rules(waits=LEASE - 1), 1, id="waiting less than a lease"),
        pytest.param(Rules(drops_lease_before_leaving=False), 2, id="record purged under a lease"),
        pytest.param(Rules(checks_every_replica=False), 2, id="one report taken for all"),
    ],
)
def test_each_wrong_barrier_is_found(wrong, replicas):
    assert check(wrong, replicas).trace
