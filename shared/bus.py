"""The NATS connection, with the settings that survive restarts, and the change stream's edge."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from ssl import SSLContext

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError
from nats.js.errors import Error as JetStreamError

from shared import subjects
from shared.changes import MAX_CHANGE_BYTES
from shared.nkey import Proof, login
from shared.tls import say_nothing_in_the_clear

log = structlog.get_logger()

_CONNECT_TIMEOUT_S = 2
_REQUEST_TIMEOUT_S = 2.0
_CLOSE_TIMEOUT_S = 2.0
_LAST_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
_LAST_SEQUENCE_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
_WRONG_LAST_SEQUENCE = 10071
_LEAST_PAYLOAD = MAX_CHANGE_BYTES + 64 * 1024
"""A change or a record of a snapshot at its largest, with its headers: the server counts both."""

_STATUS = "Status"
_SEQUENCE = "Nats-Sequence"
_END_OF_BATCH = "204"
_NOTHING_THERE = "404"


class BusUnavailable(Exception):
    """NATS or JetStream did not answer, so the outcome of what was asked is not known."""


class Superseded(Exception):
    """A conditional publish was refused: something else stands there by now."""


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
def _known(what: str) -> Iterator[None]:
    """Turn every way of not getting an answer into BusUnavailable."""
    try:
        yield
    except (JetStreamError, nats.errors.Error, TimeoutError, OSError) as error:
        raise BusUnavailable(what) from error


class ChangeStream:
    """The stream GRANTS as its users need it: leader reads, and publishing on a condition.

    Every method raises BusUnavailable when the outcome is not known.
    """

    name = subjects.STREAM
    subject_space = subjects.STREAM_SUBJECTS

    def __init__(self, client: Client, *, replicas: int = 1) -> None:
        """Use this connection; `replicas` are the servers that hold a stream made here."""
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=_REQUEST_TIMEOUT_S)
        self._replicas = replicas

    async def last(self, subject: str) -> tuple[int, bytes] | None:
        """The sequence and data of the last message on a subject (a wildcard may stand in it)."""
        with _known(subject):
            try:
                message = await self._js.get_last_msg(self.name, subject)
            except NotFoundError:
                return None
        return message.seq or 0, message.data or b""

    async def following(self, seq: int, pattern: str, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` messages on `pattern` from sequence `seq` on, in order; one request.

        Any server of the stream may answer, one that is behind too: for what is checked by its
        hash, never for what is newest.
        """
        found: list[tuple[int, bytes]] = []
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def take(message: Msg) -> None:
            headers = message.headers or {}
            if _SEQUENCE in headers:
                found.append((int(headers[_SEQUENCE]), message.data))
            elif not ended.done():
                ended.set_result(headers.get(_STATUS, ""))

        asked = {"seq": seq, "next_by_subj": pattern, "batch": limit}
        with _known(pattern):
            inbox = self._client.new_inbox()
            subscription = await self._client.subscribe(inbox, cb=take)
            try:
                subject = f"$JS.API.DIRECT.GET.{self.name}"
                await self._client.publish(subject, json.dumps(asked).encode(), reply=inbox)
                async with asyncio.timeout(_REQUEST_TIMEOUT_S * 2):
                    status = await ended
            finally:
                if not self._client.is_closed:
                    await subscription.unsubscribe()
        if status not in (_END_OF_BATCH, _NOTHING_THERE):
            raise BusUnavailable(pattern)
        return found

    async def last_sequence(self) -> int | None:
        """The stream's last sequence as its leader has it; None when there is no stream."""
        info = await self._info()
        return None if info is None else info.state.last_seq

    async def subjects_under(self, pattern: str) -> list[str]:
        """Which subjects matching `pattern` hold a message, as the leader has it."""
        info = await self._info(pattern)
        return [] if info is None else list(info.state.subjects or {})

    async def _info(self, pattern: str | None = None) -> StreamInfo | None:
        with _known(self.name):
            try:
                return await self._js.stream_info(self.name, subjects_filter=pattern)
            except NotFoundError:
                return None

    async def put(self, subject: str, data: bytes, *, after: tuple[str, int] | None = None) -> int:
        """Store a message and return its sequence, which a quorum holds then.

        `after` = (filter, sequence): only when the last message matching `filter` has that
        sequence (0: there is none); else Superseded.
        """
        headers = None
        if after is not None:
            headers = {_LAST_SEQUENCE_SUBJECT: after[0], _LAST_SEQUENCE: str(after[1])}
        with _known(subject):
            try:
                ack = await self._js.publish(subject, data, headers=headers)
            except APIError as error:
                if error.err_code == _WRONG_LAST_SEQUENCE:
                    raise Superseded(subject) from error
                raise
        return ack.seq

    async def create(self, first_seq: int = 1) -> None:
        """Make the stream, or give one of an earlier version what it lacks.

        One message a subject; none is deleted by its number. Direct reads serve whole batches.
        A stream made here begins at `first_seq`.
        BusUnavailable too when the server takes no message of a change's size.
        """
        if self._client.max_payload < _LEAST_PAYLOAD:
            msg = f"its max_payload is {self._client.max_payload} bytes; set max_payload: 8MB"
            raise BusUnavailable(msg)
        info = await self._info()
        with _known(self.name):
            if info is None:
                await self._js.add_stream(
                    name=self.name,
                    subjects=[self.subject_space],
                    max_msgs_per_subject=1,
                    deny_delete=True,
                    allow_direct=True,
                    num_replicas=self._replicas,
                    first_seq=first_seq,
                )
            elif not info.config.allow_direct:
                info.config.allow_direct = True
                await self._js.update_stream(info.config)

    async def purge(self, *, up_to: int | None = None, subject: str | None = None) -> None:
        """Remove messages: those up to a sequence, those on a subject, both, or (neither) all."""
        below = None if up_to is None else up_to + 1
        with _known(self.name):
            try:
                await self._js.purge_stream(self.name, seq=below, subject=subject)
            except NotFoundError:
                return


class SnapshotStream(ChangeStream):
    """The stream SNAPSHOTS, with the same promises."""

    name = subjects.SNAPSHOTS
    subject_space = subjects.SNAPSHOT_SUBJECTS


async def say(client: Client, subject: str, data: bytes = b"") -> None:
    """Publish a core message. Raises BusUnavailable."""
    with _known(subject):
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
