"""Opens connections to upstreams: a name looked up and judged, through a proxy, over TLS."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial

from aiohappyeyeballs import AddrInfoType, start_connection

from services.gateway.answer import AddressRefused
from services.gateway.lookups import Lookups, Resolve, addresses_of
from services.gateway.target import Target
from services.gateway.tunnels import Proxies, open_tunnel
from services.gateway.upstream_tls import Secured, UpstreamTls
from services.gateway.wire import READ_AT_ONCE, Connection
from shared.addresses import Reach

_NEXT_S = 0.25
"""After which the next of a name's addresses is tried beside the one that does not answer: RFC 8305
recommends it."""


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
        """Connect to the first of these that takes it; one that is silent holds up no other."""
        if not addresses:
            raise AddressRefused
        found = [_info(address, port) for address in addresses]
        sock = await start_connection(found, happy_eyeballs_delay=_NEXT_S, loop=self._loop)
        try:
            transport, _ = await self._loop.create_connection(lambda: protocol, sock=sock)
        except BaseException:
            sock.close()
            raise
        return transport


def _info(address: str, port: int) -> AddrInfoType:
    """An address as `getaddrinfo` gives it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
