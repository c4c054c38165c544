"""One seed, one history: a workload, a choice of faults, then peace, in which all must recover."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import structlog

from tests.sim.clockwork import World
from tests.sim.faults import FAULTS, Faults
from tests.sim.parts import GatewayProcess, KeysProcess, PolicyProcess, Site
from tests.sim.snapshots import SCALE

_KEYS = tuple(number.to_bytes(32, "big") for number in range(3))
_PEACE_S = 40.0
_BLIP_S = 4.0
"""A request to JetStream that was lost in the last fault holds a renewal up for two seconds, which
a lease of one second does not last."""


class Outcome(NamedTuple):
    """What a run showed. `violation` is None when every promise held, and nothing crashed."""

    seed: int
    violation: str | None
    is_crash: bool
    trace: list[str]
    answers: int
    acknowledged: int
    virtual_s: float


def run(seed: int, *, site: type[Site] = Site, tracing: bool = False) -> Outcome:
    """Run one seed to its end, or to the first broken promise."""
    with quiet(), patched(site):
        return Scenario(seed, site, tracing=tracing).play()


class Scenario(Faults):
    """The history of one seed."""

    def __init__(self, seed: int, site: type[Site], *, tracing: bool) -> None:
        self.seed = seed
        self.world = World(seed, tracing=tracing)
        self.rng = self.world.rng
        lease_s = self.rng.choice((1.0, 2.0, 5.0))
        every = self.rng.choice((0, 0, 2, 2, 3))
        margin_s = 0.1 * lease_s
        self.site = site(self.world, lease_s=lease_s, margin_s=margin_s, snapshot_every=every)
        self.site.on_enforced = self._look_everywhere
        self._names = 0
        self._requests = 0
        self._unheard: set[str] = set()
        self._questions = 0
        self.length_s = self.rng.uniform(4, 8) + 2 * lease_s
        self.faults = self.rng.sample(FAULTS, self.rng.randint(0, 6))
        self.keys = [self._start(KeysProcess, "keys") for _ in range(self.rng.randint(1, 2))]
        self.policies = [
            self._start(PolicyProcess, "policy") for _ in range(self.rng.randint(1, 3))
        ]
        self.gateways = [self._start(GatewayProcess, "gateway") for _ in range(2)]
        self.buried: list[KeysProcess | PolicyProcess] = []
        self.world.say(
            "scenario", f"L={lease_s} S={every} faults={self.faults} for {self.length_s:.1f} s"
        )

    def _start(self, kind, name: str):
        self._names += 1
        process = kind(self.site, f"{name}{self._names}")
        latency_s = self.rng.choice((0.001, 0.001, 0.01, 0.05))
        for link in process.links:
            link.latency_s = latency_s
        self.world.say(process.name, "started")
        return process

    def play(self) -> Outcome:
        for key in _KEYS:
            self.world.after(self.rng.random(), self._write, key, True)
        self.world.after(0.5, self._work)
        self.world.after(0.1, self._ask)
        if self.faults:
            self.world.after(self.rng.uniform(0.5, 2), self._misfortune)
        self.world.run_until(self.length_s)
        self._make_peace()
        self._expect_recovery()
        outcome = Outcome(
            self.seed,
            self.world.violation,
            self.world.is_crash,
            self.world.trace or [],
            self.site.facts.answers,
            len(self.site.facts.acknowledged),
            self.world.now,
        )
        self.world.is_over = True
        for process in (*self.keys, *self.policies, *self.gateways, *self.buried):
            process.bury()
        return outcome

    # The workload.

    def _work(self) -> None:
        if self._is_war:
            self._write(self.rng.choice(_KEYS), self.rng.choice((True, False, False, None)))
            self.world.after(self.rng.expovariate(2.0), self._work)

    def _write(self, key: bytes, allowed: bool | None) -> None:
        self._requests += 1
        process = self.rng.choice(self.keys)
        process.spawn(process.write(f"r{self._requests}", key, allowed=allowed), "a write")

    def _ask(self) -> None:
        if self._is_war:
            gateway = self.rng.choice(self.gateways)
            gateway.spawn(gateway.ask_and_forget(self.rng.choice(_KEYS)), "a question")
            self.world.after(self.rng.expovariate(8.0), self._ask)

    def _look_everywhere(self) -> None:
        """A write was just answered as being in force: ask at once, whoever may answer."""
        for policy in self.policies:
            policy.check_lease()
        for gateway in self.gateways:
            gateway.spawn(gateway.ask_and_forget(self.rng.choice(_KEYS)), "a question")

    # Peace.

    def _make_peace(self) -> None:
        self.world.say("scenario", "peace")
        self.world.pause_chance = 0.0
        self.site.server.losing = self.site.server.doubling = 0.0
        self.site.server.corrupts_pushes = False
        for process in (*self.keys, *self.policies, *self.gateways):
            process.freezes_no_more()
            for link in process.links:
                link.latency_s, link.spikes = 0.001, 0.0
        for keys in self.keys:
            keys.store.loses_answers = keys.store.loses_requests = keys.store.late = 0.0

    def _expect_recovery(self) -> None:
        """With the faults gone, everything converges, and writes and questions are answered."""
        self._await(self._lacking, _PEACE_S)
        for keys in self.keys:
            self._requests += 1
            self._unheard.add(f"r{self._requests}")
            keys.spawn(keys.write(f"r{self._requests}", _KEYS[0], allowed=True), "a write")
        self._await(self._unacknowledged, 2 * self.site.lease_s + 1)
        self._questions = len(self.gateways) * len(_KEYS)
        for gateway in self.gateways:
            for key in _KEYS:
                gateway.spawn(self._expect_answer(gateway, key), "a question")
        self._await(self._unanswered, _BLIP_S)
        self._judge_log()

    def _await(self, lacking: Callable[[], str], within_s: float) -> None:
        deadline = self.world.now + within_s
        while (lack := lacking()) and self.world.violation is None:
            if self.world.now > deadline:
                self.world.fail(f"in peace, for {within_s} s: {lack}")
            self.world.run_until(self.world.now + 0.25)

    async def _expect_answer(self, gateway: GatewayProcess, key: bytes) -> None:
        while not await gateway.ask(key):
            pass  # each try has an end of its own
        self._questions -= 1

    def _unanswered(self) -> str:
        return f"{self._questions} questions are not answered" if self._questions else ""

    def _unacknowledged(self) -> str:
        lacking = self._unheard - set(self.site.facts.acknowledged.values())
        return f"{sorted(lacking)} are not acknowledged" if lacking else ""

    def _lacking(self) -> str:
        if self.site.server.is_stalled:
            return "jetstream stands still"
        for process in (*self.keys, *self.policies, *self.gateways):
            if process.is_dead:
                self._restart(process)
            if process.is_frozen or not all(link.is_well for link in process.links):
                return f"{process.name} is away"
        return self._keys_lack() or self._policies_lack()

    def _keys_lack(self) -> str:
        for keys in self.keys:
            if keys.journal.refusal is not None:
                return f"{keys.name} refuses writes: {keys.journal.refusal}"
            if keys.publisher.trouble is not None:
                return f"{keys.name}: {keys.publisher.trouble}"
            if keys.publisher.published_rev != self.site.disk.head:
                return f"{keys.name} has published {keys.publisher.published_rev}"
        return ""

    def _policies_lack(self) -> str:
        for policy in self.policies:
            if not (policy.lease.holds(policy.clock()) and policy.responder.is_open):
                return f"{policy.name} has no lease: {policy.readiness.parts()}"
            if policy.feed.table.rev != self.site.disk.head:
                return f"{policy.name} is at {policy.feed.table.rev}"
        return ""

    def _judge_log(self) -> None:
        for rev, request in self.site.facts.acknowledged.items():
            if self.site.disk.requests.get(rev) != request:
                self.world.fail(f"{request} was acknowledged at {rev}, which the log lacks")


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines: a run says what happened in its trace."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def patched(site: type[Site]) -> AbstractContextManager[None]:
    """The scale of the simulated world, and what the site replaces, while the block lasts."""
    return replaced(*SCALE, *site.patches)


@contextmanager
def replaced(*patches: tuple[Any, str, Any]) -> Iterator[None]:
    """Owners have these attributes instead, while the block lasts."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, replacement in patches:
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)
