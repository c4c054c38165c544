"""How requests are read out of a connection's bytes: any cut reads the same, and all is bounded."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.request_reader import (
    MAX_HEAD,
    MAX_HEADERS,
    MAX_LINE,
    MAX_WAITING,
    RequestReader,
)

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"


def sized(body):
    return b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(pieces):
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return (
        b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
    )


def read(*parts):
    reader = RequestReader()
    for part in parts:
        reader.feed(part)
    return reader


def seen(reader):
    return reader.problem, [
        (each.method, each.target, each.headers, b"".join(each.pieces), each.is_complete)
        for each in reader.waiting
    ]


BODIES = st.binary(max_size=60)
REQUESTS = st.one_of(
    st.just(GET),
    BODIES.map(sized),
    st.lists(BODIES, max_size=3).map(chunked),
    st.binary(max_size=9),
)


@given(st.lists(REQUESTS, max_size=5).map(b"".join), st.data())
def test_any_cut_reads_the_same(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    parts = [stream[one:other] for one, other in pairwise(edges)]
    assert seen(read(*parts)) == seen(read(stream))
    assert seen(read(*(bytes([byte]) for byte in stream))) == seen(read(stream))


def test_requests_are_read_with_their_bodies_in_order():
    reader = read(GET + sized(b"four") + chunked([b"one", b"two"]))
    assert [(each.method, each.take(), each.is_complete) for each in reader.waiting] == [
        ("GET", b"", True),
        ("POST", b"four", True),
        ("POST", b"onetwo", True),
    ]
    assert [each.content_length for each in reader.waiting] == [None, 4, None]
    assert [each.has_body for each in reader.waiting] == [False, True, True]


def test_a_trailer_is_no_header():
    reader = read(chunked([b"one"]).replace(b"0\r\n\r\n", b"0\r\nAuthorization: x\r\n\r\n"))
    (request,) = reader.waiting
    assert request.is_complete
    assert [name for name, _ in request.headers] == [b"Host", b"Transfer-Encoding"]


@pytest.mark.parametrize(
    "stream",
    [
        b"GET /" + b"a" * MAX_LINE + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * MAX_LINE + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\n" + (b"A: " + b"a" * 8000 + b"\r\n") * 9 + b"\r\n",
        chunked([b"one"]).replace(b"0\r\n\r\n", b"0\r\n" + b"A: b\r\n" * MAX_HEAD + b"\r\n"),
        GET * (MAX_WAITING + 1),
        chunked([b"one"]).replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"\x16\x03\x01\x02",
    ],
    ids=lambda stream: repr(stream[:24]),
)
def test_what_is_too_much_or_malformed_ends_the_reading(stream):
    whole, slow = read(stream), RequestReader()
    for at in range(0, len(stream), 1000):
        slow.feed(stream[at : at + 1000])
    for reader in (whole, slow):
        assert reader.problem
        before = seen(reader)
        reader.feed(GET)
        assert seen(reader) == before


def test_a_chunks_extension_that_goes_on_and_on_ends_the_reading():
    reader = read(chunked([b"one"]).removesuffix(b"0\r\n\r\n") + b"3;")
    for _ in range(MAX_HEAD // 1000):
        reader.feed(b"a" * 1000)
    assert not reader.problem
    reader.feed(b"a" * 1000)
    assert reader.problem


def test_a_body_that_breaks_is_told_of():
    reader = read(chunked([b"one"])[:-5] + b"zz\r\n")
    (request,) = reader.waiting
    assert request.is_broken
    assert not request.is_complete
    assert reader.latest is None


def test_nothing_is_read_after_a_request_for_another_protocol():
    reader = read(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
    assert reader.is_over
    assert len(reader.waiting) == 1


@pytest.mark.parametrize(
    ("version", "said", "keeps"),
    [
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"close, keep-alive", False),
        (b"1.0", b"keep-alive, Close", False),
        (b"1.0", b"x", False),
    ],
)
def test_a_connection_whose_client_says_close_is_not_kept(version, said, keeps):
    head = b"GET / HTTP/%b\r\nHost: a\r\nConnection: %b\r\n\r\n" % (version, said)
    assert [each.keeps_alive for each in read(head).waiting] == [keeps]
