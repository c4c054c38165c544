"""`GET /health/propagation`: how far the newest change has come, replica by replica."""

from collections import deque
from collections.abc import Callable

from aiohttp import web

from services.keys.journal import Journal
from services.keys.members import Members, Replica
from services.keys.publisher import Publisher
from shared.credentials import Secret
from shared.http import guarded
from shared.replication import Epoch

_REMEMBERED = 4096


class Propagation:
    """Follows the head, so as to tell how long a replica has been without a change."""

    def __init__(
        self,
        journal: Journal,
        publisher: Publisher,
        members: Members,
        boottime: Callable[[], float],
    ) -> None:
        """Compare the log's head with what each of `members` has applied."""
        self._journal = journal
        self._publisher = publisher
        self._members = members
        self._boottime = boottime
        self._heads: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)
        journal.on_grown(self._grown)

    def _grown(self) -> None:
        self._heads.append((self._journal.state.rev, self._boottime()))

    def lag_ms(self, applied: int) -> float:
        """For how long the oldest change above `applied` has been committed; 0: there is none.

        Only as far back as this process remembers.
        """
        if applied >= self._journal.state.rev or not self._heads:
            return 0.0
        since = next((at for rev, at in self._heads if rev > applied), self._heads[-1][1])
        return round((self._boottime() - since) * 1000, 1)

    def report(self) -> dict[str, object]:
        """What the route answers."""
        head, epoch = self._journal.state.rev, self._publisher.epoch
        replicas = sorted(self._members.known().values(), key=lambda r: r.member.replica)
        told = [self._replica(replica, epoch) for replica in replicas]
        return {
            "head": head,
            "chain": self._journal.state.chain.hex(),
            "published": self._publisher.published_rev,
            "refusing_writes": self._journal.refusal,
            "stream": self._publisher.trouble or "ok",
            "epoch": None
            if epoch is None
            else {
                "id": epoch.id,
                "first_revision": epoch.first_rev,
                "complete": epoch.complete,
                "settled": epoch.settled,
                "schema": epoch.schema,
                "lease_s": epoch.lease_s,
                "margin_s": epoch.margin_s,
            },
            "settled": bool(epoch and epoch.complete and epoch.settled),
            "replicas": told,
            "max_lag_ms": max((self._lag(r) for r in replicas if self._lives(r, epoch)), default=0),
        }

    def _replica(self, replica: Replica, epoch: Epoch | None) -> dict[str, object]:
        name = replica.member.replica
        word = self._members.last_word(name) or replica.member
        return {
            "replica": name,
            "applied": word.rev,
            "lag_ms": self._lag(replica),
            "epoch": word.epoch,
            "of_this_epoch": epoch is not None and word.epoch == epoch.id,
            "schema": word.schema,
            "alive": self._lives(replica, epoch),
        }

    def _lag(self, replica: Replica) -> float:
        word = self._members.last_word(replica.member.replica) or replica.member
        return self.lag_ms(word.rev)

    def _lives(self, replica: Replica, epoch: Epoch | None) -> bool:
        limit = 0.0 if epoch is None else epoch.lease_s + epoch.margin_s
        return self._members.still_for(replica) <= limit

    def routes(self, token: Secret | None) -> list[web.RouteDef]:
        """The route, for the internal token's holders."""

        async def propagation(_: web.Request) -> web.Response:
            return web.json_response(self.report())

        return [web.get("/health/propagation", guarded(propagation, token))]
