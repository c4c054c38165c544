"""Which names a key may call: the same decision, asked about every listable name."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

from services.policy.coverage import GrantList
from services.policy.decide import decide, decide_in_team, key_of, lists_of
from services.policy.table import GrantTable
from shared.decisions import (
    MASTER,
    Allow,
    Deny,
    DenyReason,
    Listing,
    ListOptions,
    ListQuestion,
    More,
    Question,
)
from shared.patterns import generic_instance, intersect, is_pattern


class _Asker(NamedTuple):
    """For whom a list is made: the decision on a name, and every list that binds it."""

    judge: Callable[[str], Allow | Deny]
    lists: list[GrantList]


def list_models(table: GrantTable, question: ListQuestion, now: float) -> Listing | Deny:
    """The exact names that would be allowed, and each wildcard pattern of which some name would.

    A pattern is judged by witnesses: the most generic names it shares with what the key's and
    the team's lists allow. Each witness goes through `decide`, so listing and enforcement
    cannot differ; an offered name goes through it as it is. Raises decide.NotKnown.
    """
    account = decide(table, question, now)
    if isinstance(account, Deny):
        return account
    options = question.options
    team = None if options is None else options.team
    if team is None:
        asker = _key_asker(table, question, now)
    else:
        entry = table.team(team)
        if entry is None or (question.key != MASTER and account.team != team):
            return Deny(table.rev, DenyReason.TEAM_NOT_VISIBLE, team=team)
        lists = [table.with_groups(entry.grants, entry.groups)]
        asker = _Asker(partial(decide_in_team, table, entry), lists)
    if options is None:
        names = table.catalogue.names
        models = tuple(name for name in names if next(_allows(table, asker, name), None))
        return Listing(table.rev, models, retires_at=account.retires_at)
    return _list_more(table, asker, options, account.retires_at)


def _key_asker(table: GrantTable, question: ListQuestion, now: float) -> _Asker:
    def judge(name: str) -> Allow | Deny:
        return decide(table, Question(question.key, name, question.route), now)

    key = None if question.key == MASTER else key_of(table, question.key)
    if key is None:
        return _Asker(judge, [])
    team = None if key.team_id is None else table.team(key.team_id)
    return _Asker(judge, lists_of(table, key, team))


def _list_more(
    table: GrantTable, asker: _Asker, options: ListOptions, retires_at: float | None
) -> Listing:
    """The list with everything `More` holds: no witness is left out."""
    if options.offered is not None:
        found = (
            name
            for ref, names in options.offered.items()
            for name in names
            if isinstance(answer := asker.judge(name), Allow) and ref in answer.deployments
        )
        return Listing(table.rev, tuple(dict.fromkeys(found)), More(), retires_at)
    refs = {
        name: dict.fromkeys(r for allow in _allows(table, asker, name) for r in allow.deployments)
        for name in table.catalogue.names
    }
    models = tuple(name for name, allowed in refs.items() if allowed)
    by_ref = {deployment.ref: deployment for deployment in table.catalogue.deployments}
    # An alias may lead away from a pattern: then what is called is none of its deployments.
    patterns = {
        name: tuple(ref for ref in refs[name] if by_ref[ref].name == name)
        for name in models
        if is_pattern(name)
    }
    callable_groups = {
        group for name in models for ref in refs[name] for group in by_ref[ref].access_groups
    }
    declared = dict.fromkeys(g for d in table.catalogue.deployments for g in d.access_groups)
    groups = tuple(
        group
        for group in declared
        if group in callable_groups and all(each.grants_group(group) for each in asker.lists)
    )
    return Listing(table.rev, models, More(groups, patterns), retires_at)


def _allows(table: GrantTable, asker: _Asker, name: str) -> Iterator[Allow]:
    """The permissions for a declared name, or for the witnesses that its pattern serves."""
    for witness in _witnesses(asker.lists, name):
        serving = table.catalogue.serving(witness)
        if serving and serving[0].name == name:
            answer = asker.judge(witness)
            if isinstance(answer, Allow):
                yield answer


def _witnesses(lists: list[GrantList], name: str) -> list[str]:
    if not is_pattern(name):
        return [name]
    shared = {name}
    for grants in lists:
        shared |= {
            common
            for entry, wider in product(_allowing(grants.entries), tuple(shared))
            for common in intersect(wider, entry)
        }
    return [generic_instance(pattern) for pattern in sorted(shared, key=len)]


def _allowing(entries: tuple[str, ...]) -> list[str]:
    return [e for e in entries if not e.startswith("!")]
