"""Keep-alive connections to upstreams, a pool for each deployment."""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from services.gateway.answer import Answer, Broken
from services.gateway.target import Target
from services.gateway.tunnels import NO_PROXIES, Proxies, open_tunnel
from services.gateway.upstream_tls import Secured, UpstreamTls
from services.gateway.wire import READ_AT_ONCE, Connection
from shared.addresses import PUBLIC, Reach

_SWEEP_S = 1.0


class Unreachable(Exception):
    """No connection could be made: nothing of the request was sent."""


class ConnectTimeout(Unreachable):
    """No connection could be made, or became free, in time."""


class AddressRefused(Unreachable):
    """The name has no address that its upstream may be at."""


async def _addresses_of(host: str) -> list[str]:
    """What a name stands for now. OSError when nothing does."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class _Pool:
    """The connections to one deployment, at most `most` of them."""

    __slots__ = ("idle", "most", "open", "waiting")

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0
        self.idle: deque[Connection] = deque()
        self.waiting: deque[asyncio.Future[Connection | None]] = deque()

    def take_idle(self) -> Connection | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.is_usable:
                return connection
            self.open -= 1
        return None

    def take_back(self, connection: Connection, reusable: bool) -> None:
        if not reusable:
            self.give_up_place()
        elif not self._hand_on(connection):
            connection.idle_since = asyncio.get_running_loop().time()
            self.idle.append(connection)

    def give_up_place(self) -> None:
        """A connection is gone: who waits may make another in its place."""
        if not self._hand_on(None):
            self.open -= 1

    def _hand_on(self, connection: Connection | None) -> bool:
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False


class Pools:
    """Every pool. The connection that was used last is used first; idle ones are closed."""

    def __init__(
        self,
        *,
        tls: UpstreamTls,
        connect_timeout_s: float,
        keep_idle_s: float,
        most: int,
        proxies: Proxies = NO_PROXIES,
        reach: Reach = PUBLIC,
        resolve: Callable[[str], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        """Hold at most `most` connections to each deployment.

        `reach` and `resolve`, which gives a name's addresses, are for checked targets.
        """
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._keep_idle_s = keep_idle_s
        self._most = most
        self._proxies = proxies
        self._permitted = reach
        self._resolve = resolve or _addresses_of
        self._pools: dict[str, _Pool] = {}
        self._buffer = memoryview(bytearray(READ_AT_ONCE))
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def close(self) -> None:
        """Close every idle connection; those in use end with their answers."""
        self._sweeper.cancel()
        for pool in self._pools.values():
            while pool.idle:
                pool.idle.pop().discard()

    def request_target(self, target: Target) -> bytes:
        """What stands in the request line: the path, or the whole URL for a plain proxy."""
        if not target.secure and self._proxies.of(target.secure, target.host) is not None:
            return b"http://" + target.authority + target.path
        return target.path

    async def exchange(
        self,
        target: Target,
        pieces: Sequence[bytes | memoryview],
        *,
        first_byte_s: float,
        idle_s: float,
        total_s: float | None = None,
    ) -> Answer:
        """Send a request on a free connection. Raises Unreachable, Broken, TimeoutError.

        A kept connection that ended before any of the request was written is replaced. One that
        ends later is not: the upstream may have begun to work on what it was sent.
        """
        pool = self._pools.get(target.pool)
        if pool is None:
            pool = self._pools[target.pool] = _Pool(self._most)
        while True:
            connection = pool.take_idle() or await self._connect(pool, target)
            try:
                return await connection.exchange(
                    pieces, first_byte_s=first_byte_s, idle_s=idle_s, total_s=total_s
                )
            except Broken as problem:
                pool.take_back(connection, reusable=False)
                if not problem.untouched:
                    raise
            except BaseException:
                pool.take_back(connection, reusable=False)
                raise

    async def _connect(self, pool: _Pool, target: Target) -> Connection:
        """A new connection, or one that another request gave back. Raises Unreachable."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if pool.open >= pool.most:
                    handed_on = await self._wait_for_place(pool)
                    if handed_on is not None:
                        return handed_on
                else:
                    pool.open += 1
                try:
                    return await self._open(target, pool.take_back)
                except BaseException:
                    pool.give_up_place()
                    raise
        except TimeoutError:
            raise ConnectTimeout from None
        # A failed handshake is an OSError, a name that DNS or TLS cannot take a ValueError.
        except (OSError, ValueError) as error:
            raise Unreachable from error

    async def _wait_for_place(self, pool: _Pool) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        pool.waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            with suppress(ValueError):
                pool.waiting.remove(waiter)
            if waiter.done() and not waiter.cancelled():
                connection = waiter.result()
                if connection is None:
                    pool.give_up_place()
                else:
                    pool.take_back(connection, reusable=True)
            raise

    async def _open(
        self, target: Target, on_idle: Callable[[Connection, bool], None]
    ) -> Connection:
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
        if proxy is not None and target.secure:
            await open_tunnel(self._loop, proxy, target.host, target.port, protocol)
        elif proxy is not None:
            await self._loop.create_connection(lambda: protocol, proxy.host, proxy.port)
        elif target.is_checked:
            await self._reach_checked(target, protocol)
        else:
            await self._loop.create_connection(lambda: protocol, target.host, target.port)

    async def _reach_checked(self, target: Target, protocol: asyncio.BufferedProtocol) -> None:
        """Connect to an address that was judged, not to the name: it may change its mind."""
        found = await self._resolve(target.host)
        permitted = [each for each in found if self._permitted.permits(target.host, each)]
        if not permitted:
            raise AddressRefused
        problem: OSError | None = None
        for address in permitted:
            try:
                await self._loop.create_connection(lambda: protocol, address, target.port)
            except OSError as error:
                problem = error
            else:
                return
        raise problem or AddressRefused

    def _sweep(self) -> None:
        """Close what has been idle for too long, oldest first; forget pools that hold nothing."""
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        oldest = self._loop.time() - self._keep_idle_s
        for pool in self._pools.values():
            while pool.idle and pool.idle[0].idle_since < oldest:
                connection = pool.idle.popleft()
                connection.discard()
                pool.open -= 1
        for name in [name for name, pool in self._pools.items() if not pool.open]:
            del self._pools[name]
