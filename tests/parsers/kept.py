"""Inputs that searches found worth keeping, a few for each harness: `corpus/` holds them.

Of all inputs that run the same pairs of lines about as often, the shortest is taken.
"""

import base64
import sys
from collections import Counter
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
WATCHED = ("services", "shared")
MOST = 200
"""Inputs of one harness: `make test` tries them all."""
ROOT = str(Path(__file__).parents[2])


def kept(name):
    """The inputs that are kept for a harness."""
    lines = (CORPUS / f"{name}.txt").read_text().split()
    return [base64.b64decode(line) for line in lines]


def keep(check, found):
    """Keep what is needed of these inputs and of those that are kept already; how many that is."""
    path = CORPUS / f"{check.__name__}.txt"
    before = kept(check.__name__) if path.exists() else []
    seen = set()
    needed = []
    for data in sorted({*before, *found}, key=lambda data: (len(data), data)):
        steps = _steps(check, data)
        if steps not in seen and len(needed) < MOST:
            seen.add(steps)
            needed.append(data)
    CORPUS.mkdir(exist_ok=True)
    path.write_text("".join(base64.b64encode(data).decode() + "\n" for data in needed))
    return len(needed)


def _steps(check, data):
    """The pairs of lines of the product that ran one after the other, each with its magnitude."""
    steps = Counter()
    places = tuple(f"{ROOT}/{folder}/" for folder in WATCHED)

    def enter(frame, _event, _):
        file = frame.f_code.co_filename
        if not file.startswith(places):
            return None
        before = 0

        def step(frame, event, _):
            nonlocal before
            if event == "line":
                steps[file, before, frame.f_lineno] += 1
                before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return frozenset((step, count.bit_length()) for step, count in steps.items())
