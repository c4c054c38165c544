"""Every published access case over HTTP: one combined catalogue, keys and teams by the API."""

import hashlib
import json
import os
from itertools import product
from pathlib import Path

import pytest
import yaml

from shared.patterns import intersect
from tests.e2e.stack import running

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "decisions.json").read_text())
TRIES = 20
FULL = bool(os.environ.get("GRANTGATE_TEST_FULL"))
"""Listing is compared for every case, not for every sixth."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    entries = json.loads(
        json.dumps([e for catalogue in VECTORS["catalogues"].values() for e in catalogue]).replace(
            '"UPSTREAM"', '"os.environ/GRANTGATE_DEMO_UPSTREAM"'
        )
    )
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"model_list": entries}))
    with running(folder, config=config) as up:
        yield up


@pytest.fixture(scope="module")
def keys(stack):
    """A key for each case, by number."""
    made = []
    known_teams = set()
    for case in VECTORS["cases"]:
        team = case["team"]
        if team and team["team_id"] not in known_teams:
            stack.manage("/team/new", team)
            known_teams.add(team["team_id"])
        made.append(stack.manage("/key/generate", case["key"])["key"])
    return made


def test_requests_are_decided_as_published_and_reach_the_right_upstream(stack, keys):
    wrong = []
    for number, (case, key) in enumerate(zip(VECTORS["cases"], keys, strict=True)):
        expected = case["expect"]
        seen = set()
        for _ in range(max(1, 2 * len(expected["upstream_models"]))):
            answer = stack.chat(key, case["model"])
            if answer.status_code == 200:
                demo = answer.json()["grantgate_demo"]
                seen.add("openai/" + demo["model"])
                credential = "k" + demo["model"].removeprefix("up-")
                assert demo["credential"] == hashlib.sha256(credential.encode()).hexdigest()[:12]
            elif answer.headers.get("x-grantgate-reason") != expected["reason"]:
                wrong.append((number, answer.status_code, answer.text))
        if seen != set(expected["upstream_models"]):
            wrong.append((number, seen, expected))
    assert not wrong


def test_listing_equals_enforcement(stack, keys):
    wrong = []
    for number in range(0, len(keys), 1 if FULL else 6):
        case, key = VECTORS["cases"][number], keys[number]
        listed = {model["id"] for model in stack.call("/v1/models", key=key).json()["data"]}
        for name in sorted({e["model_name"] for e in VECTORS["catalogues"][case["catalogue"]]}):
            if "*" not in name:
                allowed = stack.chat(key, name).status_code == 200
            else:
                allowed = any(is_served_by(stack, key, n, name) for n in instances(name, case))
            if allowed != (name in listed):
                wrong.append((number, name, allowed))
    assert not wrong


def instances(pattern, case):
    """Names of a pattern: twenty of ordinary words, and what it shares with the case's lists."""
    names = [e["model_name"] for e in VECTORS["catalogues"][case["catalogue"]]]
    words = ["zz", "", "a", "mini", "o1-mini", "x-large", "gpt-4", "two", "o1-pro", "one", "three"]
    words += [name.rsplit("/", 1)[-1].replace("*", "q") for name in sorted(names)]
    entries = case["key"]["models"] + ((case["team"] or {}).get("models") or [])
    shared = [
        both.replace("*", "zz")
        for one, other in product([pattern, *entries], repeat=2)
        for common in intersect(pattern, one)
        for both in intersect(common, other)
    ]
    found = [pattern.replace("*", word) for word in words[:TRIES]] + sorted(set(shared))
    return [name for name in dict.fromkeys(found) if name not in names]


def is_served_by(stack, key, name, pattern):
    """Whether the key may call `name` and one of the pattern's own deployments answers."""
    answer = stack.chat(key, name)
    upstreams = {
        entry["litellm_params"]["model"].removeprefix("openai/")
        for catalogue in VECTORS["catalogues"].values()
        for entry in catalogue
        if entry["model_name"] == pattern
    }
    return answer.status_code == 200 and answer.json()["grantgate_demo"]["model"] in upstreams
