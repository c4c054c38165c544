"""The judge itself: histories that are right, and wrong ones that it must not let pass."""

import pytest

from tests.chaos.campaign import Report, Round, fallen_short
from tests.chaos.checker import check
from tests.chaos.history import History, Look, Use, Write
from tests.chaos.nemeses import NEMESES

OK, PENDING, NO, UNKNOWN = 200, 202, 404, None


def write(what, effects, begun, ended, status=OK, rev=None):
    return Write(what, effects, "gateway0", begun, ended, status, rev)


def use(begun, ended, status):
    return Use("k", "m", "gateway1", begun, ended, status)


CREATE = write("create", {"k.exists": True, "k.blocked": False, "k.team": None}, 0, 1, rev=1)
BLOCK = {"k.blocked": True}
UNBLOCK = {"k.blocked": False}


def kinds(*calls, looks=()):
    history = History(
        writes=[c for c in calls if isinstance(c, Write)],
        uses=[c for c in calls if isinstance(c, Use)],
        looks=[Look(found, 100) for found in looks],
    )
    return [violation.kind for violation in check(history)]


RIGHT = {
    "served after the create returned": (CREATE, use(1.1, 1.2, 200)),
    "either while a block is under way": (
        CREATE,
        write("block", BLOCK, 2, 4),
        use(2.5, 2.6, 200),
        use(2.5, 2.6, 401),
    ),
    "served when begun before the block returned": (
        CREATE,
        write("block", BLOCK, 2, 4),
        use(3.9, 9, 200),
    ),
    "refused after the block": (CREATE, write("block", BLOCK, 2, 4), use(4.1, 4.2, 401)),
    "nobody could say": (CREATE, write("block", BLOCK, 2, 4), use(4.1, 4.2, 503), use(1, 2, 503)),
    "served again while an unblock is under way": (
        CREATE,
        write("block", BLOCK, 2, 3),
        write("unblock", UNBLOCK, 4, 6),
        use(5, 5.1, 200),
    ),
    "a block of unknown outcome comes true late": (
        CREATE,
        write("block", BLOCK, 2, 3, UNKNOWN),
        write("unblock", UNBLOCK, 4, 5),
        use(9, 9.1, 401),
        use(9, 9.1, 200),
    ),
    "a refused block did nothing": (CREATE, write("block", BLOCK, 2, 3, NO), use(4, 5, 200)),
    "a pending block may not be in force yet": (
        CREATE,
        write("block", BLOCK, 2, 3, PENDING, 2),
        use(4, 5, 200),
        use(6, 7, 401),
    ),
}
BY_GROUP = write("create", {**CREATE.effects, "k.models": ("g",)}, 3, 4)
GROUP = write("group", {"g.models": ("m", "n")}, 1, 2)
EMPTIED = write("group edit", {"g.models": ("n",)}, 5, 6)
RIGHT |= {
    "served by a group": (GROUP, BY_GROUP, use(4.1, 4.2, 200)),
    "either while its group is edited": (
        GROUP,
        BY_GROUP,
        EMPTIED,
        use(5.1, 5.2, 200),
        use(5.1, 5.2, 403),
    ),
}
SERVED, REFUSED = "served after a revocation", "refused in spite of a grant"
WRONG = {
    "served after a block returned": (
        SERVED,
        CREATE,
        write("block", BLOCK, 2, 4),
        use(4.1, 5, 200),
    ),
    "served after a delete returned": (
        SERVED,
        CREATE,
        write("delete", {"k.exists": False}, 2, 4),
        use(4.1, 5, 200),
    ),
    "served before it was made": (SERVED, CREATE, use(-2, -1, 200)),
    "served again without an unblock": (
        SERVED,
        CREATE,
        write("block", BLOCK, 2, 3),
        write("unblock", UNBLOCK, 8, 9),
        use(4, 5, 200),
    ),
    "served though a refused unblock did nothing": (
        SERVED,
        CREATE,
        write("block", BLOCK, 2, 3),
        write("unblock", UNBLOCK, 4, 5, NO),
        use(6, 7, 200),
    ),
    "served after an unblock of before the block": (
        SERVED,
        CREATE,
        write("unblock", UNBLOCK, 2, 3),
        write("block", BLOCK, 4, 5),
        use(6, 7, 200),
    ),
    "a pending block is in force once a later write returned": (
        SERVED,
        CREATE,
        write("block", BLOCK, 2, 3, PENDING, 2),
        write("other", {"x.exists": True}, 4, 5, OK, 3),
        use(6, 7, 200),
    ),
    "served with a team that is blocked": (
        SERVED,
        CREATE,
        write("team", {"t.blocked": True, "t.models": ("m",)}, 1, 2),
        write("move", {"k.team": "t"}, 3, 4),
        use(5, 6, 200),
    ),
    "served with a team that lost the model": (
        SERVED,
        CREATE,
        write("team", {"t.blocked": False, "t.models": ("m",)}, 1, 2),
        write("move", {"k.team": "t"}, 3, 4),
        write("models", {"t.models": ("other",)}, 5, 6),
        use(7, 8, 200),
    ),
    "served by a group that lost the model": (SERVED, GROUP, BY_GROUP, EMPTIED, use(7, 8, 200)),
    "refused in spite of its group": (REFUSED, GROUP, BY_GROUP, use(4.1, 4.2, 403)),
    "refused after the create returned": (REFUSED, CREATE, use(1.1, 1.2, 401)),
    "refused after the unblock returned": (
        REFUSED,
        CREATE,
        write("block", BLOCK, 2, 3),
        write("unblock", UNBLOCK, 4, 5),
        use(6, 7, 401),
    ),
}


@pytest.mark.parametrize("calls", RIGHT.values(), ids=RIGHT.keys())
def test_a_history_that_can_be_explained_is_let_pass(calls):
    assert kinds(*calls) == []


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_a_history_that_cannot_is_reported(case):
    kind, *calls = case
    assert kinds(*calls) == [kind]


@pytest.mark.parametrize(
    ("status", "found", "is_lost"),
    [
        (OK, True, False),
        (OK, False, True),
        (PENDING, True, False),
        (PENDING, False, True),
        (UNKNOWN, True, False),
        (UNKNOWN, False, False),
        (NO, True, True),
        (NO, False, False),
    ],
)
def test_what_was_acknowledged_must_be_there_in_the_end(status, found, is_lost):
    block = write("block", BLOCK, 2, 3, status)
    lost = kinds(CREATE, block, looks=[{"k.blocked": found}])
    assert lost == (["lost change"] if is_lost else [])


def test_an_answer_that_is_not_documented_is_reported():
    history = History()
    history.undocumented.append("chat: 500 {}")
    assert [violation.kind for violation in check(history)] == ["undocumented answer"]


def test_a_nemesis_that_had_too_few_rounds_is_named():
    once, never = NEMESES[:2]
    report = Report(1, History(), rounds=[Round(once, 0, 1, 2), Round(never, 3)])
    asked = [once.name, never.name]

    assert fallen_short(report, [once.name], 1) == []
    assert f"{never.name}: 0 of 1 rounds" in fallen_short(report, asked, 1)
    assert len(fallen_short(report, None, 2)) == len(NEMESES)
