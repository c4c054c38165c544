"""The published access cases, with half of each catalogue and half of the groups made over HTTP."""

import json

import pytest
import yaml

from tests.e2e.stack import MASTER_KEY, running
from tests.e2e.test_vectors import (  # noqa: F401 - the same cases, over another catalogue
    VECTORS,
    keys,
    test_requests_are_decided_as_published_and_reach_the_right_upstream,
)

MASTER = {"Authorization": f"Bearer {MASTER_KEY}"}
UPSTREAM = "os.environ/GRANTGATE_DEMO_UPSTREAM"


def with_ids(catalogue, name):
    """The entries with ids; of the first half's groups, every other one apart."""
    entries = json.loads(json.dumps(catalogue).replace('"UPSTREAM"', json.dumps(UPSTREAM)))
    later = {}
    for number, entry in enumerate(entries):
        info = entry.setdefault("model_info", {})
        info["id"] = f"{name}-{number}"
        groups = info.get("access_groups", [])
        info["access_groups"] = groups[number % 2 :]
        for group in groups[: number % 2]:
            later.setdefault(group, []).append(info["id"])
    return entries, later


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors-at-run-time")
    declared, stored, groups = [], [], {}
    for name, catalogue in VECTORS["catalogues"].items():
        entries, later = with_ids(catalogue, name)
        # The first half is declared, so that the order of declaration stays what it was.
        declared += entries[: len(entries) // 2]
        stored += entries[len(entries) // 2 :]
        for group, ids in later.items():
            groups.setdefault(group, []).extend(ids)
    assert declared
    assert stored
    assert groups
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"model_list": declared}))
    with running(folder, config=config) as up:
        for entry in stored:
            up.manage("/model/new", entry)
        rows = up.manage("/access_group/list")["access_groups"]
        existing = {row["access_group"]: row for row in rows}
        for group, ids in groups.items():
            if group in existing:
                body = {"model_ids": [*existing[group]["model_ids"], *ids]}
                answer = up.http.put(f"/access_group/{group}/update", json=body, headers=MASTER)
                assert answer.status_code == 200, answer.text
            else:
                up.manage("/access_group/new", {"access_group": group, "model_ids": ids})
        yield up
