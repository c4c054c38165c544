"""What a decision takes and does tells nobody whether a key ever was one."""

import ast
import os
import sys
import time
from pathlib import Path

from services.policy.decide import decide
from services.policy.table import GrantTable
from shared.changes import KeyGrant, Tombstone
from shared.decisions import Deny, DenyReason, Question
from tests.unit.test_table import ROUTE, log_of

ROOT = Path(__file__).parents[2]
KEYS = [os.urandom(32) for _ in range(1000)]
REVOKED, KEPT = KEYS[:500], KEYS[500:]
UNKNOWN = [os.urandom(32) for _ in REVOKED]
SAMPLES = 10_000


def table():
    """A table that knows half of its keys no more."""
    made = GrantTable()
    grants = tuple(KeyGrant(id=each, models=("m",)) for each in KEYS)
    for change in log_of(grants, tuple(Tombstone(of="key", id=each) for each in REVOKED)):
        assert made.apply(change)
    return made


def asked(digest):
    return Question(key=digest, model="m", route=ROUTE)


def path_of(made, digest):
    """Every line that the decision runs through."""
    lines = []

    def watch(frame, event, _arg):
        if event == "line":
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        return watch

    question = asked(digest)
    sys.settrace(watch)
    try:
        decide(made, question, 0.0)
    finally:
        sys.settrace(None)
    return lines


def test_row_68_unknown_and_revoked_keys_are_told_the_same_by_the_same_lines():
    made = table()
    refusal = Deny(2, DenyReason.KEY_UNKNOWN)
    assert {decide(made, asked(each), 0.0) for each in (*UNKNOWN, *REVOKED)} == {refusal}
    path = path_of(made, UNKNOWN[0])
    assert path
    assert path_of(made, REVOKED[0]) == path
    assert path_of(made, KEPT[0]) != path


def test_row_68_unknown_and_revoked_keys_take_the_same_time():
    made = table()
    took = {"unknown": [], "revoked": []}
    for number in range(SAMPLES):
        for name, keys in (("unknown", UNKNOWN), ("revoked", REVOKED)):
            question = asked(keys[number % len(keys)])
            before = time.perf_counter_ns()
            decide(made, question, 0.0)
            took[name].append(time.perf_counter_ns() - before)
    unknown, revoked = (sorted(times)[SAMPLES // 2] for times in took.values())
    assert 2 / 3 < unknown / revoked < 3 / 2, (unknown, revoked)


def test_row_68_no_secret_is_compared_as_text_where_keys_are_decided_on():
    """What a key is compared by is its digest; what a token is compared by, a constant time."""
    rooms = [ROOT / "services" / "policy", ROOT / "services" / "gateway", ROOT / "shared"]
    for path in (path for room in rooms for path in room.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                called = {
                    call.func.attr
                    for call in ast.walk(node)
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
                }
                assert "reveal" not in called, f"{path}:{node.lineno}"
