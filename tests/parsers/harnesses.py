"""What must hold of any bytes at all: one check for each reader of what strangers send.

Each takes bytes and raises when a promise does not hold, so a search guided by coverage and one
that is not can both call it.
"""

import re
from random import Random

from hypothesis import strategies as st

from services.gateway import forms
from services.gateway.answer_reader import AnswerReader
from services.gateway.errors import Rejected
from services.gateway.request_reader import MAX_HEAD, MAX_HEADERS, MAX_WAITING, RequestReader
from services.gateway.requests import read
from shared.patterns import Pattern, fill, intersect, is_pattern
from tests.parsers import bodies, framing, streams
from tests.parsers.differential import readings

BOUNDARY = bodies.BOUNDARY


def read_request(data):
    """A body is refused with 400, or every parser reads from what is sent the model decided on."""
    for boundary, body in (
        ("", data),
        ("", b'{"model":"ok",' + data + b"}"),
        ("", b'{"' + data + b'":"no","model":"ok"}'),
        (BOUNDARY, data),
        (BOUNDARY, f"--{BOUNDARY}\r\nContent-Disposition: form-data; ".encode() + data),
    ):
        try:
            # Large bodies may go on as they came; here those of any size.
            found = read(boundary, body, None, copied_below=0)
        except Rejected as rejected:
            assert rejected.status == 400  # noqa: PT017
            continue
        for decided in ("up", found.model):
            rendered = found.render(decided)
            sent = b"".join(rendered.pieces)
            assert len(sent) == rendered.length
            for name, models in readings(found, sent, rendered.content_type):
                assert models in (None, [decided]), (name, models, sent)


def read_form(data):
    """A form is refused, or what is written anew reads back as the same parts."""
    whole = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode()
    for body in (data, whole + data, whole + b'"a"' + data + f"\r\n--{BOUNDARY}--".encode()):
        try:
            parts = forms.parse(body, BOUNDARY)
        except Rejected as rejected:
            assert rejected.status == 400  # noqa: PT017
            continue
        pieces, content_type = forms.encode(parts)
        again = forms.parse(b"".join(pieces), forms.boundary_of(content_type))
        assert again == parts


EXACT_STARS = 3
"""With more in each, what two patterns share is cut: then names are missing from it, never all."""


def match_pattern(data):
    """A pattern matches what an escaped regular expression does, and shares what both match."""
    first, second, name, *_ = [*data.decode(errors="replace").split("\n"), "", ""]
    name = name[:40]
    patterns = [text[:12] for text in (first, second)]
    matched = [_naive(text, name) for text in patterns]
    for text, is_match in zip(patterns, matched, strict=True):
        if is_pattern(text):
            captures = Pattern(text).captures(name)
            assert (captures is not None) == is_match
            assert captures is None or fill(text, captures) == name
    shared = intersect(*patterns)
    is_shared = any(_naive(text, name) for text in shared)
    assert all(matched) or not is_shared
    assert shared or not all(matched)
    if all(text.count("*") <= EXACT_STARS for text in patterns):
        assert is_shared == all(matched)


def _naive(text, name):
    if text.count("*") <= 4:  # beyond that a regular expression takes for ever
        expression = ".*".join(map(re.escape, text.split("*")))
        return re.fullmatch(expression, name, re.DOTALL) is not None
    reached = {0}  # the places in the name that the pattern so far can end at
    for char in text:
        if char == "*":
            reached = set(range(min(reached, default=len(name) + 1), len(name) + 1))
        else:
            reached = {at + 1 for at in reached if name[at : at + 1] == char}
    return len(name) in reached


CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def read_stream(data):
    """However a client's bytes are cut, they are the same requests, and to others as well."""
    seed, data = data[:2], data[2:]
    for start in (b"", b"POST /a HTTP/1.1\r\nHost: a\r\n", CHUNKED):
        whole = start + data
        expected = _requests([whole])
        for cut in (_cut(whole, seed), [whole[at : at + 1] for at in range(len(whole))]):
            assert _requests(cut) == expected
        ours = framing.gateway(whole)
        for name, reader in framing.READERS.items():
            found = framing.difference(ours, reader(whole))
            assert found is None or f"{name}: {found}" in framing.STRICTER, (name, found)


