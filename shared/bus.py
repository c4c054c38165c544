"""The NATS connection, with the settings that survive restarts, and the change stream's edge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from ssl import SSLContext

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import Error as JetStreamError

from shared.nkey import Proof, login
from shared.tls import say_nothing_in_the_clear

log = structlog.get_logger()

_CONNECT_TIMEOUT_S = 2
_CLOSE_TIMEOUT_S = 2.0


class BusUnavailable(Exception):
    """NATS or JetStream did not answer, so the outcome of what was asked is not known."""


class _Watch:
    """Says what happens to a connection, each trouble once, and whom it concerns."""

    def __init__(self, on_closed: Callable[[], None], on_reconnected: Callable[[], None]) -> None:
        self._on_closed = on_closed
        self._on_reconnected = on_reconnected
        self._trouble = ""
        self.is_wanted = True

    async def disconnected(self) -> None:
        if self.is_wanted:
            log.warning("bus_disconnected")

    async def reconnected(self) -> None:
        self._trouble = ""
        log.info("bus_reconnected")
        self._on_reconnected()

    async def closed(self) -> None:
        if self.is_wanted:
            log.error("bus_closed")
            self._on_closed()

    async def error(self, problem: Exception) -> None:
        trouble = f"{type(problem).__name__}: {problem}"[:200]
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("bus_error", error=trouble)


@asynccontextmanager
async def connect(
    client: Client,
    url: str,
    user: str,
    proof: Proof | None,
    *,
    tls: SSLContext | None = None,
    on_closed: Callable[[], None],
    on_reconnected: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Keep `client` connected within the block; waits until the server is there.

    It reconnects for ever; `on_closed` hears if it is closed all the same (a message over the
    server's limit does that). Each user has an inbox prefix of its own, which its permissions
    name, so no service can read another's answers. With `tls`, one without TLS is told nothing.
    """
    watch = _Watch(on_closed, on_reconnected)
    say_nothing_in_the_clear(client, url, tls)
    try:
        await client.connect(
            servers=[url],
            **login(client, user, proof),
            name=user,
            tls=tls,
            inbox_prefix=f"_INBOX_{user}".encode(),
            connect_timeout=_CONNECT_TIMEOUT_S,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; a float works
            max_reconnect_attempts=-1,
            ping_interval=5,
            max_outstanding_pings=2,
            disconnected_cb=watch.disconnected,
            reconnected_cb=watch.reconnected,
            closed_cb=watch.closed,
            error_cb=watch.error,
        )
        log.info("bus_connected")
        yield
    finally:
        watch.is_wanted = False
        # drain() raises while the server is down and leaves the client open. close() marks it
        # closed first, but with unsent data it raises then too, or waits for a frozen server.
        with suppress(RuntimeError, OSError, TimeoutError, nats.errors.Error):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await client.close()


@contextmanager
def outcome_known(what: str) -> Iterator[None]:
    """Turn every way of not getting an answer into BusUnavailable."""
    try:
        yield
    except (JetStreamError, nats.errors.Error, TimeoutError, OSError) as error:
        raise BusUnavailable(what) from error


async def say(client: Client, subject: str, data: bytes = b"") -> None:
    """Publish a core message. Raises BusUnavailable."""
    with outcome_known(subject):
        await client.publish(subject, data)


async def hear(client: Client, subject: str, take: Callable[[bytes], Awaitable[None]]) -> None:
    """Have `take` called with the data of each message on a core subject."""

    async def taken(message: Msg) -> None:
        await take(message.data)

    await client.subscribe(subject, cb=taken)


@asynccontextmanager
async def reach(
    url: str, user: str, proof: Proof | None, wait_s: float, tls: SSLContext | None
) -> AsyncIterator[Client]:
    """A connection for one errand. Raises BusUnavailable when none is there within `wait_s`."""
    client = Client()
    connection = connect(client, url, user, proof, tls=tls, on_closed=lambda: None)
    try:
        async with asyncio.timeout(wait_s):
            await connection.__aenter__()
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise BusUnavailable(url) from error
    try:
        yield client
    finally:
        await connection.__aexit__(None, None, None)
