"""Keep-alive connections to upstreams, a pool for each deployment."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from services.gateway.answer import Answer, Broken, ConnectTimeout, Unreachable
from services.gateway.dialer import Dialer
from services.gateway.lookups import Resolve, addresses_of
from services.gateway.target import Target
from services.gateway.tunnels import NO_PROXIES, Proxies
from services.gateway.upstream_tls import UpstreamTls
from services.gateway.wire import Connection
from shared.addresses import PUBLIC, Reach

_SWEEP_S = 1.0


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
        resolve: Resolve = addresses_of,
    ) -> None:
        """Hold at most `most` connections to each deployment.

        `resolve` gives a name's addresses; `reach` judges those of checked targets.
        """
        self._dialer = Dialer(tls, proxies, reach, resolve)
        self._connect_timeout_s = connect_timeout_s
        self._keep_idle_s = keep_idle_s
        self._most = most
        self._pools: dict[str, _Pool] = {}
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
        return self._dialer.request_target(target)

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
                    return await self._dialer.open(target, pool.take_back)
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
