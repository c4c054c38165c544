"""What the gateway sends names one model to every parser: the one that was decided.

Each generated body is read and rendered as the gateway does; then every reference parser reads
what would go upstream.
"""

from collections import Counter
from random import Random

from services.gateway.errors import Rejected
from services.gateway.requests import JsonBody, read
from tests.parsers.bodies import body
from tests.parsers.readers import FORM_READERS, JSON_READERS, Unreadable

BATCH = 200
"""Bodies in one conversation with Node: below what a pipe holds, so that nobody waits for both."""


class Report:
    """`disagreements` are (reader, what it read, what was decided, the body as it was sent)."""

    def __init__(self):
        self.counts = Counter()
        self.disagreements = []


def compare(count, seed, node=None):
    """Make that many bodies and compare every reader's reading of those that are accepted.

    Small ones may go on as they came here, which only large ones may in a gateway.
    """
    random = Random(seed)
    report = Report()
    waiting = []
    for _ in range(count):
        made = body(random)
        kind = "form" if made.boundary else "json"
        try:
            found = read(made.boundary, made.data, made.path_model, copied_below=0)
        except Rejected as rejected:
            assert rejected.status == 400  # noqa: PT017
            report.counts[f"{kind} refused"] += 1
            continue
        report.counts[f"{kind} accepted"] += 1
        if kind == "json" and b"".join(found.render(found.model).pieces) is made.data:
            report.counts["json as it came"] += 1
        # A pattern's upstream name holds what the client wrote, so that is rendered as well.
        decided = random.choice(("up", found.model))
        rendered = found.render(decided)
        data = b"".join(rendered.pieces)
        assert len(data) == rendered.length
        _compare_one(report, found, decided, data, rendered.content_type)
        if node is not None:
            waiting.append(("" if kind == "json" else rendered.content_type, data, decided, made))
        if len(waiting) == BATCH:
            _compare_in_node(report, node, waiting)
    if waiting:
        _compare_in_node(report, node, waiting)
    return report


def readings(found, data, content_type):
    """What each parser of this process finds: (its name, the models; None for an unreadable)."""
    is_json = isinstance(found, JsonBody)
    for name, reader in (JSON_READERS if is_json else FORM_READERS).items():
        try:
            yield name, reader(data) if is_json else reader(data, content_type)
        except Unreadable:
            yield name, None


def _compare_one(report, found, decided, data, content_type):
    for name, models in readings(found, data, content_type):
        if models is None:
            report.counts[f"{name} could not read"] += 1
        elif models != [decided]:
            report.disagreements.append((name, models, decided, data))


def _compare_in_node(report, node, waiting):
    readings = node.read([(kind, data) for kind, data, _, _ in waiting])
    for (_, data, decided, _), models in zip(waiting, readings, strict=True):
        if models is None:
            report.counts["node could not read"] += 1
        elif models != [decided]:
            report.disagreements.append(("node", models, decided, data))
    report.counts["read by node"] += len(waiting)
    waiting.clear()
