"""Which deployments serve a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue import Catalogue, Deployment, entry_problem
from shared.credentials import mint

MINTED = mint(lambda alphabet: alphabet[0]).reveal()


def catalogue(*names, groups=None):
    groups = groups or {}
    return Catalogue(
        Deployment(
            id=f"{position}:{name}",
            name=name,
            access_groups=groups.get(name, ()),
            position=position,
        )
        for position, name in enumerate(names)
    )


def serving(names, asked):
    found = catalogue(*names).serving(asked)
    return found[0].name if found else None


@pytest.mark.parametrize(
    ("names", "asked", "served_by"),
    [
        (["openai/*", "openai/o1-*"], "openai/o1-mini", "openai/o1-*"),
        (["openai/o1-*", "openai/*"], "openai/o1-mini", "openai/o1-*"),
        (["openai/*", "openai/o1-*"], "openai/o1", "openai/*"),
        (["openai/*", "openai/o1-*"], "openai/O1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/openai/o1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/OpenAI/o1-mini", None),
        (["openai/*", "openai/o1-*"], "OPENAI/o1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/ o1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/\u00a0o1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/\u200bo1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/o\u00ad1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/\uff4f1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/./o1-mini", None),
        (["openai/*", "openai/o1-*"], "openai/..", None),
        (["openai/*", "openai/my model"], "openai/my model", "openai/my model"),
        (["openai/*", "openai/gpt-4"], "openai/gpt-4.1..x", "openai/*"),
        (["openai/*", "openai/gpt-4"], "openai/mod\u00e8le", "openai/*"),
        (["openai/*", "openai/gpt-4"], "openai/gpt-4", "openai/gpt-4"),
        (["openai/*", "openai/gpt-4"], "openai/GPT-4", None),
        (["a*", "*b"], "ab", "a*"),
        (["*b", "a*"], "ab", "*b"),
        (["a*b", "a*"], "ab", "a*b"),
        (["*"], "anything/at-all", "*"),
        (["gpt-4"], "gpt-4 ", None),
        (["g-t-*", "g-t*45"], "g-t-45", "g-t*45"),
    ],
)
def test_one_pattern_serves_a_name_and_no_spelling_slips_past_it(names, asked, served_by):
    assert serving(names, asked) == served_by


@given(st.permutations(["openai/*", "openai/o1-*", "openai/o1-mini", "*"]))
def test_the_order_of_declaration_does_not_matter_between_different_specificities(order):
    assert serving(order, "openai/o1-mini") == "openai/o1-mini"
    assert serving(order, "openai/o1-pro") == "openai/o1-*"
    assert serving(order, "openai/gpt-4") == "openai/*"
    assert serving(order, "x") == "*"


def test_several_deployments_of_one_name_serve_it_together():
    shared = Catalogue([Deployment(id="1", name="m"), Deployment(id="2", name="m", position=1)])
    assert [d.id for d in shared.serving("m")] == ["1", "2"]


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        ("gpt-4", True),
        ("beta", True),
        ("!beta", True),
        ("openai/gpt-4", True),
        ("openai/*", True),
        ("openai/gpt-*", True),
        ("*", True),
        ("all-team-models", True),
        ("gpt-5", False),
        ("mistral/*", False),
        ("GPT-4", False),
    ],
)
def test_an_entry_is_known_when_it_can_stand_for_something(entry, known):
    groups = {"gpt-4": ("beta",)}
    assert catalogue("gpt-4", "openai/*", groups=groups).knows(entry) == known


@pytest.mark.parametrize(
    "entry",
    ["", "!", "!!x", " a", "a ", "! a", "a\nb", "a\x00", "x" * 257, "!all-team-models", MINTED],
)
def test_a_bad_entry_is_named(entry):
    assert entry_problem(entry)


@pytest.mark.parametrize("entry", ["a", "!a", "*", "a*b", "!a*", "é", "all-team-models", "a(b*"])
def test_a_good_entry_is_accepted(entry):
    assert entry_problem(entry) is None
