"""HTTP proxies on the way to upstreams: which one, and the tunnel through it."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from shared.reading import Place

_MAX_ANSWER = 16 * 1024
_OK = b"200"


class Proxy(NamedTuple):
    """A proxy and what it wants to be told; `credential` is a header value, secret."""

    host: str
    port: int
    credential: bytes | None

    def __repr__(self) -> str:
        """Show where it is, and no credential."""
        return f"Proxy(host={self.host!r}, port={self.port})"


class Proxies:
    """Which proxy, if any, leads to a host."""

    __slots__ = ("_by_scheme", "_bypass")

    def __init__(self, by_scheme: Mapping[str, str], bypass: Callable[[str], bool]) -> None:
        """`by_scheme` maps `http` and `https` to URLs; `bypass` says which hosts go without.

        ConfigError when such a URL cannot be used.
        """
        self._by_scheme = {
            scheme: read_proxy(url, Place("environment", f"{scheme.upper()}_PROXY"))
            for scheme, url in by_scheme.items()
            if url
        }
        self._bypass = bypass

    def of(self, secure: bool, host: str) -> Proxy | None:
        """The proxy for a request, None to connect directly."""
        if not self._by_scheme:
            return None
        proxy = self._by_scheme.get("https" if secure else "http")
        return None if proxy is None or self._bypass(host) else proxy


NO_PROXIES = Proxies({}, lambda _: True)


def read_proxy(url: str, place: Place) -> Proxy:
    """Read `http://user:password@host:port`. ConfigError for any other kind of address."""
    cure = "correct it (a '/', '?', '#' or '@' of its password is escaped: %2F, %3F, %23, %40)"
    problem = place.error("must be http://host:port", cure)
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError:
        # Its text quotes what it took for the port, which may be a password.
        raise problem from None
    if parts.scheme != "http" or not parts.hostname:
        raise problem
    credential = None
    if parts.username is not None:
        plain = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credential = b"Basic " + base64.b64encode(plain.encode())
    return Proxy(parts.hostname, port, credential)


class _Handshake(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT, and not a byte beyond it."""

    def __init__(self, answered: "asyncio.Future[bool]") -> None:
        self._answered = answered
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, beyond = self._read.partition(b"\r\n\r\n")
        if self._answered.done():
            return
        if end:
            words = head.split(b" ", 2)
            fine = len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1] == _OK
            self._answered.set_result(fine and not beyond)
        elif len(self._read) > _MAX_ANSWER:
            self._answered.set_result(False)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._answered.done():
            self._answered.set_result(False)


async def open_tunnel(
    connect: Callable[[asyncio.Protocol], Awaitable[asyncio.Transport]],
    proxy: Proxy,
    host: str,
    port: int,
    protocol: asyncio.BufferedProtocol,
) -> None:
    """Connect `protocol` through `proxy`, which `connect` leads to, to host:port.

    OSError when it cannot be.
    """
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    transport = await connect(_Handshake(answered))
    try:
        where = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        request = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n".encode("ascii")
        if proxy.credential is not None:
            request += b"Proxy-Authorization: " + proxy.credential + b"\r\n"
        transport.write(request + b"\r\n")
        fine = await answered
    except BaseException:
        transport.abort()
        raise
    if not fine:
        transport.abort()
        msg = "the proxy made no tunnel"
        raise ConnectionError(msg)
    # Nothing came beyond the answer, and nothing will before the client has spoken.
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
