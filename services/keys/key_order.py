"""All keys in the order of one value, kept as short sorted runs: a change moves one of them."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from operator import itemgetter
from typing import Any

_RUN = 1024
"""Slots in a run when it is made; it is halved when it has twice as many."""


class Order:
    """Slots by the value of the key in them; of equal ones the oldest key comes first."""

    def __init__(self, value: Callable[[int], Any], slots: Iterable[int]) -> None:
        """Order `slots`, which are sorted; `value` gives what the key in a slot is ordered by."""
        self.value = value
        ordered = array("I", sorted(slots, key=value))
        self._runs = [ordered[at : at + _RUN] for at in range(0, len(ordered), _RUN)]

    def add(self, slot: int) -> None:
        """Take a key in, by the value it has now."""
        runs, entry = self._runs, self._entry(slot)
        if not runs:
            runs.append(array("I"))
        last = runs[-1]
        # New keys come last in the orders by time, which costs no search.
        if not last or self._entry(last[-1]) < entry:
            number = len(runs) - 1
            last.append(slot)
        else:
            number, at = self._place(entry)
            runs[number].insert(at, slot)
        run = runs[number]
        if len(run) > 2 * _RUN:
            runs[number : number + 1] = [run[:_RUN], run[_RUN:]]

    def discard(self, slot: int) -> None:
        """Leave a key out, before the value it has changes."""
        number, at = self._place(self._entry(slot))
        del self._runs[number][at]
        if not self._runs[number]:
            del self._runs[number]

    def between(self, low: object, high: object) -> Iterator[int]:
        """The slots whose value is from `low` to `high`, both included."""
        begin, end = self._place((low, -1)), self._place((high, float("inf")))
        for number in range(begin[0], min(end[0] + 1, len(self._runs))):
            run = self._runs[number]
            first = begin[1] if number == begin[0] else 0
            yield from run[first : end[1] if number == end[0] else len(run)]

    def rank(self, high: object) -> int:
        """How many slots have a value up to `high`."""
        number, at = self._place((high, float("inf")))
        return sum(map(len, self._runs[:number])) + at

    def page(self, start: int, size: int, *, is_descending: bool) -> list[int]:
        """`size` slots after the first `start`, from one end."""
        found: list[int] = []
        for run in reversed(self._runs) if is_descending else self._runs:
            if start >= len(run):
                start -= len(run)
                continue
            turned = run[::-1] if is_descending else run
            found += turned[start : start + size - len(found)]
            start = 0
            if len(found) >= size:
                break
        return found

    def page_of(
        self, flags: bytearray, total: int, start: int, size: int, *, is_descending: bool
    ) -> list[int]:
        """The same of the `total` slots with their flag set, looked for from the nearer end."""
        size = min(size, total - start)
        if size <= 0:
            return []
        left = total - start - size
        if start > left:
            return self._marked(flags, left, size, is_descending=not is_descending)[::-1]
        return self._marked(flags, start, size, is_descending=is_descending)

    def _marked(self, flags: bytearray, start: int, size: int, *, is_descending: bool) -> list[int]:
        found: list[int] = []
        for run in reversed(self._runs) if is_descending else self._runs:
            # With one item alone, itemgetter would give no tuple.
            marks = itemgetter(run[0], *run)(flags)[1:]
            here = sum(marks)
            if start >= here:
                start -= here
                continue
            slots = list(compress(run, marks))
            turned = slots[::-1] if is_descending else slots
            found += turned[start : start + size - len(found)]
            start = 0
            if len(found) >= size:
                break
        return found

    def _entry(self, slot: int) -> tuple[Any, float]:
        return (self.value(slot), slot)

    def _place(self, entry: tuple[Any, float]) -> tuple[int, int]:
        """The run, and the place in it, of the first slot that does not come before `entry`."""
        runs = self._runs
        number = bisect_left(runs, entry, key=lambda run: self._entry(run[-1]))
        if number == len(runs):
            return number, 0
        return number, bisect_left(runs[number], entry, key=self._entry)
