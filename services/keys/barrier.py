"""The barrier: when a change that is committed may be answered with 200.

Publish first, then read who could still answer, then wait until each of them has applied the
change or cannot hold a lease any more. Each step's order matters; see the design notes.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import structlog
from nats.aio.client import Client
from prometheus_client import Counter, Histogram

from services.keys.members import Members
from services.keys.publisher import Publisher
from shared import subjects
from shared.bus import BusUnavailable, hear, say
from shared.replication import Epoch
from shared.streams import ChangeStream

log = structlog.get_logger()

_PUBLISH_WAIT_S = 2.0
_PUBLISH_WAITS = 5
_ASK_AGAIN_S = 0.25
_PROMPT_S = 0.1
"""How soon every replica that lives and is reached has reported; only then are records read."""

SECONDS = Histogram(
    "barrier_seconds",
    "From a change's commit until it is in force everywhere",
    buckets=(0.002, 0.004, 0.008, 0.016, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 6, 10),
)
TIMEOUTS = Counter("barrier_timeouts", "Changes that waited for a lease to run out")


class Barrier:
    """Waits for the policy replicas. One subscription hears what each has applied."""

    def __init__(
        self,
        client: Client,
        stream: ChangeStream,
        publisher: Publisher,
        boottime: Callable[[], float],
    ) -> None:
        """Watch the replicas over `client`; `boottime` is this process's own clock, in seconds."""
        self._client = client
        self._publisher = publisher
        self._boottime = boottime
        self.members = Members(stream, boottime)

    async def open(self) -> None:
        """Begin to hear the replicas' reports."""
        await hear(self._client, subjects.APPLIED, self.members.heard)

    async def enforced(self, rev: int) -> Literal["enforced", "pending"]:
        """Return when no replica can answer from before `rev`, or that this is not known yet."""
        began = self._boottime()
        if not await self._is_published(rev):
            return "pending"
        published_at = self._boottime()
        epoch = self._publisher.epoch
        if epoch is None:
            return "pending"
        deadline = published_at + epoch.lease_s + epoch.margin_s
        if not await self._each_has_applied(epoch, rev, deadline):
            TIMEOUTS.inc()
            await asyncio.sleep(max(0.0, deadline - self._boottime()))
        SECONDS.observe(self._boottime() - began)
        return "enforced"

    async def _is_published(self, rev: int) -> bool:
        """Whether the stream holds `rev` soon; while it comes nearer there is hope."""
        for _ in range(_PUBLISH_WAITS):
            before = self._publisher.published_rev
            if await self._publisher.published(rev, _PUBLISH_WAIT_S):
                return True
            if self._publisher.published_rev <= before:
                break
        return False

    async def _each_has_applied(self, epoch: Epoch, rev: int, deadline: float) -> bool:
        """Whether each replica that could answer has applied `rev`; False: not known in time."""
        try:
            named, now_epoch = await self.members.named()
        except BusUnavailable:
            return False
        if not named or not _counts(now_epoch, epoch):
            return False
        length = epoch.lease_s + epoch.margin_s
        # Whoever was silent for so long is not waited for; their records tell if they are back.
        expected = [name for name in named if not self.members.is_silent(name, length)]
        have_reported = await self.members.all_have(expected, epoch, rev, _PROMPT_S)
        if have_reported and len(expected) == len(named):
            return True
        missing = {name for name in named if not self.members.has(name, epoch, rev)}
        try:
            found, now_epoch = await self.members.look(missing)
        except BusUnavailable:
            return False
        if not _counts(now_epoch, epoch):
            return False
        # A record that is gone was taken back by a replica that had stopped answering before.
        alive = {r.member.replica for r in found if self.members.still_for(r) < length}
        if not alive and len(missing) == len(named):
            return False
        return await self._all_applied(alive, epoch, rev, deadline)

    async def _all_applied(
        self, waiting: set[str], epoch: Epoch, rev: int, deadline: float
    ) -> bool:
        while not await self.members.all_have(
            waiting, epoch, rev, max(0.0, min(_ASK_AGAIN_S, deadline - self._boottime()))
        ):
            missing = sorted(r for r in waiting if not self.members.has(r, epoch, rev))
            if self._boottime() >= deadline:
                log.warning("barrier_timeout", revision=rev, missing=missing)
                return False
            with suppress(BusUnavailable):  # the change is committed; the deadline decides
                await say(self._client, subjects.REPORT)
        return True


def _counts(found: Epoch | None, epoch: Epoch) -> bool:
    """Whether the stream is still the one published to, and its records name every replica."""
    return found is not None and found.id == epoch.id and found.complete and found.settled
