"""Finding keys by what they have in common, and in order, without looking at every key.

Half a million keys are held. Each has a slot; sets of slots and orders of slots are kept up with
each change, at a cost that does not grow with the number of keys.
"""

from array import array
from collections.abc import Callable, Collection, Hashable, Iterable
from math import inf, nextafter
from typing import Any, Literal

from services.keys.key_order import Order
from services.keys.key_search import Aliases
from services.keys.records import KeyRecord
from services.keys.sharing import Shared
from services.keys.slot_sets import Holders, SlotSet, slot_set
from shared.catalogue import Catalogue

Field = Literal[
    "team_id",
    "user_id",
    "access_group_id",
    "organization_id",
    "project_id",
    "agent_id",
    "created_by",
    "models",
    "blocked",
]


def _one(value: Hashable) -> tuple[Hashable, ...]:
    return () if value is None else (value,)


EQUAL: dict[Field, Callable[[KeyRecord], Iterable[Hashable]]] = {
    "team_id": lambda record: _one(record.grant.team_id),
    "user_id": lambda record: _one(record.grant.user_id),
    "access_group_id": lambda record: frozenset(record.grant.groups),
    "organization_id": lambda record: _one(record.details.organization_id),
    "project_id": lambda record: _one(record.details.project_id),
    "agent_id": lambda record: _one(record.details.agent_id),
    "created_by": lambda record: (record.details.created_by,),
    "models": lambda record: (record.grant.models,),
    "blocked": lambda record: (True,) if record.grant.blocked else (),
}
"""What keys can be asked for by, with the values a key has of it, none of them twice."""


def _number(value: float | None) -> float:
    return -inf if value is None else value


ORDERS: dict[str, Callable[[KeyRecord], Any]] = {
    "created_at": lambda record: record.details.created_at,
    "updated_at": lambda record: record.details.updated_at,
    "spend": lambda record: record.details.spend,
    "max_budget": lambda record: _number(record.details.max_budget),
    "key_alias": lambda record: record.details.key_alias or "",
    "token": lambda record: record.grant.id,
    "expires": lambda record: _number(record.grant.expires_at),
}
"""What keys can be ordered by; those without a value come first."""

_EVER = nextafter(-inf, 0)
"""Before every expiry, and after those keys that have none."""

_DEAD = 1024
"""Slots of keys that are gone are given up when they are more than this, and than the others."""


