"""How a `models` list covers a model: the one reading of a list, for keys and teams alike."""

from shared.catalogue import SENTINELS, Catalogue, Deployment
from shared.patterns import Pattern, is_pattern

_MEMO_LIMIT = 2_000
"""Names remembered for one list. Clients choose the names, so it is bounded."""

Covered = tuple[Deployment, ...] | None
"""The deployments that may be dispatched to; None when the list does not cover the model."""


class GrantList:
    """A `models` list, parsed once and shared by every key and team that has the same entries."""

    __slots__ = (
        "__weakref__",
        "_allows_all",
        "_denied",
        "_denied_groups",
        "_denied_patterns",
        "_exact",
        "_for",
        "_memo",
        "_patterns",
        "entries",
        "has_team_models",
    )

    def __init__(self, entries: tuple[str, ...]) -> None:
        """Sort the entries into what they can mean; nothing here depends on the catalogue."""
        self.entries = entries
        allowed = [e for e in entries if not e.startswith("!")]
        denied = [e[1:] for e in entries if e.startswith("!")]
        self.has_team_models = "all-team-models" in allowed
        self._allows_all = not allowed or "*" in allowed or "all-proxy-models" in allowed
        self._exact = frozenset(e for e in allowed if e not in SENTINELS)
        self._patterns = tuple(Pattern(e) for e in allowed if is_pattern(e))
        self._denied = frozenset(e.casefold() for e in denied)
        self._denied_groups = frozenset(denied)
        self._denied_patterns = tuple(Pattern(e.casefold()) for e in denied if is_pattern(e))
        self._for: Catalogue | None = None
        self._memo: dict[str, Covered] = {}

    def cover(self, model: str, catalogue: Catalogue) -> Covered:
        """Which deployments the list grants for `model`: perhaps none of them (empty), or None.

        `all-team-models` counts as everything here: the team's own list decides then, and
        `decide` refuses it on a key without a team.
        """
        if catalogue is not self._for:
            self._for = catalogue
            self._memo = {}
        try:
            return self._memo[model]
        except KeyError:
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            covered = self._memo[model] = self._cover(model, catalogue.serving(model))
            return covered

    def grants_group(self, group: str) -> bool:
        """Whether the list grants whatever carries this group: by its name, or everything."""
        if group in self._denied_groups:
            return False
        return self._allows_all or self.has_team_models or group in self._exact

    def _cover(self, model: str, serving: tuple[Deployment, ...]) -> Covered:
        if self._denies(model, serving):
            return None
        if self._allows_all or self.has_team_models or model in self._exact:
            return serving
        if any(p.matches(model) for p in self._patterns):
            return serving
        granted = tuple(d for d in serving if not self._exact.isdisjoint(d.access_groups))
        return granted or None

    def _denies(self, model: str, serving: tuple[Deployment, ...]) -> bool:
        """Deny wins over every other entry; names and patterns are compared casefolded."""
        if not self._denied:
            return False
        folded = model.casefold()
        return (
            folded in self._denied
            or any(p.matches(folded) for p in self._denied_patterns)
            or any(not self._denied_groups.isdisjoint(d.access_groups) for d in serving)
        )
