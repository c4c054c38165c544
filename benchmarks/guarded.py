"""`python -m benchmarks.guarded TIMES`: decisions, for the guard to count instructions of.

It imports little, and does the same in every run.
"""

import sys

from services.policy.decide import decide
from services.policy.table import GrantTable
from shared.catalogue import Deployment
from shared.changes import (
    GENESIS,
    Change,
    KeyGrant,
    TeamGrant,
    decode_change,
    encode_change,
    encode_mutations,
    hash_rest,
    link,
)
from shared.decisions import Question

_KEYS = 64
_NOW = 1_700_000_000.0


def _table() -> GrantTable:
    served = [Deployment(id=f"d{n}", name=f"model-{n}", position=n) for n in range(10)]
    team = TeamGrant(id="team", alias="Team", models=("model-1", "model-2"))
    keys = [
        KeyGrant(id=bytes([n]) * 32, models=("model-1", f"model-{n % 7}"), team_id="team")
        for n in range(_KEYS)
    ]
    decision, rest_hash = encode_mutations((*served, team, *keys)), hash_rest(b"")
    chain = link(GENESIS, 1, decision, rest_hash)
    table = GrantTable()
    change = Change(rev=1, chain=chain, decision=decision, rest_hash=rest_hash)
    table.apply(decode_change(encode_change(change)))
    return table


def main() -> None:
    """Decide an allowed, a refused and a stranger's question, TIMES each."""
    table = _table()
    questions = [
        Question(bytes([key]) * 32, model, "/v1/chat/completions")
        for key, model in ((1, "model-1"), (1, "model-9"), (255, "model-1"))
    ]
    for _ in range(int(sys.argv[1])):
        for question in questions:
            decide(table, question, _NOW)


if __name__ == "__main__":
    main()
