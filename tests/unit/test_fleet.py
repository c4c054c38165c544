"""How many workers there are, and what becomes of those that end, hang or are replaced."""

import random

import pytest

from shared.fleet import LONGEST_PAUSE_S, MOST_MISSED, STEADY_S, Act, Fleet

GRACE_S = 40.0


def steady(size=2):
    """A fleet all of whose workers are ready."""
    fleet = Fleet(size, GRACE_S)
    assert fleet.due(0) == [(Act.START, number) for number in range(size)]
    assert fleet.is_starting(0)
    for number in range(size):
        fleet.heard(number, True)
    assert fleet.due(0) == []
    assert not fleet.is_starting(0)
    return fleet


def test_a_worker_that_died_is_started_again_at_once_and_has_its_number():
    fleet = steady(3)
    assert not fleet.ended(1, STEADY_S)
    assert fleet.ready == [0, 2]
    assert fleet.due(STEADY_S) == [(Act.START, 1)]
    assert fleet.due(STEADY_S) == []


def test_pauses_grow_while_workers_do_not_live_long_and_end_when_one_did():
    fleet = Fleet(1, GRACE_S)
    now, pauses = 0.0, []
    for _ in range(10):
        began = now
        while not (acts := fleet.due(now)):
            now += 0.25
        assert acts == [(Act.START, 0)]
        pauses.append(now - began)
        fleet.ended(0, now)
    assert pauses == [0, 0, 0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    now += LONGEST_PAUSE_S
    assert fleet.due(now) == [(Act.START, 0)]
    fleet.ended(0, now + STEADY_S)
    assert fleet.due(now + STEADY_S) == [(Act.START, 0)]


def test_workers_are_replaced_one_by_one_and_each_only_by_one_that_is_ready():
    fleet = steady()
    fleet.roll()
    assert fleet.due(1) == [(Act.START, 2)]
    assert fleet.due(2) == [], "the new one is not ready"
    fleet.heard(2, False)
    assert fleet.due(3) == []
    fleet.heard(2, True)
    assert fleet.due(4) == [(Act.TERMINATE, 0)]
    assert fleet.ready == [1, 2]
    assert fleet.due(5) == [], "the old one has not ended"
    assert fleet.ended(0, 6)
    assert fleet.due(6) == [(Act.START, 0)]
    fleet.heard(0, True)
    assert fleet.due(7) == [(Act.TERMINATE, 1)]
    assert fleet.ended(1, 8)
    assert fleet.due(8) == []
    assert fleet.ready == [2, 0]


def test_no_old_worker_leaves_while_the_new_ones_die():
    fleet = steady()
    fleet.roll()
    assert fleet.due(1) == [(Act.START, 2)]
    fleet.ended(2, 1)
    assert fleet.due(1) == [(Act.START, 2)]
    fleet.ended(2, 1)
    assert fleet.due(1.4) == []
    assert fleet.due(1.5) == [(Act.START, 2)]
    assert fleet.ready == [0, 1]


def test_a_second_roll_gives_up_what_the_first_had_not_finished():
    fleet = steady()
    fleet.roll()
    assert fleet.due(1) == [(Act.START, 2)]
    fleet.roll()
    assert fleet.due(2) == [(Act.TERMINATE, 2)], "not one of those that serve"
    fleet.ended(2, 3)
    assert fleet.due(3) == [(Act.START, 2)]


def test_all_are_asked_to_stop_and_none_is_started_again():
    fleet = steady()
    fleet.ended(0, 5)
    fleet.stop()
    assert fleet.due(5) == [(Act.TERMINATE, 1)]
    assert fleet.ready == []
    assert not fleet.is_over
    assert fleet.due(5 + GRACE_S - 1) == []
    assert fleet.due(5 + GRACE_S) == [(Act.KILL, 1)]
    assert fleet.due(6 + GRACE_S) == []
    fleet.ended(1, 7 + GRACE_S)
    assert fleet.is_over


def test_a_worker_that_answers_no_more_is_killed_and_started_again():
    fleet = steady()
    for _ in range(MOST_MISSED - 1):
        fleet.missed(0)
    assert fleet.ready == [1]
    fleet.heard(0, True)
    for _ in range(MOST_MISSED):
        assert fleet.due(1) == []
        fleet.missed(0)
    assert fleet.due(2) == [(Act.KILL, 0)]
    assert fleet.due(3) == []
    assert not fleet.ended(0, STEADY_S)
    assert fleet.due(STEADY_S) == [(Act.START, 0)]


def test_a_worker_that_has_not_begun_to_answer_is_not_silent():
    fleet = Fleet(1, GRACE_S)
    fleet.due(0)
    for _ in range(2 * MOST_MISSED):
        fleet.missed(0)
    assert fleet.due(1) == []


class Walk:
    """A fleet to which anything may happen; it is checked after each step."""

    def __init__(self, seed):
        self.choose = random.Random(seed)
        self.size = self.choose.randint(1, 4)
        self.fleet = Fleet(self.size, GRACE_S)
        self.now = 0.0
        self.rolls = 0

    def look(self):
        serving = len(self.fleet.ready)
        acts = self.fleet.due(self.now)
        if any(act is Act.TERMINATE for act, _ in acts) and serving > len(self.fleet.ready):
            assert len(self.fleet.ready) >= self.size
        assert len(self.fleet.workers) <= self.size + 1

    def something(self):
        what, number = self.choose.randrange(8), self.choose.choice(list(self.fleet.workers))
        if what < 4:
            self.fleet.heard(number, what > 0)
        elif what == 4:
            self.fleet.missed(number)
        elif what == 5 or self.fleet.workers[number].leaving_at is not None:
            self.fleet.ended(number, self.now)
        elif self.rolls < 3:
            self.rolls += 1
            self.fleet.roll()

    def settle(self):
        """Nothing goes wrong any more."""
        for number, worker in list(self.fleet.workers.items()):
            if worker.leaving_at is None:
                self.fleet.heard(number, True)
            else:
                self.fleet.ended(number, self.now)


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_whatever_happens_no_worker_that_serves_leaves_without_another_in_its_place(first):
    for seed in range(first, first + 50):
        walk = Walk(seed)
        for _ in range(300):
            walk.now += walk.choose.choice((0, 0, 0.1, 1, 20))
            walk.look()
            if walk.fleet.workers:
                walk.something()
        for _ in range(20 * walk.size):
            walk.now += LONGEST_PAUSE_S
            walk.look()
            walk.settle()
        assert len(walk.fleet.ready) == len(walk.fleet.workers) == walk.size
        assert {each.generation for each in walk.fleet.workers.values()} == {walk.rolls}
