"""A table is a prefix of the log, whatever arrives, in whatever order, however often."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.policy.decide import NotKnown, decide
from services.policy.table import Forked, Gap, GrantTable
from shared.catalogue import Deployment
from shared.changes import (
    GENESIS,
    Change,
    KeyGrant,
    TeamGrant,
    Tombstone,
    Unreadable,
    encode_mutations,
    hash_rest,
    link,
)
from shared.decisions import Allow, DenyReason, Question

ROUTE = "/v1/chat/completions"


def key(number, **fields):
    return KeyGrant(id=number.to_bytes(32, "big"), **fields)


def change_after(previous, rev, decision):
    rest = hash_rest(b"")
    chain = link(previous, rev, decision, rest)
    return Change(rev=rev, chain=chain, decision=decision, rest_hash=rest)


def log_of(*groups):
    chain, changes = GENESIS, []
    for rev, mutations in enumerate(groups, 1):
        change = change_after(chain, rev, encode_mutations(mutations))
        changes.append(change)
        chain = change.chain
    return changes


mutations = st.one_of(
    st.builds(key, st.integers(0, 5), blocked=st.booleans()),
    st.builds(lambda n: Tombstone(of="key", id=n.to_bytes(32, "big")), st.integers(0, 5)),
    st.builds(TeamGrant, id=st.sampled_from("ab"), blocked=st.booleans()),
    st.builds(lambda i: Tombstone(of="team", id=i), st.sampled_from("ab")),
    st.builds(Deployment, id=st.sampled_from("xy"), name=st.sampled_from(["m", "m*"])),
)
logs = st.lists(st.lists(mutations, max_size=3).map(tuple), min_size=1, max_size=8)


@given(logs, st.randoms(use_true_random=False))
def test_duplicates_reordering_and_loss_leave_a_prefix_of_the_log(groups, chance):
    changes = log_of(*groups)
    delivered = [c for c in changes for _ in range(chance.randint(0, 3))]
    chance.shuffle(delivered)
    table = GrantTable()
    for change in delivered:
        try:
            table.apply(change)
        except Gap:
            continue
    straight = GrantTable()
    for change in changes[: table.rev]:
        straight.apply(change)
    assert table.chain == straight.chain
    assert table.sizes() == straight.sizes()


def test_a_change_that_does_not_follow_is_refused_and_changes_nothing():
    first, second = log_of((key(1),), (key(2),))
    table = GrantTable()
    table.apply(first)
    for forged in (
        msgspec.structs.replace(second, decision=encode_mutations((key(3),))),
        msgspec.structs.replace(second, rest_hash=bytes(32)),
        msgspec.structs.replace(second, chain=bytes(32)),
    ):
        with pytest.raises(Forked):
            table.apply(forged)
    assert table.rev == 1
    assert table.apply(second)


def test_a_record_that_cannot_be_read_is_not_answered_for_and_others_are():
    poison = msgspec.msgpack.encode(
        [{"kind": "key", "id": bytes(32), "models": 7}, {"kind": "key", "id": b"\1" * 32}]
    )
    table = GrantTable()
    table.apply(change_after(GENESIS, 1, poison))

    with pytest.raises(NotKnown):
        decide(table, Question(bytes(32), None, ROUTE), 0.0)
    assert isinstance(decide(table, Question(b"\1" * 32, None, ROUTE), 0.0), Allow)
    mended = change_after(table.chain, 2, encode_mutations((KeyGrant(id=bytes(32)),)))
    table.apply(mended)
    assert isinstance(decide(table, Question(bytes(32), None, ROUTE), 0.0), Allow)


@pytest.mark.parametrize("decision", [b"", b"\xc1", b"\x91\x01", msgspec.msgpack.encode([{}])])
def test_a_change_that_names_no_record_is_not_applied(decision):
    table = GrantTable()
    with pytest.raises(Unreadable):
        table.apply(change_after(GENESIS, 1, decision))
    assert table.rev == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"blocked": True}, DenyReason.KEY_BLOCKED),
        ({"expires_at": 100.0}, DenyReason.KEY_EXPIRED),
        ({"team_id": "gone"}, DenyReason.TEAM_UNKNOWN),
        ({"team_id": "blocked"}, DenyReason.TEAM_BLOCKED),
        ({"allowed_routes": ("/v1/embeddings",)}, DenyReason.ROUTE_NOT_ALLOWED),
        ({"models": ("other",)}, DenyReason.KEY_MODEL_NOT_ALLOWED),
        ({"models": ("all-team-models",)}, DenyReason.KEY_MODEL_NOT_ALLOWED),
        ({"team_id": "narrow"}, DenyReason.TEAM_MODEL_NOT_ALLOWED),
        ({"models": ("m",)}, None),
        ({"expires_at": 100.1}, None),
        ({"allowed_routes": ("llm_api_routes",)}, None),
        ({"allowed_routes": ("/chat/completions",)}, None),
        ({"allowed_routes": ("/v1/chat*",)}, None),
    ],
)
def test_each_state_of_an_account_has_its_reason(fields, reason):
    (change,) = log_of(
        (
            key(1, **fields),
            TeamGrant(id="blocked", blocked=True),
            TeamGrant(id="narrow", models=("other",)),
            Deployment(id="d", name="m"),
        )
    )
    table = GrantTable()
    table.apply(change)
    answer = decide(table, Question(key(1).id, "m", ROUTE), 100.0)
    assert getattr(answer, "reason", None) == reason


def test_account_states_come_before_the_model():
    (change,) = log_of((key(1, blocked=True, models=("other",)), Deployment(id="d", name="m")))
    table = GrantTable()
    table.apply(change)
    assert decide(table, Question(key(1).id, "m*", ROUTE), 0.0).reason == DenyReason.KEY_BLOCKED


@pytest.mark.parametrize("name", ["", "  ", "x" * 513, "a\nb", "a\x00", "\x7f", "m*", "*"])
def test_a_bad_model_name_is_told_apart(name):
    (change,) = log_of((key(1), Deployment(id="d", name="m*")))
    table = GrantTable()
    table.apply(change)
    answer = decide(table, Question(key(1).id, name, ROUTE), 0.0)
    assert answer.reason == DenyReason.BAD_MODEL_NAME


def test_white_space_around_a_name_is_not_part_of_it():
    (change,) = log_of((key(1, models=("m",)), Deployment(id="d", name="m")))
    table = GrantTable()
    table.apply(change)
    assert decide(table, Question(key(1).id, " m ", ROUTE), 0.0).model == "m"


def test_lists_that_no_key_has_any_more_are_forgotten():
    table = GrantTable()
    chain = GENESIS
    for rev in range(1, 300):
        change = change_after(chain, rev, encode_mutations((key(1, models=(f"m{rev}",)),)))
        table.apply(change)
        chain = change.chain
    assert table.sizes()["lists"] < 5
