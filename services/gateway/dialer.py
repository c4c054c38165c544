"""Opens connections to upstreams: a name looked up and judged, through a proxy, over TLS."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from services.gateway.answer import AddressRefused
from services.gateway.target import Target
from services.gateway.tunnels import Proxies, open_tunnel
from services.gateway.upstream_tls import Secured, UpstreamTls
from services.gateway.wire import READ_AT_ONCE, Connection
from shared.addresses import Reach, is_address

Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def addresses_of(host: str) -> list[str]:
    """What a name stands for now. OSError when nothing does."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


_AT_ONCE = 2
_PATIENCE_S = 1.0
"""After which somebody asks a second time: one lost packet holds a look-up up for five seconds."""


class Lookups:
    """What names stand for, each asked about at most twice at a time.

    A look-up cannot be ended, and there is room for some dozens: a name that a nameserver is
    silent about would take all of it, were each request for it to ask anew.
    """

    def __init__(self, resolve: Resolve) -> None:
        """Ask `resolve`, which raises OSError for a name that stands for nothing."""
        self._loop = asyncio.get_running_loop()
        self._resolve = resolve
        self._asked: dict[str, list[tuple[float, asyncio.Future[Sequence[str]]]]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, in the order to try them. OSError, ValueError: it has none."""
        if is_address(host):
            return [host]
        asked = self._asked.setdefault(host, [])
        now = self._loop.time()
        if not asked or (len(asked) < _AT_ONCE and now - asked[-1][0] >= _PATIENCE_S):
            found = asyncio.ensure_future(self._resolve(host))
            asked.append((now, found))
            found.add_done_callback(lambda done: self._forget(host, now, done))
        return await asyncio.shield(asked[-1][1])

    def _forget(self, host: str, began: float, done: asyncio.Future[Sequence[str]]) -> None:
        self._asked[host].remove((began, done))
        if not self._asked[host]:
            del self._asked[host]
        if not done.cancelled():
            done.exception()  # seen, also when everybody has left


class Dialer:
    """Makes connections; a pool keeps them."""

    def __init__(
        self, tls: UpstreamTls, proxies: Proxies, reach: Reach, resolve: Resolve = addresses_of
    ) -> None:
        """Go through `proxies`; `reach` judges the addresses of checked targets."""
        self._loop = asyncio.get_running_loop()
        self._tls = tls
        self._proxies = proxies
        self._permitted = reach
        self._lookups = Lookups(resolve)
        self._buffer = memoryview(bytearray(READ_AT_ONCE))

    def request_target(self, target: Target) -> bytes:
        """What stands in the request line: the path, or the whole URL for a plain proxy."""
        if not target.secure and self._proxies.of(target.secure, target.host) is not None:
            return b"http://" + target.authority + target.path
        return target.path

    async def open(self, target: Target, on_idle: Callable[[Connection, bool], None]) -> Connection:
        """A connection to a target, which calls `on_idle` when it is free again.

        AddressRefused when the target may not be there; OSError (TLS has its own) and ValueError,
        for a name that DNS or TLS cannot take, when it cannot be reached.
        """
        connection = Connection(self._loop, self._buffer, on_idle)
        if target.is_checked and self._permitted.refuses(target.host):
            raise AddressRefused
        secured = None
        if target.secure:
            secured = Secured(self._loop, self._tls, target.host, self._buffer, connection)
        try:
            await self._reach(target, secured or connection)
            if secured is not None:
                await secured.ready
        except BaseException:
            if secured is not None:
                secured.abort()
            raise
        return connection

    async def _reach(self, target: Target, protocol: asyncio.BufferedProtocol) -> None:
        """Connect to a target, or through the proxy that leads to it."""
        proxy = self._proxies.of(target.secure, target.host)
        if proxy is None:
            found = await self._lookups.addresses(target.host)
            if target.is_checked:
                # To an address that was judged, not to the name: it may change its mind.
                found = [each for each in found if self._permitted.permits(target.host, each)]
            await self._connect(found, target.port, protocol)
            return
        found = await self._lookups.addresses(proxy.host)
        if target.secure:
            await open_tunnel(
                partial(self._connect, found, proxy.port), proxy, target.host, target.port, protocol
            )
        else:
            await self._connect(found, proxy.port, protocol)

    async def _connect(
        self, addresses: Sequence[str], port: int, protocol: asyncio.BaseProtocol
    ) -> asyncio.Transport:
        """Connect to the first of these that takes it."""
        problem: OSError | None = None
        for address in addresses:
            try:
                transport, _ = await self._loop.create_connection(lambda: protocol, address, port)
            except OSError as error:
                problem = error
            else:
                return transport
        raise problem or AddressRefused
