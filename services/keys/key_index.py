"""Finding keys by what they have in common, without looking at every key.

Half a million keys are held; a list of them by owner, team or text must not visit them all.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from services.keys.records import KeyRecord

Digests = dict[bytes, None]
"""A set that keeps the order of insertion."""

_LISTS = 8
"""Long lists that are remembered."""

_TEXTS = 256
"""Pieces the aliases are kept in for a search of parts: a change rewrites one of them."""


def _field(name: str) -> Callable[[KeyRecord], Iterable[str]]:
    def values(record: KeyRecord) -> Iterable[str]:
        value = getattr(record.details, name)
        return () if value is None else (value,)

    return values


EQUAL: dict[str, Callable[[KeyRecord], Iterable[str]]] = {
    "team_id": lambda record: () if record.grant.team_id is None else (record.grant.team_id,),
    "user_id": lambda record: () if record.grant.user_id is None else (record.grant.user_id,),
    "access_group_id": lambda record: record.grant.groups,
    "organization_id": _field("organization_id"),
    "project_id": _field("project_id"),
    "agent_id": _field("agent_id"),
    "created_by": _field("created_by"),
}
"""What keys can be asked for by, with the values a key has of it."""

ORDERS: dict[str, Callable[[KeyRecord], object]] = {
    "created_at": lambda record: record.details.created_at,
    "updated_at": lambda record: record.details.updated_at,
    "spend": lambda record: record.details.spend,
    "max_budget": lambda record: record.details.max_budget,
    "key_alias": lambda record: record.details.key_alias,
    "token": lambda record: record.grant.id,
    "expires": lambda record: record.grant.expires_at,
}
"""What keys can be ordered by; those without a value come first."""


class _Order:
    """Every key's digest, ordered by one value."""

    def __init__(self, value: Callable[[KeyRecord], object], keys: Iterable[KeyRecord]) -> None:
        self._value = value
        self.entries: list[tuple[bool, object, bytes]] = sorted(map(self.entry, keys))

    def entry(self, record: KeyRecord) -> tuple[bool, object, bytes]:
        value = self._value(record)
        return (False, 0, record.grant.id) if value is None else (True, value, record.grant.id)

    def add(self, record: KeyRecord) -> None:
        entry = self.entry(record)
        # New keys mostly come last, which costs no search.
        if not self.entries or self.entries[-1] < entry:
            self.entries.append(entry)
        else:
            insort(self.entries, entry)

    def discard(self, record: KeyRecord) -> None:
        entry = self.entry(record)
        at = bisect_left(self.entries, entry)
        if at < len(self.entries) and self.entries[at] == entry:
            del self.entries[at]


class _Text:
    """Some aliases as one text, which is searched at once."""

    def __init__(self) -> None:
        self.aliases: dict[bytes, str] = {}
        self._text: str | None = None
        self._starts: list[int] = []
        self._digests: list[bytes] = []

    def write(self, digest: bytes, alias: str | None) -> None:
        self._text = None
        if alias is None:
            self.aliases.pop(digest, None)
        else:
            self.aliases[digest] = alias

    def search(self, part: str) -> Iterator[bytes]:
        if self._text is None:
            self._text = "\n".join(self.aliases.values())
            self._digests = list(self.aliases)
            lengths = (len(alias) + 1 for alias in self.aliases.values())
            self._starts = list(accumulate(lengths, initial=0))
        at = self._text.find(part)
        while at >= 0:
            line = bisect_right(self._starts, at) - 1
            if line >= len(self._digests):
                return
            yield self._digests[line]
            at = self._text.find(part, self._starts[line + 1])


