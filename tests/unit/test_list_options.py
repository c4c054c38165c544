"""What a model list can be asked beside a key's names: a team's, its groups, offered names."""

import msgspec
import pytest

from services.policy.decide import NotKnown, decide
from services.policy.listing import list_models
from shared.catalogue import Deployment
from shared.changes import GroupGrant, RetiredKey, TeamGrant
from shared.decisions import (
    MASTER,
    Allow,
    Deny,
    DenyReason,
    Listing,
    ListOptions,
    ListQuestion,
    More,
    Question,
    decode_answers,
    decode_asks,
    encode_answers,
    encode_asks,
    is_answer,
)
from tests.unit.test_every_list import DIGEST, OLD, ROUTE, extend, key, table_of


def listed(table, key=DIGEST, now=0.0, **options):
    question = ListQuestion(key, "/v1/models", 0, ListOptions(**options))
    return list_models(table, question, now)


TEAM = TeamGrant(id="t", models=("a", "g2"), groups=("u",), model_aliases={"x": "a"})
UNIFIED = GroupGrant(id="u", models=("p/*",))


def test_a_teams_list_is_what_its_keys_without_a_list_may_call():
    table = table_of(key(team_id="t", models=("a",)), TEAM, UNIFIED)
    assert listed(table, team="t").models == ("a", "b", "both", "p/*")
    assert listed(table, MASTER, team="t") == listed(table, team="t")
    assert listed(table).models == ("a",)
    plain = extend(table, key(team_id="t"))
    names = ("a", "b", "both", "p/x", "other")
    team = {n for n in names if isinstance(decide(plain, Question(DIGEST, n, ROUTE), 0.0), Allow)}
    assert team == {"a", "b", "both", "p/x"}


@pytest.mark.parametrize("team", ["t2", "nobody", "T", ""])
def test_another_teams_list_is_refused_as_one_that_is_not_there(team):
    table = table_of(key(team_id="t"), TEAM, TeamGrant(id="t2"))
    assert listed(table, team=team) == Deny(table.rev, DenyReason.TEAM_NOT_VISIBLE, team=team)
    alone = table_of(key(), TEAM, TeamGrant(id="t2"))
    assert listed(alone, team=team).reason is DenyReason.TEAM_NOT_VISIBLE
    if team != "t2":
        assert listed(table, MASTER, team=team).reason is DenyReason.TEAM_NOT_VISIBLE


def test_a_blocked_team_lists_nothing_and_a_blocked_key_is_told_so():
    table = table_of(TeamGrant(id="t", blocked=True))
    assert listed(table, MASTER, team="t").models == ()
    table = table_of(key(team_id="t", blocked=True), TEAM)
    assert listed(table, team="t").reason is DenyReason.KEY_BLOCKED


@pytest.mark.parametrize("kind", ["team", "group"])
def test_a_team_that_is_not_readable_is_not_guessed_about(kind):
    record = {"team": ("team", "t"), "group": ("group", "u")}[kind]
    table = table_of(TEAM, UNIFIED)
    table.unreadable.add(record)
    with pytest.raises(NotKnown):
        listed(table, MASTER, team="t")
    assert listed(table, MASTER).models


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        ({}, ("g1", "g2")),
        ({"models": ("g1",)}, ("g1",)),
        ({"models": ("a",)}, ()),
        ({"models": ("*", "!g1")}, ("g2",)),
        ({"models": ("g1", "!a", "!both", "!p/*")}, ()),
        ({"models": ("g1", "nobody")}, ("g1",)),
        ({"models": ("all-team-models",)}, ()),
        ({"models": ("all-team-models",), "team_id": "t"}, ("g2",)),
        ({"models": ("g1",), "team_id": "t"}, ()),
        ({"models": ("no-default-models",)}, ()),
    ],
)
def test_a_group_is_listed_when_every_list_grants_it_and_it_holds_something(grant, expected):
    assert listed(table_of(key(**grant), TEAM)).more.groups == expected


def test_a_group_of_blocked_deployments_alone_is_not_listed():
    table = table_of(key())
    extend(table, Deployment(id="b", name="b", access_groups=("g3",), position=1, blocked=True))
    assert listed(table).more.groups == ("g1", "g2")
    assert listed(table, MASTER).more.groups == ("g1", "g2")


