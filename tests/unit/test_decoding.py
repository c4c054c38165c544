"""A text that is not UTF-8 is damage like any other, to every reader of what others wrote."""

import pytest

from services.policy.lease import Lease
from services.policy.responder import MALFORMED, Responder
from shared.changes import Unreadable, decode_mutations
from shared.decisions import Question, encode_asks
from shared.replication import decode_epoch, decode_member
from shared.snapshots import BadSnapshot, decode_index

BAD = b'{"id":"\xe9d15","replica":"\xe9","snapshots":[{"id":"\xe9"}]}'


@pytest.mark.parametrize(
    ("decode", "data", "refusal"),
    [
        (decode_index, BAD, BadSnapshot),
        (decode_epoch, BAD, Unreadable),
        (decode_member, BAD, Unreadable),
        (decode_mutations, b"\x91\x81\xa1\xe9\x01", Unreadable),
    ],
    ids=["index", "epoch", "member", "mutations"],
)
def test_a_text_that_is_not_utf8_is_refused_as_damage(decode, data, refusal):
    with pytest.raises(refusal):
        decode(data)


def test_a_question_with_such_a_text_is_counted_and_dropped():
    responder = Responder(None, Lease(), lambda: None, boottime=lambda: 0.0, now=lambda: 0.0)
    before = MALFORMED._value.get()

    asked = encode_asks([Question(bytes(32), "XXXX", "/v1/chat/completions")])

    responder._answer("decide", "inbox", asked.replace(b"XXXX", b"X\xe9XX"))

    assert MALFORMED._value.get() == before + 1
