"""Members, users, unified groups, old secrets and blocked deployments, as decisions see them."""

import msgspec
import pytest

from services.policy.decide import NotKnown, decide
from services.policy.listing import list_models
from services.policy.table import GrantTable
from shared.catalogue import Deployment
from shared.changes import (
    GENESIS,
    Change,
    GroupGrant,
    KeyGrant,
    RetiredKey,
    TeamGrant,
    Tombstone,
    UserGrant,
    encode_mutations,
    hash_rest,
    link,
)
from shared.decisions import MASTER, Allow, DenyReason, ListQuestion, Question

ROUTE = "/v1/chat/completions"
DIGEST, OLD = bytes(range(32)), bytes(32)
MODELS = (
    Deployment(id="a", name="a", access_groups=("g1",)),
    Deployment(id="b", name="b", access_groups=("g2",), position=1),
    Deployment(id="both-1", name="both", access_groups=("g1",), position=2),
    Deployment(id="both-2", name="both", access_groups=("g2",), position=3),
    Deployment(id="p", name="p/*", access_groups=("g1",), position=4),
)


def extend(table, *mutations, raw=None):
    decision = encode_mutations(mutations) if raw is None else raw
    rest = hash_rest(b"")
    chain = link(table.chain, table.rev + 1, decision, rest)
    table.apply(Change(rev=table.rev + 1, chain=chain, decision=decision, rest_hash=rest))
    return table


def table_of(*mutations):
    table = GrantTable()
    assert table.chain == GENESIS
    return extend(table, *MODELS, *mutations)


def ask(table, model, key=DIGEST, now=0.0):
    answer = decide(table, Question(key, model, ROUTE), now)
    listed = list_models(table, ListQuestion(key, "/v1/models"), now)
    if hasattr(listed, "models") and model in listed.models:
        assert isinstance(answer, Allow), "listed and refused"
    return answer


def key(**fields):
    return KeyGrant(id=DIGEST, **fields)


def allowed(table, key=DIGEST):
    return [m for m in ("a", "b", "both", "p/x") if isinstance(ask(table, m, key), Allow)]


EVERYTHING = ["a", "b", "both", "p/x"]


@pytest.mark.parametrize(
    ("grant", "user", "expected"),
    [
        ({"user_id": "u"}, ("a",), ["a"]),
        ({"user_id": "u", "models": ("a", "b")}, ("b", "both"), ["b"]),
        ({"user_id": "u"}, (), EVERYTHING),
        ({"user_id": "u"}, ("no-default-models",), []),
        ({"user_id": "u"}, ("all-team-models",), []),
        ({"user_id": "somebody-else"}, ("a",), EVERYTHING),
        ({}, ("a",), EVERYTHING),
        ({"user_id": "u", "team_id": "t"}, ("a",), EVERYTHING),
    ],
)
def test_a_users_list_binds_their_keys_without_a_team(grant, user, expected):
    table = table_of(TeamGrant(id="t"), key(**grant), UserGrant(id="u", models=user))
    assert allowed(table) == expected
    if not isinstance(ask(table, "p/x"), Allow) and "models" not in grant:
        assert ask(table, "p/x").reason == DenyReason.USER_MODEL_NOT_ALLOWED
        assert ask(table, "p/x").entries == user


@pytest.mark.parametrize(
    ("grant", "members", "expected"),
    [
        ({"user_id": "u"}, {"u": ("a",)}, ["a"]),
        ({"user_id": "u"}, {"v": ("a",)}, ["a", "both", "p/x"]),
        ({"user_id": "u", "models": ("p/*",)}, {"u": ("a", "p/y")}, []),
        ({"user_id": "u"}, {"u": ("b",)}, []),
        ({"user_id": "u"}, {"u": ()}, ["a", "both", "p/x"]),
        ({}, {"u": ("b",)}, ["a", "both", "p/x"]),
    ],
)
def test_a_members_list_is_a_third_that_must_pass(grant, members, expected):
    team = TeamGrant(id="t", models=("g1",), member_models=members)
    table = table_of(team, key(team_id="t", **grant), UserGrant(id="u", models=("b",)))
    assert allowed(table) == expected
    if expected == ["a"]:
        denied = ask(table, "both")
        assert (denied.reason, denied.entries) == (DenyReason.MEMBER_MODEL_NOT_ALLOWED, ("a",))
        assert denied.team_label == "t"


def test_three_lists_leave_only_the_deployments_all_of_them_grant():
    team = TeamGrant(id="t", models=("both",), member_models={"u": ("g2",)})
    table = table_of(team, key(team_id="t", user_id="u", models=("both",)))
    assert ask(table, "both").deployments == ("both-2",)
    extend(table, key(team_id="t", user_id="u", models=("g1",)))
    assert ask(table, "both").reason == DenyReason.MEMBER_MODEL_NOT_ALLOWED


