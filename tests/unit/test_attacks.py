"""The table of attacks has every row, and names what exists."""

import ast
from pathlib import Path

from tests.attacks import BESIDES, NOT_SHOWN, ROWS
from tests.chaos.nemeses import NEMESES

ROOT = Path(__file__).parents[2]
LAST_ROW = 72


def existing():
    """Every name that may stand in the table."""
    tests = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    nemeses = {f"chaos: {nemesis.name}" for nemesis in NEMESES}
    benchmarks = {f"benchmark: {path.stem}" for path in (ROOT / "benchmarks").glob("*.py")}
    return tests | nemeses | benchmarks


def test_every_row_of_the_matrix_is_shown_somewhere():
    assert list(ROWS) == list(range(1, LAST_ROW + 1))
    assert all(names for _, names in ROWS.values())
    assert NOT_SHOWN.keys() <= ROWS.keys()


def test_every_test_named_for_an_attack_exists():
    named = {name for _, names in ROWS.values() for name in names}
    named |= {name for names in BESIDES.values() for name in names}
    there = existing()
    assert named <= there, named - there


def test_a_test_that_carries_a_rows_number_is_in_that_row():
    for name in existing():
        if name.startswith("test_row_"):
            number = int(name.split("_")[2])
            assert name in ROWS[number][1], f"{name} is not named in row {number}"
