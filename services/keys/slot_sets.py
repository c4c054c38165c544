"""Sets of keys by their slots: small ones as sorted numbers, large ones as a flag for each slot.

A slot is a key's number in the order the keys were made. Whatever is asked of half a million
flags is one operation on bytes or on one large integer, so it takes about a millisecond.
"""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Union

SlotSet = Union["array[int]", bytearray]
"""Sorted slots, or as many flags of 0 and 1 as there are slots."""

MANY = 32_768
"""A set above this is kept as flags: they take as much memory, and a change does not move them."""


def slot_set(slots: Collection[int], size: int) -> SlotSet:
    """A set of some of `size` slots, given in any order, none of them twice."""
    return array("I", sorted(slots)) if len(slots) <= MANY else marked(slots, size)


def marked(slots: Iterable[int], size: int) -> bytearray:
    """Some of `size` slots as flags."""
    if isinstance(slots, bytearray):
        return slots
    flags = bytearray(size)
    for slot in slots:
        flags[slot] = 1
    return flags


def members(slots: SlotSet) -> Iterator[int]:
    """The slots in a set, in order."""
    if not isinstance(slots, bytearray):
        yield from slots
        return
    at = slots.find(1)
    while at >= 0:
        yield at
        at = slots.find(1, at + 1)


def length(slots: SlotSet) -> int:
    """How many slots are in a set."""
    return slots.count(1) if isinstance(slots, bytearray) else len(slots)


def both(some: SlotSet, others: SlotSet) -> SlotSet:
    """The slots in both sets."""
    if isinstance(some, bytearray):
        if isinstance(others, bytearray):
            return _flags(_number(some) & _number(others), len(some))
        some, others = others, some
    if isinstance(others, bytearray):
        return array("I", compress(some, map(others.__getitem__, some)))
    return array("I", sorted(frozenset(some).intersection(others)))


def without(some: SlotSet, others: SlotSet) -> SlotSet:
    """The slots in the first set that are not in the second."""
    if not isinstance(some, bytearray):
        gone = frozenset(members(both(some, others)))
        return array("I", (slot for slot in some if slot not in gone))
    if isinstance(others, bytearray):
        kept = _number(some)
        return _flags(kept & ~_number(others), len(some))
    left = some[:]
    for slot in others:
        left[slot] = 0
    return left


def either(sets: Sequence[SlotSet], size: int) -> SlotSet:
    """The slots, of `size` there are, in at least one of the sets."""
    if len(sets) == 1:
        return sets[0]
    few = [slots for slots in sets if not isinstance(slots, bytearray)]
    if len(few) == len(sets) and sum(map(len, few)) <= MANY:
        return array("I", sorted(frozenset().union(*few)))
    number = 0
    for slots in sets:
        if isinstance(slots, bytearray):
            number |= _number(slots)
    flags = _flags(number, size)
    for slots in few:
        for slot in slots:
            flags[slot] = 1
    return flags


def _number(flags: bytearray) -> int:
    return int.from_bytes(flags, "little")


def _flags(number: int, size: int) -> bytearray:
    return bytearray(number.to_bytes(size, "little"))


class Holders:
    """The set of the keys that have a value, for each value some key has."""

    def __init__(self) -> None:
        """Begin with no values."""
        self._sets: dict[Hashable, SlotSet] = {}

    def add(self, value: Hashable, slot: int) -> None:
        """Have the key in this slot hold the value, which it does not yet."""
        slots = self._sets.get(value)
        if slots is None:
            self._sets[value] = array("I", (slot,))
        elif isinstance(slots, bytearray):
            slots.extend(bytes(max(0, slot + 1 - len(slots))))
            slots[slot] = 1
        else:
            at = len(slots) if slots[-1] < slot else bisect_left(slots, slot)
            slots.insert(at, slot)
            if len(slots) > MANY:
                self._sets[value] = marked(slots, slots[-1] + 1)

    def discard(self, value: Hashable, slot: int) -> None:
        """Have the key in this slot hold the value no more."""
        slots = self._sets[value]
        if isinstance(slots, bytearray):
            slots[slot] = 0
            is_empty = slots.find(1) < 0
        else:
            del slots[bisect_left(slots, slot)]
            is_empty = not slots
        if is_empty:
            del self._sets[value]

    def of(self, value: Hashable, size: int) -> SlotSet:
        """Which of the `size` slots hold the value. Not to be changed."""
        slots = self._sets.get(value)
        if slots is None:
            return array("I")
        if isinstance(slots, bytearray):
            slots.extend(bytes(size - len(slots)))
        return slots

    def values(self) -> Collection[Hashable]:
        """Every value that some key has."""
        return self._sets.keys()