@pytest.mark.parametrize(
    ("models", "groups", "expected"),
    [
        ((), ("one",), ["a"]),
        (("b",), ("one",), ["a", "b"]),
        (("no-default-models",), ("one",), ["a"]),
        ((), ("one", "two"), ["a", "both", "p/x"]),
        ((), ("empty",), []),
        ((), ("no-such-group",), []),
        (("!a",), ("two",), ["both", "p/x"]),
        (("!a",), ("empty",), []),
        (("*",), ("one",), EVERYTHING),
    ],
)
@pytest.mark.parametrize("of_team", [True, False])
def test_groups_add_to_a_list_and_alone_are_all_of_it(models, groups, expected, of_team):
    grants = {"models": models, "groups": groups}
    table = table_of(
        GroupGrant(id="one", models=("a",)),
        GroupGrant(id="two", models=("g1", "p/*")),
        GroupGrant(id="empty"),
        TeamGrant(id="t", **(grants if of_team else {})),
        key(team_id="t", **({} if of_team else grants)),
    )
    assert allowed(table) == expected


def test_a_changed_group_counts_at_once():
    table = table_of(GroupGrant(id="one", models=("a",)), key(groups=("one",)))
    assert allowed(table) == ["a"]
    assert allowed(extend(table, GroupGrant(id="one", models=("b",)))) == ["b"]
    assert allowed(extend(table, Tombstone(of="group", id="one"))) == []


def test_an_old_secret_stands_for_its_successor_until_its_time():
    table = table_of(key(models=("a",)), RetiredKey(id=OLD, successor=DIGEST, until=100.0))
    answer = ask(table, "a", OLD, 99.9)
    assert (answer.deployments, answer.retires_at) == (("a",), 100.0)
    assert ask(table, "a").retires_at is None
    assert ask(table, "b", OLD, 99.9).reason == DenyReason.KEY_MODEL_NOT_ALLOWED
    assert ask(table, "a", OLD, 100.0).reason == DenyReason.KEY_EXPIRED
    assert list_models(table, ListQuestion(OLD, "/v1/models"), 0.0).models == ("a",)


def test_whatever_becomes_of_the_key_becomes_of_its_old_secret():
    table = table_of(key(), RetiredKey(id=OLD, successor=DIGEST, until=100.0))
    assert ask(extend(table, key(blocked=True)), "a", OLD).reason == DenyReason.KEY_BLOCKED
    assert ask(extend(table, key(expires_at=5.0)), "a", OLD, 5.0).reason == DenyReason.KEY_EXPIRED
    extend(table, Tombstone(of="key", id=DIGEST))
    assert ask(table, "a", OLD).reason == DenyReason.KEY_UNKNOWN
    extend(table, key(), Tombstone(of="key", id=OLD))
    assert ask(table, "a", OLD).reason == DenyReason.KEY_UNKNOWN


def test_a_digest_is_a_key_or_an_old_secret_never_both():
    table = table_of(KeyGrant(id=OLD), key(models=("a",)))
    extend(table, RetiredKey(id=OLD, successor=DIGEST, until=100.0))
    assert ask(table, "b", OLD).reason == DenyReason.KEY_MODEL_NOT_ALLOWED
    extend(table, KeyGrant(id=OLD))
    assert isinstance(ask(table, "b", OLD, 200.0), Allow)


def test_a_blocked_deployment_is_sent_nothing_and_opens_nothing():
    table = table_of(key(), Deployment(id="p1", name="p/1", access_groups=("g3",), blocked=True))
    for caller in (DIGEST, MASTER):
        assert ask(table, "p/1", caller).reason == DenyReason.MODEL_BLOCKED
        listed = list_models(table, ListQuestion(caller, "/v1/models"), 0.0).models
        assert "p/1" not in listed
        assert "p/*" in listed
    extend(table, key(models=("p/*", "!g3")))
    assert ask(table, "p/1").reason == DenyReason.KEY_MODEL_NOT_ALLOWED
    extend(table, key(), Deployment(id="both-1", name="both", blocked=True))
    assert ask(table, "both").deployments == ("both-2",)


def test_a_refusal_does_not_tell_that_a_model_is_blocked():
    table = table_of(key(models=("a",)), Deployment(id="b", name="b", blocked=True))
    assert ask(table, "b").reason == DenyReason.KEY_MODEL_NOT_ALLOWED


def test_a_stored_deployment_is_named_with_its_version():
    table = table_of(key(), Deployment(id="a", name="a", version=3))
    assert ask(table, "a").deployments == (Deployment(id="a", name="a", version=3).ref,)
    assert ask(table, "a").deployments != ("a",)


@pytest.mark.parametrize("kind", ["user", "group", "retired"])
def test_what_a_question_depends_on_must_be_readable(kind):
    table = table_of(
        key(user_id="u", groups=("g",)),
        RetiredKey(id=OLD, successor=DIGEST, until=9.0),
        KeyGrant(id=b"\1" * 32),
    )
    record_id = {"user": "u", "group": "g", "retired": OLD}[kind]
    extend(table, raw=msgspec.msgpack.encode([{"kind": kind, "id": record_id, "models": 7}]))
    with pytest.raises(NotKnown):
        decide(table, Question(OLD if kind == "retired" else DIGEST, "a", ROUTE), 0.0)
    assert isinstance(decide(table, Question(b"\1" * 32, "a", ROUTE), 0.0), Allow)
