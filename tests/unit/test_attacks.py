"""The table of attacks names tests that exist."""

import ast
from pathlib import Path

from tests.attacks import SHOWN_BY

TESTS = Path(__file__).parent.parent


def test_every_test_named_for_an_attack_exists():
    there = {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = {name for names in SHOWN_BY.values() for name in names}
    assert named <= there, named - there
    assert all(SHOWN_BY.values())
