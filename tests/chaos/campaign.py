"""One run: workers on a cluster, nemeses one after another, and the judgement."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.checker import check
from tests.chaos.cluster import GATEWAYS, cluster
from tests.chaos.history import History
from tests.chaos.nemeses import NEMESES
from tests.chaos.workload import Worker, look_at_everything
from tests.parts import until

_CALM_S = 0.4
_RECOVERY_S = 60.0
_REVOCATIONS = {"block", "delete", "team block"}


@dataclass
class Round:
    """When a nemesis was at work (monotonic), and how long until all was ready again."""

    nemesis: object
    began: float
    healed: float = float("inf")
    ready: float = float("inf")


@dataclass
class Report:
    """What a run found."""

    seed: int
    history: History
    rounds: list[Round] = field(default_factory=list)
    violations: list = field(default_factory=list)
    interruptions: list[str] = field(default_factory=list)

    def rows(self):
        """One row of figures for each nemesis."""
        return [self._row(name) for name in dict.fromkeys(r.nemesis.name for r in self.rounds)]

    def _row(self, name):
        rounds = [r for r in self.rounds if r.nemesis.name == name]

        def within(call):
            return any(r.began <= call.invoked < r.ready for r in rounds)

        writes = [w for w in self.history.writes if within(w)]
        uses = [u for u in self.history.uses if within(u)]
        took = sorted(
            1000 * (w.returned - w.invoked)
            for w in writes
            if w.what in _REVOCATIONS and w.outcome == "ok"
        )
        at = {p: round(took[int(p / 100 * (len(took) - 1))], 1) if took else None for p in (50, 99)}
        return {
            "nemesis": name,
            "rounds": len(rounds),
            "uses": len(uses),
            "undecided": sum(u.outcome == "unknown" for u in uses),
            "writes": len(writes),
            "pending": sum(w.outcome == "pending" for w in writes),
            "unknown": sum(w.outcome == "unknown" for w in writes),
            "revocations": len(took),
            "p50_ms": at[50],
            "p99_ms": at[99],
            "max_ms": round(took[-1], 1) if took else None,
            "ready_again_s": round(max(r.ready - r.healed for r in rounds), 2),
        }

    def as_json(self):
        return {
            "seed": self.seed,
            "rounds": len(self.rounds),
            "writes": len(self.history.writes),
            "uses": len(self.history.uses),
            "violations": [f"{v.kind}: {v.detail}" for v in self.violations],
            "interruptions": self.interruptions,
            "nemeses": self.rows(),
        }


class Campaign:
    """Strikes a cluster again and again while workers are at it."""

    def __init__(self, folder, seed, workers=4, say=lambda _text: None):
        self.folder = folder
        self.seed = seed
        self.workers = workers
        self.say = say
        self.history = History()
        self.report = Report(seed, self.history)

    async def run(self, nemeses, *, barrier=True, until_s=float("inf"), stops_when=lambda: False):
        """Each of `nemeses` (an iterable of them) in turn, until the time is over."""
        random.seed(self.seed)
        async with cluster(self.folder, barrier=barrier) as up:
            stop = asyncio.Event()
            workers = [Worker(n, up, self.history, self.seed) for n in range(self.workers)]
            tasks = [asyncio.ensure_future(worker.run(stop)) for worker in workers]
            try:
                for nemesis in nemeses:
                    if time.monotonic() > until_s or stops_when():
                        break
                    await self._strike(up, nemesis)
                    for task in tasks:
                        if task.done():
                            task.result()
            finally:
                stop.set()
                await asyncio.gather(*tasks)
            if barrier:
                await look_at_everything(up, self.history, workers)
        self.report.violations = check(self.history)
        self.report.interruptions = interruptions(self.report)
        return self.report

    async def _strike(self, up, nemesis):
        await asyncio.sleep(_CALM_S)
        entry = Round(nemesis, time.monotonic())
        self.report.rounds.append(entry)
        async with nemesis.strike(up):
            await asyncio.sleep(nemesis.hold_s)
        entry.healed = time.monotonic()
        await until(up.ready, f"all to be ready after: {nemesis.name}", _RECOVERY_S)
        entry.ready = time.monotonic()
        self.say(f"{nemesis.name}: ready again after {entry.ready - entry.healed:.2f} s")


def interruptions(report):
    """Uses without a decision while a nemesis was at work that the data plane must not notice."""
    found = []
    for each in report.rounds:
        if not each.nemesis.keeps_serving:
            continue
        lost = [
            use
            for use in report.history.uses
            if use.outcome == "unknown" and use.invoked >= each.began and use.returned < each.ready
        ]
        if lost:
            statuses = sorted({str(use.status) for use in lost})
            found.append(f"{each.nemesis.name}: {len(lost)} uses undecided ({', '.join(statuses)})")
    return found


def chosen_of(only):
    """The nemeses whose name has one of these words in it; all, when there are none."""
    return [n for n in NEMESES if not only or any(word in n.name for word in only)]


def fallen_short(report, only, rounds):
    """Which nemeses were not let loose as often as was asked."""
    had = Counter(each.nemesis.name for each in report.rounds if each.ready < float("inf"))
    return [
        f"{nemesis.name}: {had[nemesis.name]} of {rounds} rounds"
        for nemesis in chosen_of(only)
        if had[nemesis.name] < rounds
    ]


def sequence(seed, only=None, rounds=None):
    """Nemeses in a random order, every one as often as the others."""
    chosen = chosen_of(only)
    shuffler = random.Random(seed)
    count = 0
    while chosen and (rounds is None or count < rounds):
        shuffler.shuffle(chosen)
        yield from list(chosen)
        count += 1


def save(report, path):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report.as_json(), indent=1) + "\n")


def table(report):
    """The figures as a markdown table."""
    rows = report.rows()
    names = list(rows[0]) if rows else []
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


__all__ = ["GATEWAYS", "Campaign", "fallen_short", "interruptions", "save", "sequence", "table"]
