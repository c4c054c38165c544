"""Asks policy, for every request: all questions of one event-loop turn in one NATS message.

A question is asked of one replica; without an answer in time, or with "ask another", of all of
them at once, and the first real answer wins. No fresh answer is `PolicyUnavailable`, never a no.
"""

import asyncio
import itertools

import msgspec
from prometheus_client import Counter

from services.gateway.errors import PolicyUnavailable
from shared import subjects
from shared.courier import Courier
from shared.decisions import (
    MAX_BATCH,
    Allow,
    Answer,
    Ask,
    Deny,
    Listing,
    ListQuestion,
    Question,
    decode_answers,
    encode_asks,
    is_answer,
)
from shared.decoding import UNDECODABLE

_FIRST_TRY_S = 0.25
_AGAIN_S = 0.3
"""Between tries of every replica: two or three in a second, however slow they are."""
_SOON_S = 0.01
"""When the one replica that was asked first says "ask another", or nobody listens."""

STALE = Counter("authorize_stale", "Answers that were older than the question's floor")
RETRIES = Counter("authorize_retries", "Questions that went to a second replica")
UNAVAILABLE = Counter("authorize_unavailable", "Questions nobody answered in time")

_Waiting = tuple[Ask, asyncio.Future[Allow | Deny | Listing]]


class _Batch:
    """The questions of one turn until each has its answer; at most one timer of each kind."""

    __slots__ = ("again", "expiry", "replies", "waiting")

    def __init__(self, waiting: list[_Waiting]) -> None:
        self.waiting = waiting
        self.replies: list[str] = []
        self.again: asyncio.TimerHandle | None = None
        self.expiry: asyncio.TimerHandle | None = None


class PolicyClient:
    """The gateway's one way to an answer. Remembers the highest revision seen as the floor."""

    def __init__(self, courier: Courier, *, inbox: str, timeout_s: float) -> None:
        """Ask over `courier` and hear answers under `inbox`, a subject nobody else has.

        `timeout_s` is for one question in all, retries included.
        """
        self._courier = courier
        self._timeout_s = timeout_s
        self._inbox = inbox
        self._numbers = itertools.count()
        self._turn: list[_Waiting] = []
        self._in_flight: dict[str, tuple[_Batch, list[_Waiting]]] = {}
        self._floor = 0
        courier.subscribe(inbox + ".*", self._hear)

    @property
    def floor(self) -> int:
        """The highest revision seen: no answer may be older. 0 before the first."""
        return self._floor

    def saw(self, revision: int) -> None:
        """Accept no answer from before `revision` from now on."""
        self._floor = max(self._floor, revision)

    async def ask(self, ask: Question | ListQuestion) -> Allow | Deny | Listing:
        """The answer, at the floor's revision or later. Raises PolicyUnavailable.

        A cancelled caller harms nobody else in its batch.
        """
        if ask.floor < self._floor:
            ask = msgspec.structs.replace(ask, floor=self._floor)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Allow | Deny | Listing] = loop.create_future()
        if not self._turn:
            loop.call_soon(self._flush)
        self._turn.append((ask, future))
        found = await future
        self.saw(found.revision)
        return found

    async def ping(self) -> int:
        """The revision of a replica that may answer. Raises PolicyUnavailable."""
        found = await self.ask(Question(bytes(32), None, "/health/readiness"))
        return found.revision

    def _flush(self) -> None:
        """Send what this turn of the loop has gathered."""
        turn, self._turn = self._turn, []
        loop = asyncio.get_running_loop()
        for start in range(0, len(turn), MAX_BATCH):
            batch = _Batch(turn[start : start + MAX_BATCH])
            batch.expiry = loop.call_later(self._timeout_s, self._expire, batch)
            batch.again = loop.call_later(_FIRST_TRY_S, self._ask_all, batch)
            self._send(subjects.DECIDE, batch)

    def _ask_all(self, batch: _Batch) -> None:
        """Ask every replica, and go on asking until somebody answers or time is up."""
        batch.waiting = [waiting for waiting in batch.waiting if not waiting[1].done()]
        if not batch.waiting:
            self._end(batch)
            return
        RETRIES.inc(len(batch.waiting))
        batch.again = asyncio.get_running_loop().call_later(_AGAIN_S, self._ask_all, batch)
        self._send(subjects.DECIDE_ANY, batch)

    def _send(self, subject: str, batch: _Batch) -> None:
        reply = f"{self._inbox}.{next(self._numbers)}"
        batch.replies.append(reply)
        self._in_flight[reply] = (batch, batch.waiting)
        # Not sent is not answered: the batch's own deadline says so.
        self._courier.publish(subject, encode_asks([ask for ask, _ in batch.waiting]), reply=reply)

    def _hear(self, subject: str, _: str, data: bytes | None) -> None:
        batch, asked = self._in_flight.get(subject, (None, []))
        if batch is None:
            return
        first_try = subject == batch.replies[0]
        if data is None:
            self._hurry(batch, first_try)
            return
        try:
            answers = decode_answers(data)
        except UNDECODABLE:
            return
        if len(answers) != len(asked):
            return
        if not _settle(asked, answers):
            self._hurry(batch, first_try)
        elif all(future.done() for _, future in batch.waiting):
            self._end(batch)

    def _hurry(self, batch: _Batch, first_try: bool) -> None:
        """Go on to every replica now; between later tries the pause stays as it is."""
        if first_try and len(batch.replies) == 1 and batch.again is not None:
            batch.again.cancel()
            batch.again = asyncio.get_running_loop().call_later(_SOON_S, self._ask_all, batch)

    def _expire(self, batch: _Batch) -> None:
        for _, future in batch.waiting:
            if not future.done():
                UNAVAILABLE.inc()
                future.set_exception(PolicyUnavailable("no policy replica answered in time"))
        self._end(batch)

    def _end(self, batch: _Batch) -> None:
        for timer in (batch.again, batch.expiry):
            if timer is not None:
                timer.cancel()
        for reply in batch.replies:
            self._in_flight.pop(reply, None)


def _settle(asked: list[_Waiting], answers: list[Answer]) -> bool:
    """Give each question its answer; False when some replica has to be asked again."""
    complete = True
    for (ask, future), found in zip(asked, answers, strict=True):
        if future.done():
            continue
        if found.revision < ask.floor:
            STALE.inc()
            complete = False
        elif is_answer(found, ask):
            future.set_result(found)
        else:
            complete = False
    return complete
