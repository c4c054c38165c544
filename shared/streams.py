"""The JetStream streams, as the two who use them need them: leader reads, conditional writes."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError

from shared import subjects
from shared.bus import BusUnavailable, outcome_known
from shared.changes import MAX_CHANGE_BYTES

_REQUEST_TIMEOUT_S = 2.0
_LAST_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
_LAST_SEQUENCE_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
_WRONG_LAST_SEQUENCE = 10071
_NAME_IN_USE = 10058
_LEAST_PAYLOAD = MAX_CHANGE_BYTES + 64 * 1024
"""A change or a record of a snapshot at its largest, with its headers: the server counts both."""

_PER_MS = 1 << 18
"""Sequences for each millisecond: no stream takes so many messages. The server's last, 2**62 (from
there it misreads conditions; tried with 2.15.1), comes in the year 2527."""

_STATUS = "Status"
_SEQUENCE = "Nats-Sequence"
_END_OF_BATCH = "204"
_NOTHING_THERE = "404"


class Superseded(Exception):
    """A conditional publish was refused: something else stands there by now."""


def new_beginning(now: float, chance: int) -> int:
    """The sequence for a stream made at `now` (Unix time, s) to begin at.

    Above all that one made earlier holds, as far as the clocks that told the time agree.

    Began all at 1, a record of a stream made after a wipe could stand at the very sequence of the
    one before: what a slow replica still writes on condition of that one would be stored, and what
    it still purges up to there would be gone, until the log is published once more. Where clocks
    are further apart than the making of two streams, `chance` still keeps the first from happening.
    """
    return int(now * 1000) * _PER_MS + chance % _PER_MS + 1


def _beginning_now() -> int:
    return new_beginning(time.time(), secrets.randbelow(_PER_MS))


class ChangeStream:
    """The stream GRANTS as its users need it: leader reads, and publishing on a condition.

    Every method raises BusUnavailable when the outcome is not known.
    """

    name = subjects.STREAM
    subject_space = subjects.STREAM_SUBJECTS

    def __init__(
        self,
        client: Client,
        *,
        replicas: int = 1,
        beginning: Callable[[], int] = _beginning_now,
    ) -> None:
        """Use this connection; `replicas` are the servers that hold a stream made here.

        It begins at the sequence that `beginning` gives: new_beginning of now, as a rule.
        """
        self._beginning = beginning
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=_REQUEST_TIMEOUT_S)
        self._replicas = replicas

    async def last(self, subject: str) -> tuple[int, bytes] | None:
        """The sequence and data of the last message on a subject (a wildcard may stand in it)."""
        with outcome_known(subject):
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
        with outcome_known(pattern):
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
        """Which subjects matching `pattern` hold a message, by the leader; 100,000 at most."""
        info = await self._info(pattern)
        return [] if info is None else list(info.state.subjects or {})

    async def _info(self, pattern: str | None = None) -> StreamInfo | None:
        with outcome_known(self.name):
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
        with outcome_known(subject):
            try:
                ack = await self._js.publish(subject, data, headers=headers)
            except APIError as error:
                if error.err_code == _WRONG_LAST_SEQUENCE:
                    raise Superseded(subject) from error
                raise
        return ack.seq

    async def create(self) -> None:
        """Make the stream, or give one of an earlier version what it lacks.

        One message a subject; none is deleted by its number. Direct reads serve whole batches.
        BusUnavailable too when the server takes no message of a change's size.
        """
        if self._client.max_payload < _LEAST_PAYLOAD:
            msg = f"its max_payload is {self._client.max_payload} bytes; set max_payload: 8MB"
            raise BusUnavailable(msg)
        info = await self._info()
        with outcome_known(self.name):
            if info is None:
                await self._add()
            elif not info.config.allow_direct:
                info.config.allow_direct = True
                await self._js.update_stream(info.config)

    async def _add(self) -> None:
        try:
            await self._js.add_stream(
                name=self.name,
                subjects=[self.subject_space],
                max_msgs_per_subject=1,
                deny_delete=True,
                allow_direct=True,
                num_replicas=self._replicas,
                first_seq=self._beginning(),
            )
        except APIError as error:
            if error.err_code != _NAME_IN_USE:  # another replica's, begun elsewhere, is as good
                raise

    async def purge(self, *, up_to: int | None = None, subject: str | None = None) -> None:
        """Remove messages: those up to a sequence, those on a subject, both, or (neither) all."""
        below = None if up_to is None else up_to + 1
        with outcome_known(self.name):
            try:
                await self._js.purge_stream(self.name, seq=below, subject=subject)
            except NotFoundError:
                return


class SnapshotStream(ChangeStream):
    """The stream SNAPSHOTS, with the same promises."""

    name = subjects.SNAPSHOTS
    subject_space = subjects.SNAPSHOT_SUBJECTS
