"""Which names a key may call: the same decision, asked about every listable name."""

from itertools import product

from services.policy.decide import decide, key_of, lists_of
from services.policy.table import GrantTable
from shared.decisions import MASTER, Allow, Deny, Listing, ListQuestion, Question
from shared.patterns import generic_instance, intersect, is_pattern


def list_models(table: GrantTable, question: ListQuestion, now: float) -> Listing | Deny:
    """The exact names that would be allowed, and each wildcard pattern of which some name would.

    A pattern is judged by witnesses: the most generic names it shares with what the key's and
    the team's lists allow. Each witness goes through `decide`, so listing and enforcement
    cannot differ. Raises decide.NotKnown.
    """
    account = decide(table, question, now)
    if isinstance(account, Deny):
        return account
    return Listing(
        table.rev,
        tuple(
            name
            for name in table.catalogue.names
            if any(
                _is_allowed(table, question, witness, name, now)
                for witness in _witnesses(table, question.key, name)
            )
        ),
    )


def _is_allowed(
    table: GrantTable, question: ListQuestion, witness: str, name: str, now: float
) -> bool:
    serving = table.catalogue.serving(witness)
    if not serving or serving[0].name != name:
        return False
    asked = Question(question.key, witness, question.route)
    return isinstance(decide(table, asked, now), Allow)


def _witnesses(table: GrantTable, digest: bytes, name: str) -> list[str]:
    if not is_pattern(name):
        return [name]
    lists = []
    key = None if digest == MASTER else key_of(table, digest)
    if key is not None:
        team = None if key.team_id is None else table.team(key.team_id)
        lists = [_allowing(grants.entries) for grants in lists_of(table, key, team)]
    shared = {name}
    for entries in lists:
        shared |= {
            common
            for entry, wider in product(entries, tuple(shared))
            for common in intersect(wider, entry)
        }
    return [generic_instance(pattern) for pattern in sorted(shared, key=len)]


def _allowing(entries: tuple[str, ...]) -> list[str]:
    return [e for e in entries if not e.startswith("!")]
