"""Two other parsers must find the same requests in a stream as the gateway answers.

A proxy before the gateway that reads the stream as one of them does could else be made to pass on,
as a part of one request, another one that it never saw. Refusing more than they do is safe.
"""

import asyncio
from collections import Counter
from random import Random
from typing import NamedTuple

import h11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy

from services.gateway import headers
from services.gateway.errors import Rejected
from services.gateway.request_reader import RequestReader
from tests.parsers.streams import stream


class Read(NamedTuple):
    """A request as somebody reads it; `is_whole`: the body has come to its end."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_whole: bool


class Reading(NamedTuple):
    """All that is read of a stream, and why no more is; "" where there was no more."""

    requests: list[Read]
    refusal: str


def gateway(data):
    """The requests that are answered by more than a refusal of their framing."""
    reader = RequestReader()
    reader.feed(data)
    found = []
    for request in reader.waiting:
        if not request.is_spoken:
            return Reading(found, "another version")
        inbound = headers.read(request.headers)
        try:
            headers.check_framing(inbound, request.method, has_body=request.has_body)
        except Rejected as rejected:
            return Reading(found, rejected.message)
        body = b"".join(request.pieces)
        fields = plain(request.headers)
        found.append(Read(request.method, request.target, fields, body, request.is_complete))
        if not request.is_complete or not request.keeps_alive:
            return Reading(found, "" if not request.is_broken else "a broken body")
    return Reading(found, reader.problem)


def plain(fields):
    """Without what no reader keeps: a name's case, the space around a value, a coding's case."""
    found = [(name.lower(), value.strip(b" \t")) for name, value in fields]
    return [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in found
    ]


_loop = asyncio.new_event_loop()  # never run: aiohttp's parser asks for one
_loop.close()


def aiohttp_python(data):
    """aiohttp's parser in Python, as it stands where no compiled one does."""
    try:
        found = _aiohttp([data])
    except HttpProcessingError:
        return _aiohttp([bytes([byte]) for byte in data], keeps_what_came=True)
    return found


def _aiohttp(pieces, *, keeps_what_came=False):
    parser = HttpRequestParserPy(BaseProtocol(_loop), _loop, 2**16, auto_decompress=False)
    messages = []
    refusal = ""
    for piece in pieces:
        try:
            come, is_upgraded, _ = parser.feed_data(piece)
        except HttpProcessingError as error:
            if not keeps_what_came:
                raise
            refusal = type(error).__name__
            break
        messages += come
        if is_upgraded:
            refusal = "upgraded"
            break
    found = []
    for message, payload in messages:
        body = b"".join(payload._buffer) if hasattr(payload, "_buffer") else b""
        problem = payload.exception()
        is_whole = payload.is_eof() and problem is None
        refusal = type(problem).__name__ if problem is not None else refusal
        fields = plain(message.raw_headers)
        found.append(Read(message.method, message.path, fields, body, is_whole))
        if message.should_close or not is_whole:
            break
    return Reading(found, refusal)


def h11_server(data):
    """h11, as a server that answers each request before it reads the next."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found = []
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return Reading(found, str(error).partition(":")[0])
        match event:
            case h11.Request():
                method, target = event.method.decode(), event.target.decode("latin-1")
                found.append(Read(method, target, plain(event.headers), b"", is_whole=False))
            case h11.Data():
                found[-1] = found[-1]._replace(body=found[-1].body + bytes(event.data))
            case h11.EndOfMessage():
                found[-1] = found[-1]._replace(is_whole=True)
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    is_old = connection.their_http_version == b"1.0"
                    return Reading(found, "no HTTP/1.0 connection is kept" if is_old else "")
                connection.start_next_cycle()
            case _:
                return Reading(found, "")


def h11_client(data):
    """An answer to a GET as h11 reads it, (status, headers, body); None when it refuses it."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    answer, body = None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        match event:
            case h11.Response():
                answer = event
            case h11.Data():
                body += bytes(event.data)
            case h11.EndOfMessage():
                return answer.status_code, plain(answer.headers), body
            case h11.InformationalResponse():
                pass
            case _:
                return None


READERS = {"aiohttp": aiohttp_python, "h11": h11_server}
STRICTER = {
    "aiohttp: refused: BadHttpMethod": "a CR before a request line",
    "aiohttp: refused: BadHttpMessage": "an LF before a request line, a second Host in trailers",
    "aiohttp: refused: BadStatusLine": "two spaces in a request line",
    "aiohttp: refused: InvalidURLError": "a target that is no URL; `routes.resolve` refuses it too",
    "h11: refused: illegal request line": "a CR before a request line, or two spaces in it",
    "h11: refused: no request line received": "an empty line before a request line",
    "h11: refused: no HTTP/1.0 connection is kept": "`keep-alive` in HTTP/1.0",
}
"""What another parser refuses and the gateway answers: nobody reads these as anything else."""


def difference(ours, theirs):
    """How what the gateway answers differs from what another parser reads, None when it does not.

    "refused: why" is a difference too, which harms nobody.
    """
    for at, request in enumerate(ours.requests):
        if at == len(theirs.requests):
            return f"refused: {theirs.refusal}" if theirs.refusal else "not seen"
        other = theirs.requests[at]
        if (request.method, request.target) != (other.method, other.target):
            return "another request line"
        if request.headers != other.headers:
            return "other headers"
        if request.is_whole and not other.is_whole:
            return f"refused: {theirs.refusal}" if theirs.refusal else "another end"
        if request.is_whole and request.body != other.body:
            return "another body"
        if not request.is_whole:
            if not ours.refusal and other.is_whole:
                return "another end"
            shorter = min(len(request.body), len(other.body))
            if request.body[:shorter] != other.body[:shorter]:
                return "another body"
    return None


class Report:
    """`disagreements` are (reader, how, stream)."""

    def __init__(self):
        self.counts = Counter()
        self.disagreements = []


def compare(count, seed):
    """Make that many streams and compare what every reader finds in each."""
    random = Random(seed)
    report = Report()
    for _ in range(count):
        data = stream(random)
        ours = gateway(data)
        report.counts["requests answered"] += len(ours.requests)
        report.counts["streams refused"] += bool(ours.refusal)
        for name, reader in READERS.items():
            found = difference(ours, reader(data))
            if found is None:
                continue
            report.counts[f"{name}: {found}"] += 1
            if not found.startswith("refused: "):
                report.disagreements.append((name, found, data))
    return report
