"""What can go wrong, each by itself or together with others; the seed chooses."""

import random

from shared import subjects
from tests.sim.clockwork import World
from tests.sim.parts import KeysProcess, PolicyProcess, Site

FAULTS = (
    "cut",
    "cut_all",
    "stall",
    "freeze",
    "freeze_soon",
    "crash",
    "leave",
    "wipe",
    "wipe_while_away",
    "spoil",
    "jetstream",
    "losing",
    "doubling",
    "store",
    "pause",
)


class Faults:
    """The part of a scenario that does harm."""

    world: World
    rng: random.Random
    site: Site
    keys: list[KeysProcess]
    policies: list[PolicyProcess]
    gateways: list
    buried: list
    faults: list[str]
    length_s: float
    _old_snapshots: tuple[int, dict[str, tuple[int, bytes]]] | None = None

    @property
    def _is_war(self) -> bool:
        return self.world.now < self.length_s

    def _start(self, kind, name: str):
        raise NotImplementedError

    def _misfortune(self) -> None:
        if not self._is_war:
            return
        getattr(self, "_" + self.rng.choice(self.faults))()
        pause = self.rng.expovariate(1.2) if self.rng.random() < 0.8 else 0.002
        self.world.after(pause, self._misfortune)

    def _length(self) -> float:
        """How long a trouble lasts: often short, now and then longer than any lease."""
        return self.rng.choice((0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 7.0)) * self.rng.uniform(0.5, 1)

    def _anyone(self):
        return self.rng.choice([*self.keys, *self.policies])

    def _any_link(self):
        return self.rng.choice(self._anyone().links)

    def _cut(self) -> None:
        self._any_link().cut(self._length())

    def _cut_all(self) -> None:
        for process in (*self.keys, *self.policies, *self.gateways):
            for link in process.links:
                link.cut(self.rng.uniform(0.1, 1))

    def _stall(self) -> None:
        way = self.rng.choice(((True, True), (True, False), (False, True)))
        self._any_link().stall(self._length(), out=way[0], back=way[1])

    def _freeze(self) -> None:
        self._anyone().freeze(self._length())

    def _freeze_soon(self) -> None:
        self._anyone().freeze(self._length(), after_callbacks=self.rng.randint(1, 60))

    def _crash(self) -> None:
        self._crash_one(self._anyone())

    def _crash_policy(self) -> None:
        self._crash_one(self.rng.choice(self.policies))

    def _crash_one(self, process) -> None:
        if not process.is_mid_step:
            self._end(process)
            self.world.after(self._length(), self._restart, process)

    def _end(self, process) -> None:
        self.world.say(process.name, "KILLED")
        process.kill()

    def _restart(self, process) -> None:
        where, kind, name = (
            (self.keys, KeysProcess, "keys")
            if isinstance(process, KeysProcess)
            else (self.policies, PolicyProcess, "policy")
        )
        if process in where:
            where.remove(process)
            self.buried.append(process)
            where.append(self._start(kind, name))

    def _leave(self) -> None:
        process = self.rng.choice(self.policies)
        if not process.is_dead:
            process.spawn(process.leave(), "leaving")
            self.world.after(self.rng.uniform(0.1, 2), self._replace, process)

    def _replace(self, process) -> None:
        if process in self.policies and process.is_dead:
            self._restart(process)

    def _wipe(self) -> None:
        if self.rng.random() < 0.5:
            self.site.server.wipe(subjects.STREAM)
        else:
            self._wipe_all()
        for fault in (self._cut_all, self._freeze, self._cut, self._freeze_soon, self._crash):
            if self.rng.random() < 0.25:  # troubles seldom come alone
                fault()

    def _wipe_while_away(self) -> None:
        """A replica misses changes for longer than its lease, and comes back to a lost stream.

        What it can read of that then depends on how far keys, on a slow link, has filled it.
        """
        lease_s = self.site.lease_s
        away_s = lease_s * self.rng.uniform(1.2, 2.5)
        policy = self.rng.choice(self.policies)
        if self.rng.random() < 0.5:
            policy.freeze(away_s)
        else:
            policy.links[0].cut(away_s)
        self.world.after(away_s - self.rng.uniform(0.0, 0.4 * lease_s), self._lose_stream_slowly)

    def _lose_stream_slowly(self) -> None:
        if not self._is_war:
            return
        for keys in self.keys:
            keys.links[0].latency_s = self.rng.choice((0.001, 0.05, 0.2, 0.5))
            self.world.after(self._length(), self._speed_up, keys.links[0])
        self._wipe_all()

    def _wipe_all(self) -> None:
        self.site.server.wipe()
        self.site.judge.harmed()

    def _speed_up(self, link) -> None:
        link.latency_s = 0.001

    def _spoil(self) -> None:
        """Lose or damage snapshots: all, a chunk, the index, a replica's own; or bring old ones."""
        stream = self.site.server.streams.get(subjects.SNAPSHOTS)
        for folder in self.site.free_folders:
            for name, data in folder.files.items():
                folder.files[name] = self._damaged(data)
        if stream is None or not stream.messages:
            return
        if self.rng.random() < 0.7:  # somebody has to start from what is left
            self._crash_policy()
        what = self.rng.choice(("all", "lost", "damaged", "old"))
        self.world.say("server", "SNAPSHOTS SPOILT", what)
        subject = self.rng.choice(sorted(stream.messages))
        if what == "all":
            self.site.server.wipe(subjects.SNAPSHOTS)
        elif what == "lost":
            del stream.messages[subject]
        elif what == "damaged":
            seq, data = stream.messages[subject]
            stream.messages[subject] = (seq, self._damaged(data))
        elif self._old_snapshots is None:
            self._old_snapshots = (stream.last_seq, dict(stream.messages))
        else:
            stream.last_seq, stream.messages = self._old_snapshots
            self._old_snapshots = None
        self.site.judge.harmed()

    def _damaged(self, data: bytes) -> bytes:
        if not data or self.rng.random() < 0.3:
            return data[: self.rng.randrange(len(data) + 1)]
        at = self.rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self.rng.randrange(8)]) + data[at + 1 :]

    def _jetstream(self) -> None:
        self.site.server.stall(self._length())

    def _losing(self) -> None:
        self.site.server.losing = self.rng.choice((0.0, 0.1, 0.5))

    def _doubling(self) -> None:
        self.site.server.doubling = self.rng.choice((0.0, 0.1, 0.5))

    def _store(self) -> None:
        store = self.rng.choice(self.keys).store
        store.loses_answers, store.loses_requests, store.late = (
            self.rng.choice((0.0, 0.0, 0.2, 1.0)) for _ in range(3)
        )

    def _pause(self) -> None:
        self.world.pause_chance = self.rng.choice((0.0, 0.002, 0.01))