class KeyIndex:
    """The keys by each of `EQUAL`, by alias, in each of `ORDERS`, and by parts of aliases."""

    def __init__(self) -> None:
        """Begin with no keys."""
        self.records: dict[bytes, KeyRecord] = {}
        """Every key by its digest, in the order they were made. Changed by `put` and `discard`."""
        self._equal: dict[str, dict[str, Digests]] = {name: {} for name in EQUAL}
        self._alias: dict[str, bytes] = {}
        self._blocked: Digests = {}
        self._orders: dict[str, _Order] = {}
        self._texts: list[_Text] = []
        self._found: dict[bytes, list[bytes]] = {}

    def put(self, record: KeyRecord) -> None:
        """Take a key's new state in."""
        digest = record.grant.id
        old = self.records.get(digest)
        if old is not None:
            self._leave(old)
        self.records[digest] = record
        for name, values in EQUAL.items():
            for value in values(record):
                self._equal[name].setdefault(value, {})[digest] = None
        alias = record.details.key_alias
        if alias is not None:
            self._alias[alias] = digest
            if self._texts:
                self._texts[_text_of(digest)].write(digest, alias)
        if record.grant.blocked:
            self._blocked[digest] = None
        for order in self._orders.values():
            order.add(record)

    def discard(self, digest: bytes) -> None:
        """Forget a key."""
        record = self.records.pop(digest, None)
        if record is not None:
            self._leave(record)

    def _leave(self, record: KeyRecord) -> None:
        digest = record.grant.id
        for name, values in EQUAL.items():
            by_value = self._equal[name]
            for value in values(record):
                found = by_value.get(value)
                if found is not None:
                    found.pop(digest, None)
                    if not found:
                        del by_value[value]
        alias = record.details.key_alias
        if alias is not None:
            self._alias.pop(alias, None)
            if self._texts:
                self._texts[_text_of(digest)].write(digest, None)
        self._blocked.pop(digest, None)
        for order in self._orders.values():
            order.discard(record)

    def by_alias(self, alias: str) -> bytes | None:
        """The key with this alias."""
        return self._alias.get(alias)

    def with_value(self, name: str, value: str) -> Digests:
        """The keys that have `value` of one of `EQUAL`, oldest holder first. Not to be changed."""
        return self._equal[name].get(value, {})

    def values(self, name: str) -> Iterable[str]:
        """Every value of one of `EQUAL` that some key has."""
        return self._equal[name].keys()

    @property
    def blocked(self) -> Digests:
        """The blocked keys. Not to be changed."""
        return self._blocked

    def expired(self, now: float) -> Iterator[bytes]:
        """The keys that expired before `now` (epoch seconds) or right then."""
        entries = self._order("expires").entries
        begin = bisect_left(entries, (True, float("-inf"), b""))
        end = bisect_left(entries, (True, now, b"\xff" * 33))
        return (entry[2] for entry in entries[begin:end])

    def ordered(self, name: str) -> list[tuple[bool, object, bytes]]:
        """Every key in one of `ORDERS`, its digest last in each entry. Not to be changed."""
        return self._order(name).entries

    def once(self, what: bytes, find: Callable[[], list[bytes]]) -> list[bytes]:
        """What `find` gives, remembered for a while: `what` names it and the revision it is of."""
        found = self._found.get(what)
        if found is None:
            if len(self._found) >= _LISTS:
                self._found.pop(next(iter(self._found)))
            found = self._found[what] = find()
        return found

    def with_part(self, part: str) -> Digests:
        """The keys whose alias has `part` in it."""
        if not self._texts:
            self._texts = [_Text() for _ in range(_TEXTS)]
            for alias, digest in self._alias.items():
                self._texts[_text_of(digest)].write(digest, alias)
        if "\n" in part:
            return {}
        return {digest: None for text in self._texts for digest in text.search(part)}

    def prepare(self) -> None:
        """Build now what is otherwise built when it is first asked for."""
        for name in ("created_at", "expires", "token", "key_alias"):
            self._order(name)
        self.with_part("-")

    def _order(self, name: str) -> _Order:
        """Sorted once, when it is first asked for; kept up from then on."""
        found = self._orders.get(name)
        if found is None:
            found = self._orders[name] = _Order(ORDERS[name], self.records.values())
        return found


def _text_of(digest: bytes) -> int:
    return digest[0] % _TEXTS