def test_a_patterns_deployments_are_those_that_may_be_called():
    more = Deployment(id="p2", name="p/*", access_groups=("g2",), position=5, version=3)
    table = extend(table_of(key(models=("g2",))), more)
    assert listed(table).more.patterns == {"p/*": (more.ref,)}
    assert listed(extend(table, key())).more.patterns == {"p/*": ("p", more.ref)}
    assert listed(extend(table, key(models=("a",)))).more.patterns == {}


def test_an_alias_away_from_a_pattern_names_none_of_its_deployments():
    table = table_of(key(models=("p/x", "a"), aliases={"p/x": "a"}))
    assert listed(table).more.patterns == {"p/*": ()}


def test_offered_names_are_decided_on_like_any_other():
    extra = Deployment(id="narrow", name="p/o1-*", access_groups=("g2",), position=5)
    table = extend(table_of(key(models=("g1",))), extra)
    names = ("p/x", "p/o1-mini", "p/O1-mini", "p/p/x", "p/*", "a", " p/y", "", "p/\x00", "q")
    found = listed(table, offered={"p": names, "narrow": names})
    assert found == Listing(table.rev, ("p/x", " p/y"), More())
    for name in names:
        answer = decide(table, Question(DIGEST, name, ROUTE), 0.0)
        is_there = isinstance(answer, Allow) and "p" in answer.deployments
        assert is_there == (name in found.models), name
    # The name is allowed, but not at the deployment that is said to have it.
    assert listed(extend(table, key()), offered={"p": ("p/o1-mini",)}).models == ()
    assert listed(table, offered={"narrow": ("p/o1-mini",)}).models == ("p/o1-mini",)


def test_offered_names_for_a_team_are_judged_by_its_list():
    table = table_of(key(), TeamGrant(id="t", models=("p/x",)))
    assert listed(table, MASTER, team="t", offered={"p": ("p/x", "p/y")}).models == ("p/x",)


def test_an_old_secret_is_told_when_it_ends_and_the_list_is_the_same():
    retired = RetiredKey(id=OLD, successor=DIGEST, until=10.0)
    table = table_of(key(models=("a",)), retired)
    plain = list_models(table, ListQuestion(OLD, "/v1/models"), 0.0)
    assert plain == Listing(table.rev, ("a",), retires_at=10.0)
    assert listed(table, OLD).retires_at == 10.0
    assert listed(table).retires_at is None


# -- messages between versions


class OldQuestion(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    key: bytes
    route: str
    floor: int = 0


class OldListing(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    revision: int
    models: tuple[str, ...] = ()


def test_messages_of_both_versions_are_read_by_both():
    new = ListQuestion(DIGEST, "/v1/models", 3, ListOptions("t", {"d": ("n",)}))
    data = encode_asks([new])
    assert decode_asks(data) == [new]
    assert msgspec.msgpack.decode(data, type=list[OldQuestion]) == [
        OldQuestion(DIGEST, "/v1/models", 3)
    ]
    old = msgspec.msgpack.encode([OldQuestion(DIGEST, "/v1/models", 3)])
    assert decode_asks(old) == [ListQuestion(DIGEST, "/v1/models", 3)]
    answer = Listing(7, ("a",), More(("g",), {"p/*": ("p",)}), 1.5)
    data = encode_answers([answer])
    assert decode_answers(data) == [answer]
    assert msgspec.msgpack.decode(data, type=list[OldListing]) == [OldListing(7, ("a",))]
    old = msgspec.msgpack.encode([OldListing(7, ("a",))])
    assert decode_answers(old) == [Listing(7, ("a",))]


def test_an_old_replicas_list_is_no_answer_to_a_question_with_options():
    plain, asked = ListQuestion(DIGEST, ROUTE), ListQuestion(DIGEST, ROUTE, 0, ListOptions("t"))
    old, new = Listing(7, ("a",)), Listing(7, ("a",), More())
    assert is_answer(old, plain)
    assert is_answer(new, asked)
    assert not is_answer(old, asked)
    assert not is_answer(new, plain)
    assert is_answer(Deny(7, DenyReason.KEY_UNKNOWN), asked)
    assert not is_answer(Allow(7), asked)
