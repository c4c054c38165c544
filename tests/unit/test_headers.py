"""Headers cross by allow-list, and a caller has exactly one key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.errors import Rejected
from services.gateway.headers import caller_key, check_framing, for_client, for_upstream, read

KEY = "sk-1234567890abcdef"


def inbound(*pairs):
    return read([(name.encode(), value.encode("latin-1")) for name, value in pairs])


def crossing(*pairs, credential=(("authorization", "Bearer upstream"),)):
    return for_upstream(inbound(*pairs), credential, "application/json")


@pytest.mark.parametrize(
    "pair",
    [
        ("Authorization", f"Bearer {KEY}"),
        ("authorization", f"bearer {KEY}"),
        ("AUTHORIZATION", f"BEARER  {KEY}"),
        ("x-api-key", KEY),
        ("X-Api-Key", f"Bearer {KEY}"),
        ("api-key", KEY),
        ("x-litellm-api-key", f"Bearer {KEY}"),
    ],
)
def test_a_key_is_read_from_each_of_its_headers(pair):
    assert caller_key(inbound(pair)).reveal() == KEY


def test_several_headers_may_carry_the_same_key():
    both = inbound(("authorization", f"Bearer {KEY}"), ("x-api-key", KEY))
    assert caller_key(both).reveal() == KEY


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("authorization", f"Basic {KEY}")],
        [("authorization", KEY)],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", f"Bearer {KEY} {KEY}")],
        [("authorization", f"Bearer {KEY}, Bearer other")],
        [("x-api-key", "")],
        [("x-api-key", f"Token {KEY}")],
        [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")],
        [("authorization", f"Bearer {KEY}"), ("Authorization", "Bearer sk-other")],
        [("authorization", f"Bearer {KEY}"), ("x-api-key", KEY + "x")],
        [("x-api-key", KEY), ("x-api-key", KEY)],
    ],
)
def test_none_several_or_malformed_keys_are_refused_without_repeating_them(pairs):
    with pytest.raises(Rejected) as refused:
        caller_key(inbound(*pairs))
    assert (refused.value.status, refused.value.kind) == (401, "auth_error")
    assert KEY not in refused.value.message


def test_only_the_allowed_headers_reach_an_upstream():
    out = crossing(
        ("Host", "gateway"),
        ("Authorization", f"Bearer {KEY}"),
        ("X-Api-Key", KEY),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Api-Base", "http://evil"),
        ("OpenAI-Organization", "org"),
        ("x-grantgate-User", "root"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
        ("Keep-Alive", "300"),
        ("Accept", "text/event-stream"),
        ("Anthropic-Version", "2023-06-01"),
        ("Anthropic-Beta", "a"),
        ("Anthropic-Beta", "b"),
        ("OpenAI-Beta", "assistants=v2"),
        ("Idempotency-Key", "i"),
        ("User-Agent", "sdk/1"),
        ("Accept-Encoding", "gzip"),
    )
    assert out == [
        ("accept", "text/event-stream"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a"),
        ("anthropic-beta", "b"),
        ("openai-beta", "assistants=v2"),
        ("idempotency-key", "i"),
        ("user-agent", "sdk/1"),
        ("accept-encoding", "gzip"),
        ("authorization", "Bearer upstream"),
        ("content-type", "application/json"),
    ]


def test_a_header_named_by_connection_is_dropped_and_ours_cannot_be():
    out = dict(
        crossing(
            ("Connection", "close, Anthropic-Beta, Authorization, accept-encoding, content-type"),
            ("Anthropic-Beta", "a"),
            ("Accept-Encoding", "gzip"),
            ("User-Agent", "sdk"),
        )
    )
    assert out == {
        "user-agent": "sdk",
        "authorization": "Bearer upstream",
        "content-type": "application/json",
        "accept-encoding": "identity",
    }


def test_every_connection_header_is_honoured():
    out = dict(
        crossing(
            ("Connection", "Anthropic-Beta"),
            ("Anthropic-Beta", "a"),
            ("OpenAI-Beta", "b"),
            ("Connection", "OpenAI-Beta"),
            ("Connection", "keep-alive"),
        )
    )
    assert not {"anthropic-beta", "openai-beta"} & set(out)


def test_a_configured_header_replaces_the_callers():
    out = crossing(("anthropic-version", "evil"), credential=[("Anthropic-Version", "2023-06-01")])
    assert [value for name, value in out if name == "anthropic-version"] == ["2023-06-01"]


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=20))
def test_no_value_that_could_split_a_header_crosses(value):
    for _, sent in crossing(("user-agent", value)):
        assert not any(ch in sent for ch in "\r\n\x00")


def test_only_the_allowed_headers_come_back():
    upstream = [
        ("Content-Type", "text/event-stream"),
        ("X-RateLimit-Remaining-Tokens", "5"),
        ("Anthropic-RateLimit-Requests-Limit", "9"),
        ("Retry-After", "3"),
        ("Set-Cookie", "tenant=a"),
        ("Location", "http://internal"),
        ("Server", "nginx"),
        ("OpenAI-Organization", "org-of-the-operator"),
        ("x-grantgate-revision", "999"),
        ("Connection", "keep-alive"),
        ("Transfer-Encoding", "chunked"),
        ("x-request-id", "theirs"),
    ]
    assert [name for name, _ in for_client(upstream)] == [
        "content-type",
        "x-ratelimit-remaining-tokens",
        "anthropic-ratelimit-requests-limit",
        "retry-after",
    ]


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ([], 400),
        ([("host", "a:4000/#@evil")], 400),
        ([("host", "a, b")], 400),
        ([("host", "user@evil")], 400),
        ([("host", "a"), ("host", "a")], 400),
        ([("host", "a"), ("upgrade", "websocket")], 400),
        ([("host", "a"), ("upgrade", "h2c")], 400),
        ([("host", "a"), ("transfer-encoding", "gzip, chunked")], 400),
        ([("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "3")], 400),
        ([("host", "a"), ("content-encoding", "gzip")], 415),
        ([("host", "a"), ("content-encoding", "identity")], 415),
        ([("host", "a"), ("expect", "200-ok")], 417),
    ],
)
def test_framing_that_others_read_differently_is_refused(pairs, status):
    with pytest.raises(Rejected) as refused:
        check_framing(inbound(*pairs), "POST", has_body=True)
    assert refused.value.status == status
    assert refused.value.closes


@pytest.mark.parametrize("host", ["localhost:4000", "gw.example", "[::1]:80", "10.0.0.1"])
def test_a_plain_host_is_accepted(host):
    check_framing(inbound(("host", host), ("expect", "100-Continue")), "POST", has_body=True)


def test_a_get_with_a_body_is_refused():
    with pytest.raises(Rejected):
        check_framing(inbound(("host", "a")), "GET", has_body=True)


@pytest.mark.parametrize("value", ["-1", "x", "", "1.5", "1" * 19, "\u00b2"])
def test_a_floor_that_is_no_revision_is_refused(value):
    with pytest.raises(Rejected):
        inbound(("x-grantgate-min-revision", value)).floor()


def test_a_floor_given_twice_is_refused_and_a_missing_one_is_zero():
    twice = inbound(("x-grantgate-min-revision", "1"), ("x-grantgate-min-revision", "2"))
    with pytest.raises(Rejected):
        twice.floor()
    assert inbound().floor() == 0
    assert inbound(("X-Grantgate-Min-Revision", "7")).floor() == 7


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [("abc-1.2_3", True), ("a b", False), ("a\r\nb", False), ("x" * 129, False)],
)
def test_only_a_plain_request_id_is_taken_over(given_id, kept):
    assert (inbound(("x-request-id", given_id)).request_id == given_id) is kept
