"""The model catalogue: which deployments serve a name. Pure, and without upstream secrets."""

import unicodedata
from collections.abc import Iterable

import msgspec

from shared.credentials import holds_minted_key
from shared.patterns import Pattern, generic_instance, intersect, is_pattern

SENTINELS = frozenset({"all-team-models", "all-proxy-models", "no-default-models"})
"""Words of a `models` list that are never names of models or groups."""

VERSIONED = "\x1f"
"""Stands between a stored deployment's id and its version in what a decision allows."""

MAX_ENTRY = 256
"""Characters in one entry of a `models` list, and in a configured model name."""

_MEMO_LIMIT = 10_000
"""Names resolved through patterns that are remembered: clients choose them, so it is bounded."""


class Deployment(
    msgspec.Struct, frozen=True, kw_only=True, tag="model", tag_field="kind", omit_defaults=True
):
    """One deployment as far as a decision needs it.

    `name` is what clients ask for, perhaps a pattern; `position` the order of declaration. A
    blocked one hides what it always hid, and is sent nothing. `version` grows with each change
    of where a stored deployment leads; 0 is one of the config file.
    """

    id: str
    name: str
    access_groups: tuple[str, ...] = ()
    position: int = 0
    blocked: bool = False
    version: int = 0

    @property
    def ref(self) -> str:
        """What a decision calls it: its id, and for a stored one its version too.

        So a gateway that knows an older version cannot take it for this one. The separator is
        no printable character, hence in no id.
        """
        return f"{self.id}{VERSIONED}{self.version}" if self.version else self.id


class Catalogue:
    """Deployments with the one rule of which of them serve a name."""

    def __init__(self, deployments: Iterable[Deployment] = ()) -> None:
        """Index `deployments`; their order comes from `position`, then id."""
        self.deployments = tuple(sorted(deployments, key=lambda d: (d.position, d.id)))
        by_name: dict[str, tuple[Deployment, ...]] = {}
        for deployment in self.deployments:
            by_name[deployment.name] = (*by_name.get(deployment.name, ()), deployment)
        self.names: tuple[str, ...] = tuple(by_name)
        """Every declared model name, patterns among them, in order of declaration."""
        self.groups = frozenset(g for d in self.deployments for g in d.access_groups)
        self._by_name = by_name
        self._exact = {name: found for name, found in by_name.items() if not is_pattern(name)}
        self._exact_folded = frozenset(name.casefold() for name in self._exact)
        patterns = [name for name in self.names if is_pattern(name)]
        # sorted() is stable: among equals the first declared stays first.
        ranked = sorted(patterns, key=lambda p: Pattern(p.casefold()).specificity, reverse=True)
        self._patterns = tuple((Pattern(p.casefold()), Pattern(p)) for p in ranked)
        self._memo: dict[str, tuple[Deployment, ...]] = {}

    def serving(self, name: str) -> tuple[Deployment, ...]:
        """The deployments that serve `name`: those of that exact name, else of one pattern.

        An exact name hides every pattern. Otherwise the most specific pattern is chosen on the
        casefolded name and must match the name as it was sent too; a name that differs from an
        exact one only in letter case, or that repeats the pattern's own prefix, or that an
        upstream could read as another (`is_plain`), is served by nothing. So no spelling of a
        name slips from a narrow pattern into a wider one.
        """
        found = self._exact.get(name)
        if found is not None:
            return found
        found = self._memo.get(name)
        if found is None:
            found = self._by_pattern(name)
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[name] = found
        return found

    def _by_pattern(self, name: str) -> tuple[Deployment, ...]:
        folded = name.casefold()
        if folded in self._exact_folded or not is_plain(name):
            return ()
        for folded_pattern, pattern in self._patterns:
            captured = folded_pattern.captures(folded)
            if captured is None:
                continue
            doubled = (
                not pattern.suffix
                and bool(folded_pattern.prefix)
                and captured[-1].startswith(folded_pattern.prefix)
            )
            if doubled or not pattern.matches(name):
                return ()
            return self._by_name[pattern.text]
        return ()

    def knows(self, entry: str) -> bool:
        """Whether a grant entry can stand for anything now: a sentinel, name, group or overlap."""
        entry = entry.removeprefix("!")
        if entry == "*" or entry in SENTINELS or entry in self.groups or entry in self._by_name:
            return True
        if not is_pattern(entry):
            return bool(self.serving(entry))
        return any(
            self.serving(witness)
            for name in self.names
            for witness in map(generic_instance, intersect(entry, name))
        )


def is_plain(name: str) -> bool:
    """Whether a name reads the same however it is trimmed, normalised or put into a path.

    An upstream may strip white space, drop characters that show nothing, fold compatibility
    forms and walk dots; a pattern would let all of these through.
    """
    if any(part in (".", "..") for part in name.split("/")):
        return False
    if name.isascii() and " " not in name:
        return True
    return unicodedata.normalize("NFKC", name) == name and not any(
        char.isspace() or unicodedata.category(char) == "Cf" for char in name
    )


def entry_problem(entry: str) -> str | None:
    """What is wrong with a string as an entry of a `models` list, or None."""
    bare = entry.removeprefix("!")
    if not bare:
        return "is empty"
    if bare != bare.strip():
        return "begins or ends with white space"
    if len(entry) > MAX_ENTRY:
        return f"is longer than {MAX_ENTRY} characters"
    if not bare.isprintable():
        return "has a control or unprintable character"
    if holds_minted_key(bare):
        return "is a key, which no gateway takes for a name"
    if bare is not entry and (bare in SENTINELS or bare.startswith("!")):
        return f"cannot deny {bare!r}: '!' takes a model name, a pattern or an access group"
    return None