class KeyIndex:
    """The keys by each of `EQUAL`, in each of `ORDERS`, by alias and by parts of aliases.

    Nothing is built before the first question: a log is read at the speed of a dictionary.
    """

    def __init__(self) -> None:
        """Begin with no keys."""
        self.records: dict[bytes, KeyRecord] = {}
        """Every key by its digest, in the order they were made. Changed by `put` and `discard`."""
        self._shared = Shared()
        self._is_built = False
        self._held: list[KeyRecord | None] = []
        self._live = bytearray()
        self._expired = bytearray()
        self._expired_at = _EVER
        self._holders: dict[Field, Holders] = {}
        self._orders: dict[str, Order] = {}
        self._aliases = Aliases(())
        self._known: tuple[Catalogue | None, dict[str, bool]] = (None, {})

    def put(self, record: KeyRecord) -> None:
        """Take a key's new state in."""
        self._shared.share(record)
        digest = record.grant.id
        old = self.records.get(digest)
        if not self._is_built:
            self.records[digest] = record
            return
        slot = len(self._held) if old is None else self._slot(digest)
        moving = [
            self._orders[name]
            for name, value in ORDERS.items()
            if old is None or value(old) != value(record)
        ]
        if old is None:
            self._held.append(record)
            self._live.append(1)
            self._expired.append(0)
        else:
            for order in moving:
                order.discard(slot)
            self._held[slot] = record
        self.records[digest] = record
        self._expired[slot] = _EVER < ORDERS["expires"](record) <= self._expired_at
        for order in moving:
            order.add(slot)
        self._aliases.put(slot, record.details.key_alias or "")
        for name, values in EQUAL.items():
            had = frozenset[Hashable]() if old is None else frozenset(values(old))
            has = frozenset(values(record))
            for value in had - has:
                self._holders[name].discard(value, slot)
            for value in has - had:
                self._holders[name].add(value, slot)

    def discard(self, digest: bytes) -> None:
        """Forget a key."""
        record = self.records.get(digest)
        if record is None:
            return
        if self._is_built:
            slot = self._slot(digest)
            for order in self._orders.values():
                order.discard(slot)
            for name, values in EQUAL.items():
                for value in values(record):
                    self._holders[name].discard(value, slot)
            self._aliases.put(slot, "")
            self._held[slot] = None
            self._live[slot] = 0
            self._expired[slot] = 0
        del self.records[digest]
        # All is numbered anew once in so many changes that each pays for its part.
        if len(self._held) > _DEAD + 2 * len(self.records):
            self._is_built = False

    def build(self) -> None:
        """Build what questions need, when that has not been done."""
        if self._is_built:
            return
        records = list(self.records.values())
        self._held = [*records]
        self._live = bytearray(b"\1" * len(records))
        self._expired = bytearray(len(records))
        self._expired_at = _EVER
        self._holders = {name: Holders() for name in EQUAL}
        for name, values in EQUAL.items():
            add = self._holders[name].add
            for slot, record in enumerate(records):
                for value in values(record):
                    add(value, slot)
        self._orders = {
            name: Order(self._by_slot(value), range(len(records))) for name, value in ORDERS.items()
        }
        self._aliases = Aliases(record.details.key_alias or "" for record in records)
        self._is_built = True

    def _by_slot(self, value: Callable[[KeyRecord], Any]) -> Callable[[int], Any]:
        held = self._held

        def value_of(slot: int) -> Any:  # noqa: ANN401 - as many types as there are orders
            return value(held[slot])  # type: ignore[arg-type]  # no order has a dead slot

        return value_of

    def _slot(self, digest: bytes) -> int:
        (slot,) = self._orders["token"].between(digest, digest)
        return slot

    @property
    def size(self) -> int:
        """How many slots there are."""
        self.build()
        return len(self._held)

    def record(self, slot: int) -> KeyRecord:
        """The key in a slot of a set or an order."""
        record = self._held[slot]
        if record is None:
            raise KeyError(slot)
        return record

    def having(self, name: Field, value: Hashable) -> SlotSet:
        """The keys that have `value` of one of `EQUAL`. Not to be changed."""
        return self._holders_of(name).of(value, self.size)

    def values(self, name: Field) -> Collection[Hashable]:
        """Every value of one of `EQUAL` that some key has."""
        return self._holders_of(name).values()

    def _holders_of(self, name: Field) -> Holders:
        self.build()
        return self._holders[name]

    def order(self, name: str) -> Order:
        """Every key in one of `ORDERS`."""
        self.build()
        return self._orders[name]

    def all(self) -> bytearray:
        """Every key. Not to be changed."""
        self.build()
        return self._live

    def with_alias(self, alias: str) -> SlotSet:
        """The key with this alias."""
        return array("I", self.order("key_alias").between(alias, alias) if alias else ())

    def with_part(self, part: str) -> bytearray:
        """The keys whose alias has `part` in it."""
        self.build()
        return self._aliases.with_part(part)

    def with_digest(self, low: bytes, high: bytes) -> SlotSet:
        """The keys whose digest is from `low` to `high`."""
        return slot_set(tuple(self.order("token").between(low, high)), self.size)

    def expired(self, now: float) -> bytearray:
        """The keys that expired before `now` (epoch seconds) or right then, blocked or not.

        Not to be changed. From one moment to the next only the keys between them are looked at.
        """
        order, flags, before = self.order("expires"), self._expired, self._expired_at
        for slot in order.between(min(before, now), max(before, now)):
            flags[slot] = order.value(slot) <= now
        self._expired_at = now
        return flags

    def dangling(self, catalogue: Catalogue, groups: Collection[str]) -> list[SlotSet]:
        """Sets of the keys with an entry or a group that stands for nothing; they may overlap."""
        if self._known[0] is not catalogue:
            self._known = (catalogue, {})
        known = self._known[1]
        lists: Collection[Any] = self.values("models")
        for entry in frozenset[str]().union(*lists).difference(known):
            known[entry] = catalogue.knows(entry)
        unknown = frozenset(entry for entry, is_known in known.items() if not is_known)
        found = [self.having("models", each) for each in lists if not unknown.isdisjoint(each)]
        gone = [group for group in self.values("access_group_id") if group not in groups]
        return found + [self.having("access_group_id", group) for group in gone]
