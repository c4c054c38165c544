"""Whether a list allows no more than another: what a maker of keys may put into one.

Judged on the lists and the catalogue as they are; what cannot be shown to be within is not.
"""

from collections.abc import Sequence

from services.keys.state import State
from shared.catalogue import Catalogue, Deployment
from shared.patterns import Pattern, generic_instance, intersect, is_pattern

_EVERYTHING = frozenset({"*", "all-proxy-models"})
_NOTHING_OF_THEIR_OWN = frozenset({"no-default-models", "all-team-models"})
NO_LIST = ""
"""Stands for the entry at fault when it is that there is none: an empty list allows everything."""


def effective(state: State, models: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """A list with what its unified groups add; groups alone are all it allows."""
    added = [
        entry
        for group in groups
        if group in state.groups
        for entry in state.groups[group].grant.models
    ]
    entries = tuple(dict.fromkeys((*models, *added)))
    if groups and not names_something(entries):
        entries = (*entries, "no-default-models")
    return entries


def names_something(entries: Sequence[str]) -> bool:
    """Whether a list says what is allowed; an empty one, or denials alone, do not."""
    return any(not entry.startswith("!") for entry in entries)


def still_restricted(
    models: tuple[str, ...], before: tuple[str, ...], after: tuple[str, ...]
) -> tuple[str, ...]:
    """The list that goes with fewer groups: to lose the last one never opens everything."""
    if before and not after and not names_something(models):
        return ("no-default-models", *models)
    return models


def excess(catalogue: Catalogue, wanted: Sequence[str], limit: Sequence[str]) -> str | None:
    """The first entry of `wanted` that allows something `limit` does not; None: there is none.

    NO_LIST when `wanted` names nothing and so allows everything. `all-team-models` in either
    must have been replaced by the team's list where there is a team.
    """
    allowed = [e for e in limit if not e.startswith("!")]
    denied = [e[1:] for e in limit if e.startswith("!") and e not in wanted]
    is_open = not allowed or not _EVERYTHING.isdisjoint(allowed)
    if is_open and not denied:
        return None
    if not names_something(wanted):
        return NO_LIST
    for entry in wanted:
        if entry.startswith("!") or entry in _NOTHING_OF_THEIR_OWN:
            continue
        if entry in _EVERYTHING:
            return entry
        if not is_open and not _is_within(catalogue, entry, allowed):
            return entry
        if any(_may_meet(catalogue, entry, no) for no in denied):
            return entry
    return None


def _is_within(catalogue: Catalogue, entry: str, allowed: Sequence[str]) -> bool:
    if entry in allowed:
        return True
    patterns = [Pattern(e) for e in allowed if is_pattern(e)]

    def granted(deployment: Deployment) -> bool:
        return deployment.name in allowed or any(
            p.matches(generic_instance(deployment.name)) for p in patterns
        )

    carriers = [d for d in catalogue.deployments if entry in d.access_groups]
    if not all(granted(d) or _shares_group(d, allowed) for d in carriers):
        return False
    if any(p.matches(generic_instance(entry)) for p in patterns):
        return True
    serving = _may_serve(catalogue, entry)
    if not serving:
        # A group and nothing else: its deployments have been looked at.
        return bool(carriers)
    return all(_shares_group(d, allowed) for d in serving)


def _shares_group(deployment: Deployment, allowed: Sequence[str]) -> bool:
    return not frozenset(deployment.access_groups).isdisjoint(allowed)


def _may_serve(catalogue: Catalogue, entry: str) -> Sequence[Deployment]:
    """Every deployment that could get a request because of this name or pattern."""
    if not is_pattern(entry):
        return catalogue.serving(entry)
    return [d for d in catalogue.deployments if intersect(entry, d.name)]


def _may_meet(catalogue: Catalogue, entry: str, denied: str) -> bool:
    """Whether an entry could allow a name that a denial takes away."""
    reached = [d for d in catalogue.deployments if entry in d.access_groups]
    if intersect(entry.casefold(), denied.casefold()):
        return True
    if any(intersect(d.name.casefold(), denied.casefold()) for d in reached):
        return True
    return any(denied in d.access_groups for d in (*reached, *_may_serve(catalogue, entry)))
