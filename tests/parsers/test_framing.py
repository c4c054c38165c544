"""No stream of bytes holds other requests for another parser than those the gateway answers."""

import pytest

from tests.parsers.framing import READERS, STRICTER, Read, Reading, compare, difference, gateway

HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\n"
NEXT = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"


def test_two_other_parsers_find_the_requests_that_are_answered():
    report = compare(1500, 1)
    assert report.disagreements == []
    assert report.counts["requests answered"] > 700
    assert report.counts["streams refused"] > 500
    assert {name for name in report.counts if "refused: " in name} <= STRICTER.keys()


@pytest.mark.parametrize("name", READERS)
def test_a_parser_reads_requests_and_where_they_end(name):
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nT: v\r\n\r\n" + NEXT
    found = READERS[name](data)
    assert [(each.method, each.target, each.body, each.is_whole) for each in found.requests] == [
        ("POST", "/a", b"hi", True),
        ("GET", "/b", b"", True),
    ]
    assert difference(gateway(data), found) is None


@pytest.mark.parametrize("name", READERS)
def test_a_gateway_that_believed_the_length_beside_a_coding_would_be_found(name):
    body = b"0\r\n\r\n" + NEXT
    said = b"Content-Length: %d\r\n" % len(body)
    honest = gateway(HEAD + said + b"\r\n" + body)
    assert honest.requests
    found = READERS[name](HEAD + said + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert difference(honest, found)


ONE = Read("POST", "/a", [(b"host", b"a")], b"hello", is_whole=True)


@pytest.mark.parametrize(
    ("other", "how"),
    [
        (Reading([ONE], ""), None),
        (Reading([ONE, ONE], "too much"), None),
        (Reading([], ""), "not seen"),
        (Reading([], "strict"), "refused: strict"),
        (Reading([ONE._replace(method="GET")], ""), "another request line"),
        (Reading([ONE._replace(headers=[])], ""), "other headers"),
        (Reading([ONE._replace(body=b"hell")], ""), "another body"),
        (Reading([ONE._replace(is_whole=False)], ""), "another end"),
    ],
)
def test_a_difference_is_told(other, how):
    assert difference(Reading([ONE], ""), other) == how


def test_a_parser_that_refuses_trailers_is_stricter_and_nothing_else():
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nHost: a\r\nHost: b\r\n\r\n"
    found = difference(gateway(data), READERS["aiohttp"](data))
    assert f"aiohttp: {found}" in STRICTER
