"""What a client may send on a connection: requests that two readers may take differently."""

METHODS = (
    "GET",
    "POST",
    "POST",
    "POST",
    "PUT",
    "HEAD",
    "DELETE",
    "get",
    "M-SEARCH",
    "XPOST",
    "PRI",
)
TARGETS = (
    "/a",
    "/v1/chat/completions",
    "//a",
    "/a?b=c",
    "/%2e%2e/a",
    "http://b/a",
    "*",
    "/a#b",
    "/ä",
)
VERSIONS = ("HTTP/1.1",) * 12 + ("HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9")
BROKEN_VERSIONS = ("http/1.1", "HTTP/1.10", "HTTP/01.1", "HTTP/1.1 ", "HTTP/ 1.1", "HTTP/1,1", "")
CODINGS = (
    "Chunked",
    "chunked ",
    "\tchunked",
    "xchunked",
    "chunked, identity",
    "gzip, chunked",
    "identity",
    "chunked,",
    ", chunked",
    '"chunked"',
    "chunked;q=1",
    "\x0bchunked",
    "chunked\x0c",
    "ch unked",
    "chunked\x00",
    "",
)
LENGTHS = (
    "+{0}",
    "-{0}",
    "0{0}",
    "{0} ",
    "\t{0}",
    "{0},{0}",
    "{0}, {0}",
    "0x{0:x}",
    "{0}.0",
    "{0}\x0b",
    "{0};",
    "{0}_0",
    "{0} {0}",
    "18446744073709551616",
    "٣",
    "",
)
NAMES = (
    "{0} ",
    "{0}\t",
    " {0}",
    "{0}\x00",
    "\x0b{0}",
    "X: a\n{0}",
    "X: a\r{0}",
    "X: a\r\n\t{0}",
    "X:\r\n {0}",
    "{0}\r\n",
    "{0}\xa0",
)
SIZES = (
    "0{0:x}",
    "0000000000000000{0:x}",
    "+{0:x}",
    "-{0:x}",
    "0x{0:x}",
    "{0:x} ",
    " {0:x}",
    "{0:x}\t",
    "{0:x};a=b",
    '{0:x};a="b"',
    "{0:x} ;a",
    "{0:x};a\n",
    "{0:x};a\rb",
    "{0:x};\x00",
    "{0:x}_",
    "{0:x},",
    "ffffffffffffffff{0:x}",
    "{0:x}\r\n",
    "",
)
LASTS = (
    "0\r\nT: v\r\n\r\n",
    "0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "00\r\n\r\n",
    "0;a\r\n\r\n",
    "0\n\n",
    "0\r\n\r",
    "0\r\n",
    "0\r\n\n",
    "0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    "0\r\n T: v\r\n\r\n",
    "",
)
CRLF = "\r\n"
ENDS = ("\n", "\r", "\r\r\n", "\n\r\n", "\r\n ", "\r\n\r\n", "\x0b\r\n")
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
BODIES = (
    "",
    "hello",
    SMUGGLED,
    "0\r\n\r\n" + SMUGGLED,
    "5\r\nhello\r\n0\r\n\r\n",
    "\r\n",
    "\x00\xff",
)
OTHERS = (
    "Connection: close",
    "Connection: keep-alive",
    "Connection: close, keep-alive",
    "Connection: x",
    "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Connection: Upgrade\r\nUpgrade: websocket",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Content-Encoding: gzip",
    "Proxy-Connection: close",
    "Host: b",
    "X-Empty:",
    "X-Text: caf\xe9",
    "X-Colon::a:b",
    "X Space: a",
    ": a",
    "X-None",
    "X-Tab:\ta\tb\t",
    "X-Control: a\x01b",
    "X-Delete: a\x7fb",
)


def stream(random):
    """One to four requests, one after the other; half of all streams have something odd."""
    oddness = random.choice((0, 0, 0.06, 0.25))
    whole = b"".join(_request(random, oddness) for _ in range(random.randint(1, 4)))
    if random.random() < 0.03:
        whole = whole[: random.randrange(len(whole))]
    elif random.random() < 0.03:
        at = random.randrange(len(whole))
        whole = whole[:at] + bytes([random.randrange(256)]) + whole[at + random.randint(0, 1) :]
    return whole


class _Odd:
    """Says what is odd about one request: `at_times` for so many of its parts."""

    def __init__(self, random, share):
        self._random = random
        self.share = share

    def at_times(self, weight=1.0):
        return self._random.random() < self.share * weight

    def one_of(self, plain, odd, weight=1.0):
        return self._random.choice(odd) if self.at_times(weight) else plain

    def name(self, text):
        return self.one_of("{0}", NAMES).format(text)

    def end(self):
        return self.one_of(CRLF, ENDS, 0.25)


def _request(random, share):
    odd = _Odd(random, share)
    lines, body = _framing(random, odd)
    lines.append(f"{odd.name('Host')}: a")
    if random.random() < 0.2:
        lines.append(random.choice(OTHERS[:3]))
    if odd.at_times():
        lines.append(random.choice(OTHERS))
    random.shuffle(lines)
    method, target, version = "POST", TARGETS[1], "HTTP/1.1"
    if share:
        method, target = random.choice(METHODS), random.choice(TARGETS)
        version = random.choice(BROKEN_VERSIONS if odd.at_times() else VERSIONS)
    between = odd.one_of(" ", ("  ", "\t", " \r", "\x0b"))
    before = odd.one_of("", ("\r\n", "\n", " ", "\r\n\r\n", "\r"))
    head = f"{before}{method}{between}{target} {version}{odd.end()}"
    head += "".join(line + odd.end() for line in lines) + odd.end()
    return (head + body).encode(odd.one_of("latin-1", ("utf-8",)), "replace")


def _framing(random, odd):
    """The headers that say how long the body is, and the body."""
    body = random.choice(BODIES)
    way = odd.one_of(random.choice(("none", "length", "chunked")), ("both",))
    if way == "none":
        return [], ""
    lines = []
    if way in ("length", "both"):
        lines.append(
            f"{odd.name('Content-Length')}: {odd.one_of('{0}', LENGTHS)}".format(len(body))
        )
    if way in ("chunked", "both"):
        lines.append(f"{odd.name('Transfer-Encoding')}: {odd.one_of('chunked', CODINGS)}")
    if odd.at_times():  # once more, the same or another
        lines.append(random.choice((*lines, "Content-Length: 5", "Transfer-Encoding: chunked")))
    if way == "chunked" or (way == "both" and random.random() < 0.5):
        body = _chunks(random, body, odd)
    return lines, body


def _chunks(random, body, odd):
    """The body in chunks, each as it may be written, or as it may not."""
    out = ""
    cut = random.randint(0, len(body))
    for piece in (body[:cut], body[cut:]):
        if piece:
            size = odd.one_of("{0:x}", SIZES).format(len(piece))
            out += f"{size}\r\n{piece}{odd.one_of(CRLF, ENDS, 0.5)}"
    return out + odd.one_of("0\r\n\r\n", LASTS)
