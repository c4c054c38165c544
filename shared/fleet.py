"""The workers of a service: which there are, and what is to be done so that there are enough.

Only numbers and states: `shared.workers` has the processes. Of those that live each has a number
of its own, the lowest that was free. After `roll` every worker is replaced by one of the next
generation, one at a time: the new one is ready before an old one is asked to leave, and that one
is gone before the next is started, so there is never more than one too many.
"""

from enum import Enum

import msgspec

STEADY_S = 10.0
"""A worker that lived this long was well: the next one is started without a pause."""

LONGEST_PAUSE_S = 30.0
_FIRST_PAUSE_S = 0.5

MOST_MISSED = 30
"""How many looks in a row a worker may leave without an answer before it is killed: looks are
counted, not seconds, so that a machine that slept kills nobody."""


class Act(Enum):
    """What is to be done with a worker."""

    START = "start"
    TERMINATE = "terminate"
    KILL = "kill"


class Worker(msgspec.Struct, kw_only=True):
    """A worker. `missed` counts looks without an answer, once it had answered one."""

    generation: int
    started_at: float
    is_ready: bool = False
    has_answered: bool = False
    missed: int = 0
    leaving_at: float | None = None
    is_killed: bool = False


class Fleet:
    """So many workers, told of what happens to them; `due` is what to do about it."""

    def __init__(self, size: int, grace_s: float) -> None:
        """Keep `size` workers; one that was asked to leave has `grace_s` seconds for that."""
        self.size = size
        self.workers: dict[int, Worker] = {}
        self.is_stopping = False
        self._grace_s = grace_s
        self._generation = 0
        self._failures = 0
        self._paused_until = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it was stopped and nobody is left."""
        return self.is_stopping and not self.workers

    @property
    def ready(self) -> list[int]:
        """The workers that are ready and stay."""
        staying = {} if self.is_stopping else self._staying()
        return [number for number, each in staying.items() if each.is_ready]

    def is_starting(self, now: float) -> bool:
        """Whether a worker that was started not long ago is not ready yet."""
        staying = self._staying().values()
        return any(not e.is_ready and now - e.started_at < STEADY_S for e in staying)

    def heard(self, number: int, is_ready: bool) -> None:
        """Take a worker's answer to a look."""
        worker = self.workers[number]
        worker.is_ready, worker.has_answered, worker.missed = is_ready, True, 0

    def missed(self, number: int) -> None:
        """A worker did not answer a look."""
        worker = self.workers[number]
        worker.is_ready = False
        worker.missed += worker.has_answered

    def ended(self, number: int, now: float) -> bool:
        """A worker's process is gone; whether it was asked to.

        After one that was not asked there is a pause, longer with each that did not live long.
        """
        worker = self.workers.pop(number)
        if worker.leaving_at is not None:
            return True
        if now - worker.started_at >= STEADY_S:
            self._failures = 0
        pause_s = _FIRST_PAUSE_S * 2 ** (self._failures - 1) if self._failures else 0.0
        self._paused_until = now + min(LONGEST_PAUSE_S, pause_s)
        self._failures += 1
        return False

    def roll(self) -> None:
        """Replace every worker that there is now, one by one."""
        self._generation += 1

    def stop(self) -> None:
        """Have every worker leave, and start no more."""
        self.is_stopping = True

    def due(self, now: float) -> list[tuple[Act, int]]:
        """What is to be done now, in order; it counts as done."""
        acts = [(Act.KILL, number) for number in self._overdue(now)]
        leaving = list(self._staying()) if self.is_stopping else self._surplus()
        for number in leaving:
            self.workers[number].leaving_at = now
            acts.append((Act.TERMINATE, number))
        while not self.is_stopping and now >= self._paused_until and self._is_one_wanted():
            number = next(n for n in range(len(self.workers) + 1) if n not in self.workers)
            self.workers[number] = Worker(generation=self._generation, started_at=now)
            acts.append((Act.START, number))
        return acts

    def _staying(self) -> dict[int, Worker]:
        return {n: each for n, each in self.workers.items() if each.leaving_at is None}

    def _overdue(self, now: float) -> list[int]:
        """Those to be killed: they have not left in time, or do not answer any more."""
        found = []
        for number, worker in self.workers.items():
            is_late = worker.leaving_at is not None and now - worker.leaving_at >= self._grace_s
            is_silent = worker.leaving_at is None and worker.missed >= MOST_MISSED
            if (is_late or is_silent) and not worker.is_killed:
                worker.is_killed = True
                found.append(number)
        return found

    def _old(self) -> list[int]:
        """Those to be replaced, first the ones that are not ready."""
        staying = self._staying()
        old = [n for n, each in staying.items() if each.generation < self._generation]
        return sorted(old, key=lambda n: staying[n].is_ready)

    def _is_settled(self) -> bool:
        """Whether all of the newest generation are ready."""
        staying = self._staying().values()
        return all(e.is_ready for e in staying if e.generation == self._generation)

    def _surplus(self) -> list[int]:
        """The old worker whose place is taken, if there is one."""
        old = self._old()
        is_replaced = len(self._staying()) > self.size and self._is_settled()
        return old[:1] if is_replaced else []

    def _is_one_wanted(self) -> bool:
        """Whether there are too few, or the next old one is to be replaced."""
        staying = self._staying()
        if len(staying) < self.size:
            return True
        is_turn = len(staying) == self.size == len(self.workers)
        return is_turn and self._is_settled() and bool(self._old())
