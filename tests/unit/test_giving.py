"""What is found to be within a list never allows more than the list does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.keys.giving import NO_LIST, effective, excess
from services.keys.records import GroupDetails, GroupRecord
from services.keys.state import State
from services.policy.coverage import GrantList
from shared.catalogue import Catalogue, Deployment
from shared.changes import GroupGrant

CATALOGUE = Catalogue(
    [
        Deployment(id="1", name="gpt-4", access_groups=("beta",), position=1),
        Deployment(id="2", name="gpt-4o", access_groups=("beta", "new"), position=2),
        Deployment(id="3", name="gpt-4o", access_groups=("new",), position=3),
        Deployment(id="4", name="openai/*", access_groups=("default",), position=4),
        Deployment(id="5", name="openai/o1-*", access_groups=("restricted",), position=5),
    ]
)


@pytest.mark.parametrize(
    ("wanted", "limit", "at_fault"),
    [
        (["gpt-4"], ["gpt-4"], None),
        (["gpt-4"], [], None),
        ([], [], None),
        ([], ["*"], None),
        ([], ["gpt-4"], NO_LIST),
        (["!gpt-4"], ["gpt-4"], NO_LIST),
        (["*"], ["gpt-4"], "*"),
        (["all-proxy-models"], ["openai/*"], "all-proxy-models"),
        (["no-default-models"], ["gpt-4"], None),
        (["gpt-4", "gpt-4o"], ["gpt-4"], "gpt-4o"),
        (["gpt-4"], ["beta"], None),
        (["gpt-4o"], ["beta"], "gpt-4o"),
        (["gpt-4o"], ["new"], None),
        (["beta"], ["gpt-4"], "beta"),
        (["beta"], ["gpt-4", "gpt-4o"], None),
        (["beta"], ["gpt-*"], None),
        (["openai/gpt-4"], ["openai/*"], None),
        (["openai/o1-*"], ["openai/*"], None),
        (["openai/*"], ["openai/o1-*"], "openai/*"),
        (["openai/*"], ["default"], "openai/*"),
        (["openai/*"], ["default", "restricted"], None),
        (["openai/gpt-4"], ["default"], None),
        (["openai/o1-mini"], ["default"], "openai/o1-mini"),
        (["unheard-of"], ["beta"], "unheard-of"),
        (["openai/*"], ["*", "!openai/o1-*"], "openai/*"),
        (["openai/*", "!openai/o1-*"], ["*", "!openai/o1-*"], None),
        (["openai/gpt-4"], ["*", "!openai/o1-*"], None),
        (["OPENAI/o1-x"], ["*", "!openai/o1-*"], "OPENAI/o1-x"),
        (["beta"], ["*", "!gpt-4"], "beta"),
        (["gpt-4"], ["*", "!beta"], "gpt-4"),
        ([], ["!beta"], NO_LIST),
        (["!beta"], ["!beta"], None),
    ],
)
def test_the_entry_that_allows_more_is_named(wanted, limit, at_fault):
    assert excess(CATALOGUE, wanted, limit) == at_fault


names = st.sampled_from(["a", "ab", "a/b", "a/bc", "b", "A/b", "a/a/b"])
patterns = st.sampled_from(["*", "a*", "a/*", "a/b*", "*b", "*/b*", "b*"])
groups = st.sampled_from(["g", "h", "a", "ab"])
plain = st.one_of(names, patterns, groups, st.sampled_from(["all-proxy-models"]))
denials = st.one_of(names, patterns, groups).map("!{}".format)
lists = st.lists(st.one_of(plain, plain, denials, st.just("no-default-models")), max_size=4)
deployments = st.lists(
    st.tuples(st.one_of(names, patterns), st.lists(groups, max_size=2)), min_size=1, max_size=5
)


@settings(max_examples=300)
@given(deployments, lists, lists)
def test_nothing_within_a_list_reaches_a_deployment_the_list_does_not(found, wanted, limit):
    catalogue = Catalogue(
        Deployment(id=str(n), name=name, access_groups=tuple(tags), position=n)
        for n, (name, tags) in enumerate(found)
    )
    if excess(catalogue, wanted, limit) is not None:
        return
    given_list, maker = GrantList(tuple(wanted)), GrantList(tuple(limit))
    for name in ["a", "ab", "a/b", "a/bc", "b", "A/b", "a/a/b", "x", "a/x", "xb", "a/bx", "bx"]:
        reached = given_list.cover(name, catalogue) or ()
        assert set(reached) <= set(maker.cover(name, catalogue) or ()), name


def test_groups_alone_are_all_of_a_list():
    state = State()
    details = GroupDetails(created_at=0, updated_at=0, created_by="x", updated_by="x", name="g")
    state.fold(1, [GroupRecord(grant=GroupGrant(id="g", models=("a", "b")), details=details)])
    assert effective(state, (), ()) == ()
    assert effective(state, (), ("g",)) == ("a", "b")
    assert effective(state, ("b", "c"), ("g",)) == ("b", "c", "a")
    assert effective(state, (), ("gone",)) == ("no-default-models",)
    assert effective(state, ("!a",), ("gone",)) == ("!a", "no-default-models")
