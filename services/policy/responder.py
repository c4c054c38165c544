"""Answers `policy.decide`: a batch of asks in, as many answers out, only under a lease."""

from collections.abc import Callable

import structlog
from prometheus_client import Counter

from services.policy.decide import NotKnown, decide
from services.policy.lease import Lease
from services.policy.listing import list_models
from services.policy.table import GrantTable
from shared import subjects
from shared.courier import Courier
from shared.decisions import (
    Answer,
    Ask,
    Behind,
    ListQuestion,
    decode_asks,
    encode_answers,
)
from shared.decoding import UNDECODABLE

log = structlog.get_logger()

DECISIONS = Counter("policy_decisions", "Questions answered with allow or deny")
NOT_ANSWERED = Counter("policy_not_answered", "Questions sent on to another replica")
MALFORMED = Counter("policy_malformed_batches", "Messages on policy.decide that are no batch")


class Responder:
    """Subscribed while the replica holds a lease; every answer is checked against it again."""

    def __init__(
        self,
        courier: Courier,
        lease: Lease,
        table: Callable[[], GrantTable],
        *,
        boottime: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        """Answer from `table()`; `boottime` is the lease's clock, `now` the wall clock."""
        self._courier = courier
        self._lease = lease
        self._table = table
        self._boottime = boottime
        self._now = now
        self._subscriptions: list[int] = []

    @property
    def is_open(self) -> bool:
        """Whether questions reach this replica."""
        return bool(self._subscriptions)

    def open(self) -> None:
        """Join the queue group, and hear the second tries that go to every replica."""
        if not self._subscriptions:
            hear = self._courier.subscribe
            self._subscriptions = [
                hear(subjects.DECIDE, self._answer, queue=subjects.DECIDE_QUEUE),
                hear(subjects.DECIDE_ANY, self._answer),
            ]

    def close(self) -> None:
        """Leave the queue group, so that questions go to the others."""
        leaving, self._subscriptions = self._subscriptions, []
        for subscription in leaving:
            self._courier.unsubscribe(subscription)

    def _answer(self, _: str, reply: str, data: bytes | None) -> None:
        try:
            asks = decode_asks(data or b"")
        except UNDECODABLE:
            MALFORMED.inc()
            return
        self._courier.publish(reply, encode_answers(self.answers(asks)))

    def answers(self, asks: list[Ask]) -> list[Answer]:
        """One answer for each ask, in order; `Behind` for what this replica must not answer."""
        table = self._table()
        now = self._now()
        found: list[Answer] = [answer(table, ask, now) for ask in asks]
        # Last of all: a process that was frozen in the middle must not answer from the past.
        if not self._lease.holds(self._boottime()):
            NOT_ANSWERED.inc(len(asks))
            return [Behind(table.rev)] * len(asks)
        DECISIONS.inc(len(asks))
        return found


def answer(table: GrantTable, ask: Ask, now: float) -> Answer:
    """The answer to one ask from this table: the door to `decide` for the bus and for HTTP."""
    if ask.floor > table.rev:
        return Behind(table.rev)
    try:
        if isinstance(ask, ListQuestion):
            return list_models(table, ask, now)
        return decide(table, ask, now)
    except NotKnown:
        return Behind(table.rev)
