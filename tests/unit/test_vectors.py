"""Every published access case, through the decision function itself."""

import json
from pathlib import Path

import pytest

from services.policy.decide import decide
from services.policy.listing import list_models
from services.policy.table import GrantTable
from shared.catalogue import Deployment
from shared.changes import GENESIS, Change, KeyGrant, TeamGrant, encode_mutations, hash_rest, link
from shared.decisions import Allow, ListQuestion, Question

VECTORS = Path(__file__).parent.parent / "vectors"
DIGEST = bytes(range(32))
ROUTE = "/v1/chat/completions"


def load(name):
    document = json.loads((VECTORS / name).read_text())
    return [
        pytest.param(document["catalogues"][case["catalogue"]], case, id=f"{name}-{number}")
        for number, case in enumerate(document["cases"])
    ]


CASES = load("decisions.json") + load("deny-entries.json")


def table_of(entries, case):
    table = GrantTable()
    mutations = [
        Deployment(
            id=entry["litellm_params"]["model"],
            name=entry["model_name"],
            access_groups=tuple(entry.get("model_info", {}).get("access_groups", ())),
            position=position,
        )
        for position, entry in enumerate(entries)
    ]
    team, key = case["team"], case["key"]
    if team:
        mutations.append(
            TeamGrant(
                id=team["team_id"],
                alias=team["team_alias"],
                models=tuple(team["models"]),
                model_aliases=team.get("model_aliases", {}),
            )
        )
    mutations.append(
        KeyGrant(
            id=DIGEST,
            models=tuple(key["models"]),
            team_id=key.get("team_id"),
            aliases=key.get("aliases", {}),
        )
    )
    decision = encode_mutations(tuple(mutations))
    rest = hash_rest(b"")
    chain = link(GENESIS, 1, decision, rest)
    assert table.apply(Change(rev=1, chain=chain, decision=decision, rest_hash=rest))
    return table


@pytest.mark.parametrize(("entries", "case"), CASES)
def test_decides_as_published(entries, case):
    table = table_of(entries, case)

    answer = decide(table, Question(DIGEST, case["model"], ROUTE), 0.0)

    expected = case["expect"]
    if expected["allow"]:
        assert isinstance(answer, Allow)
        assert sorted(answer.deployments) == sorted(expected["upstream_models"])
    else:
        assert answer.reason == expected["reason"]


@pytest.mark.parametrize(("entries", "case"), CASES)
def test_listing_equals_enforcement(entries, case):
    table = table_of(entries, case)
    listed = list_models(table, ListQuestion(DIGEST, "/v1/models"), 0.0).models

    for name in {entry["model_name"] for entry in entries}:
        if "*" not in name:
            allowed = isinstance(decide(table, Question(DIGEST, name, ROUTE), 0.0), Allow)
            assert allowed == (name in listed)
        elif name not in listed:
            for instance in instances(name, entries):
                answer = decide(table, Question(DIGEST, instance, ROUTE), 0.0)
                served = table.catalogue.serving(instance)
                if served and served[0].name == name:
                    assert not isinstance(answer, Allow), instance


def instances(pattern, entries):
    """Names of a pattern: plain ones, and ones made of other entries' words."""
    words = ["", "a", "mini", "o1-mini", "x-large", "gpt-4", "two", "o1-pro", "-large"]
    words += [entry["model_name"].rsplit("/", 1)[-1].replace("*", "z") for entry in entries]
    return [pattern.replace("*", word) for word in words]
