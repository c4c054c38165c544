"""What the gateway says about itself: one log line a decision, and its metrics. Never a key.

Both are on every request's path: counts are plain numbers that are read when somebody asks, and
the line is encoded here, in the shape the other lines have.
"""

import datetime as dt
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import get_args

import msgspec
import structlog
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.gateway.answers import Stamp
from services.gateway.load import Limit, Note
from services.gateway.refusals import shown
from services.gateway.routes import Route
from shared.decisions import Allow, Deny, Listing
from shared.limiter import Limiter
from shared.log_writer import STDERR

_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Write = Callable[[dict[str, object]], None]
_encode = msgspec.json.Encoder().encode


class Tally(Collector):
    """Counts since the start. Its labels come from closed sets, so it stays small."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.answered: dict[tuple[str, int], int] = {}
        self.refused: dict[str, int] = {}
        self.shed: dict[Limit, int] = {}
        self.decided = [0] * (len(_BOUNDS) + 1)
        self.deciding_s = 0.0

    def collect(self) -> Iterator[Metric]:
        """Give the counts in prometheus-client's words."""
        requests = CounterMetricFamily(
            "grantgate_gateway_requests", "Requests answered", labels=["route", "status"]
        )
        for (route, status), count in self.answered.items():
            requests.add_metric([route, str(status)], count)
        yield requests
        refusals = CounterMetricFamily(
            "grantgate_gateway_refusals", "Requests policy refused", labels=["reason"]
        )
        for reason, count in self.refused.items():
            refusals.add_metric([reason], count)
        yield refusals
        shed = CounterMetricFamily(
            "grantgate_gateway_shed", "Requests and connections not served", labels=["limit"]
        )
        for limit, count in self.shed.items():
            shed.add_metric([limit], count)
        yield shed
        bounds = [*map(str, _BOUNDS), "+Inf"]
        yield HistogramMetricFamily(
            "grantgate_gateway_decision_seconds",
            "From the question to policy until its answer",
            buckets=list(zip(bounds, accumulate(map(float, self.decided)), strict=True)),
            sum_value=self.deciding_s,
        )


TALLY = Tally()
REGISTRY.register(TALLY)


def answered(route: Route | None, status: int) -> None:
    """Count one answer; `route` None is a target that nothing serves."""
    label = "unmatched" if route is None else route.label
    counts = TALLY.answered
    counts[label, status] = counts.get((label, status), 0) + 1


def writer(level: str, form: str) -> Write:
    """The way a decision's line takes, by the settings `log_level` and `log_format`."""
    if level not in ("debug", "info"):
        return lambda _: None
    if form != "json":
        return _through_structlog
    clock = _Clock()

    def write(fields: dict[str, object]) -> None:
        fields["timestamp"] = clock.now()
        STDERR.add(_encode(fields) + b"\n")

    return write


def limited(write: Write, limiter: Limiter, clock: Callable[[], float]) -> Write:
    """A way that lets through what `limiter` does; `suppressed` is what it held back before."""

    def add(fields: dict[str, object]) -> None:
        held_back = limiter.let(clock())
        if held_back is not None:
            write({**fields, "suppressed": held_back} if held_back else fields)

    return add


def unavailable(per_s: int, clock: Callable[[], float]) -> Write:
    """What warns that policy did not answer, so many times a second and at least once."""

    def warn(fields: dict[str, object]) -> None:
        structlog.get_logger().warning("policy_unavailable", **fields)

    return limited(warn, Limiter(max(1, per_s)), clock)


def shedding(per_s: int, clock: Callable[[], float]) -> Note:
    """What counts load that was shed, and logs so many times a second that it was."""
    limiters = {limit: Limiter(per_s) for limit in get_args(Limit)}

    def note(limit: Limit) -> None:
        TALLY.shed[limit] = TALLY.shed.get(limit, 0) + 1
        held_back = limiters[limit].let(clock())
        if held_back is not None:
            structlog.get_logger().warning("load_shed", limit=limit, suppressed=held_back)

    return note


class _Clock:
    """The time as `datetime.isoformat` writes it, most of which is the same for a second."""

    def __init__(self) -> None:
        self._second = 0
        self._shown = ""

    def now(self) -> str:
        second, micros = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second = second
            self._shown = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._shown}.{micros:06d}+00:00"


def _through_structlog(fields: dict[str, object]) -> None:
    kept = {k: v for k, v in fields.items() if k not in ("event", "service", "level")}
    structlog.get_logger().info("decision", **kept)


def _team(decision: Allow | Deny) -> str | None:
    """A team's id; in a denial it may be a client's text."""
    team = decision.team
    return shown(team) if team is not None and isinstance(decision, Deny) else team


def decided(
    write: Write,
    stamp: Stamp,
    route: Route,
    decision: Allow | Deny | Listing,
    *,
    model: str | None,
    status: int,
    seconds: float,
) -> None:
    """Log one decision with the status it led to. `seconds` is what deciding took."""
    TALLY.decided[bisect_left(_BOUNDS, seconds)] += 1
    TALLY.deciding_s += seconds
    reason = None
    if isinstance(decision, Deny):
        reason = decision.reason.value
        TALLY.refused[reason] = TALLY.refused.get(reason, 0) + 1
    write(
        {
            "event": "decision",
            "request_id": stamp.request_id,
            "route": route.path,
            "model": None if model is None else shown(model),
            "decision": "allow" if reason is None else "deny",
            "reason": reason,
            "revision": decision.revision,
            "team": None if isinstance(decision, Listing) else _team(decision),
            "status": status,
            "ms": int(seconds * 1e6) / 1e3,  # round() takes longer than the rest of the line
            "service": "gateway",
            "level": "info",
        }
    )