def _requests(pieces):
    """All that is told of a stream's requests."""
    reader = RequestReader()
    for piece in pieces:
        reader.feed(piece)
    for each in reader.waiting:
        assert each.is_complete + each.is_broken + (each is reader.latest) == 1
        assert each.size == sum(map(len, each.pieces))
        assert len(each.headers) <= MAX_HEADERS
        assert len(each.target) + sum(map(len, sum(each.headers, ()))) <= 2 * MAX_HEAD
    assert len(reader.waiting) <= MAX_WAITING
    return (
        bool(reader.problem),
        reader.is_over,
        [
            (each.method, each.target, each.headers, b"".join(each.pieces), each.keeps_alive)
            for each in reader.waiting
        ],
    )


def _cut(whole, seed):
    random = Random(seed)
    cuts = sorted(random.randrange(len(whole) + 1) for _ in range(random.randint(1, 8)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def read_answer(data):
    """However an upstream's bytes are cut, they are one answer, or none; h11 reads no other."""
    seed, data = data[:2], data[2:]
    for start in (b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        whole = start + data
        expected, rest = _answer([whole[at : at + 1] for at in range(len(whole))])
        other = framing.h11_client(whole)
        if expected is not None and other is not None:
            status, headers, body, _ = expected
            plain = framing.plain((n.encode("latin-1"), v.encode("latin-1")) for n, v in headers)
            assert other == (status, plain, body)
        for cut in ([whole], _cut(whole, seed)):
            found, _ = _answer(cut)
            # What follows an answer may arrive in time to spoil it, and may not.
            assert found == expected or (found is None and rest)


def _answer(pieces):
    """All that may be used of an answer, None when it is broken; and the bytes left after it."""
    reader = AnswerReader()
    body = b""
    for number, piece in enumerate(pieces):
        if reader.is_complete and not reader.problem:
            rest = b"".join(pieces[number:])
            reader.feed(piece or rest)
            assert reader.problem or not rest, "a connection with bytes left would be kept"
            return (reader.status, reader.headers, body, reader.keeps_alive), rest
        if piece:
            reader.feed(piece)
        body += reader.take()
    reader.end()
    if reader.problem:
        return None, b""
    assert reader.is_complete
    assert reader.content_length in (None, len(body)) or not body
    return (reader.status, reader.headers, body, reader.keeps_alive), b""


def _seeded(make):
    return st.integers(0, 2**32).map(lambda seed: make(Random(seed)))


ANSWER_WORDS = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 100 Go\r\n\r\n",
    b"HTTP/1.1 304 X\r\n",
    b"HTTP/1.1 101 X\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length:-1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"X: a\r\n b\r\n",
    b"X : a\r\n",
    b"\r\n",
    b"\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;a=b\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nT: v\r\n\r\n",
    b"\x00",
)
REQUEST_WORDS = (
    b"POST /a HTTP/1.1\r\n",
    b"GET //b HTTP/1.0\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length:+5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: close, keep-alive\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;a=b\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nT: v\r\n\r\n",
    b"\x00",
)
JSON_WORDS = (
    *(f'"{name}"'.encode() for name in ("model", "Model", "\\u006dodel", "model\\u0000")),
    *(b":", b",", b"{", b"}", b"[", b"]", b'"no"', b"1", b"null", b" ", b"\\", b'"', b"\\u006d"),
)
FORM_WORDS = (
    f"--{BOUNDARY}".encode(),
    f"--{BOUNDARY}--".encode(),
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Disposition: form-data",
    b'; name="model"',
    b'; name="a"',
    b'; filename="b"',
    b"; filename*=UTF-8''c",
    b"Content-Type: text/plain",
    b"name=",
    b"=?utf-8?q?model?=",
    b'"',
    b";",
    b"no",
)


def _words(words):
    pieces = st.sampled_from(words) | st.binary(max_size=3)
    return st.lists(pieces, max_size=14).map(b"".join)


def _with_seed(data):
    return st.tuples(st.binary(min_size=2, max_size=2), data).map(b"".join)


def _json_or_form(random):
    return bodies.body(random).data


PATTERN_TEXT = st.text(alphabet="ab/*.\u0130", max_size=12)
INPUTS = {
    read_request: _words(JSON_WORDS) | _words(FORM_WORDS) | _seeded(_json_or_form),
    read_form: _words(FORM_WORDS) | _seeded(_json_or_form),
    match_pattern: st.lists(PATTERN_TEXT, min_size=3, max_size=3).map("\n".join).map(str.encode),
    read_answer: _with_seed(_words(ANSWER_WORDS)),
    read_stream: _with_seed(_words(REQUEST_WORDS) | _seeded(streams.stream)),
}
"""Each check, with the bytes that are worth trying on it."""
