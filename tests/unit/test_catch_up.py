"""Changes that came too early are held, within bounds, until their turn."""

import pytest

from services.policy import catch_up
from services.policy.catch_up import CatchUp
from services.policy.table import Gap, GrantTable
from shared.changes import encode_change
from tests.unit.test_table import key, log_of

CHANGES = log_of(*[(key(n, models=("m" * 100,)),) for n in range(20)])
SIZE = len(CHANGES[5].decision)


def push(held, table, *changes):
    for change in changes:
        with pytest.raises(Gap):
            held.pushed(table, encode_change(change))


@pytest.mark.parametrize(("bound", "most"), [("_HELD_BYTES", 5 * SIZE), ("_HELD_AT_MOST", 5)])
def test_what_is_held_is_bounded_in_number_and_in_bytes(monkeypatch, bound, most):
    monkeypatch.setattr(catch_up, bound, most)
    held, table = CatchUp(None, None), GrantTable()

    push(held, table, *CHANGES[1:])

    assert held.pushed(table, encode_change(CHANGES[0])) == 6
    assert table.rev == 6


def test_room_is_there_again_once_changes_were_applied(monkeypatch):
    monkeypatch.setattr(catch_up, "_HELD_BYTES", 5 * SIZE)
    held, table = CatchUp(None, None), GrantTable()
    push(held, table, *CHANGES[1:6], *CHANGES[1:6])
    assert held.pushed(table, encode_change(CHANGES[0])) == 6

    push(held, table, *CHANGES[7:12])

    assert held.pushed(table, encode_change(CHANGES[6])) == 6
