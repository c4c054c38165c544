"""Judges a history: was anyone served who could not be, refused who had to be served, or lost?

Every management call sets registers (`k1.blocked`, `t2.models`, `g3.models`), each of which has one
writer that calls one at a time. At the time of a use, a register may hold what the last call set
that was in force before the use began, or what any later call may have set before the use ended. A
call of unknown outcome may still come true at any later time. A use is a violation when no
combination of what its registers may hold explains it; so nothing is reported that could have been
right.
"""

import bisect
import itertools
from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """What is wrong, and the calls that show it."""

    kind: str
    detail: str


class Registers:
    """What each register may hold at a time, from the writes of a history."""

    def __init__(self, writes):
        self._writes = defaultdict(list)
        for write in sorted(writes, key=lambda w: w.invoked):
            for register in write.effects:
                self._writes[register].append(write)
        # Everything up to a revision is in force once a write of it or a later one returned 200.
        done = sorted((w.revision, w.returned) for w in writes if w.outcome == "ok" and w.revision)
        self._revisions = [revision for revision, _ in done]
        self._since = []
        earliest = float("inf")
        for _, returned in reversed(done):
            earliest = min(earliest, returned)
            self._since.append(earliest)
        self._since.reverse()

    def writes_of(self, register):
        return self._writes.get(register, [])

    def in_force_since(self, write):
        """When `write` was known to be in force everywhere; never for what may not have been."""
        since = write.returned if write.outcome == "ok" else float("inf")
        if write.outcome in ("ok", "pending") and write.revision:
            at = bisect.bisect_left(self._revisions, write.revision)
            if at < len(self._since):
                since = min(since, self._since[at])
        return since

    def possible(self, register, begun, ended, default=None):
        """The values `register` may have had for a use from `begun` to `ended`."""
        writes = self.writes_of(register)
        last = None
        for index, write in enumerate(writes):
            if self.in_force_since(write) <= begun:
                last = index
        found = [default] if last is None else [writes[last].effects[register]]
        for index, write in enumerate(writes):
            late = write.outcome == "unknown" and write.invoked < ended
            concurrent = (
                (last is None or index > last) and write.outcome != "fail" and write.invoked < ended
            )
            if late or concurrent:
                found.append(write.effects[register])
        return found

    def settled(self, register):
        """The values `register` may hold after everything: pending calls have come true."""
        found = [None]
        for write in self.writes_of(register):
            if write.outcome in ("ok", "pending"):
                found = [write.effects[register]]
        unknown = [w.effects[register] for w in self.writes_of(register) if w.outcome == "unknown"]
        return found + unknown


def may_be_allowed(registers, use):
    """The set of {True, False}: what the decision on this use may have been."""
    begun, ended = use.invoked, use.returned

    def of(name, default=None):
        return registers.possible(name, begun, ended, default)

    def covers(entries):
        """What the answer of a key's list may be: it names models, or groups of them."""
        if not entries or use.model in entries:
            return {True}
        held = (of(f"{entry}.models", default=()) for entry in entries)
        return {any(use.model in models for models in each) for each in itertools.product(*held)}

    found = set()
    key = use.key
    for exists, blocked, team, entries in itertools.product(
        of(f"{key}.exists", default=False),
        of(f"{key}.blocked"),
        of(f"{key}.team"),
        of(f"{key}.models", default=()),
    ):
        covered = covers(entries)
        if not exists or blocked or False in covered:
            found.add(False)
        if not exists or blocked or True not in covered:
            continue
        if team is None:
            found.add(True)
        else:
            for team_blocked, models in itertools.product(
                of(f"{team}.blocked"), of(f"{team}.models", default=())
            ):
                found.add(not team_blocked and use.model in models)
    return found


def check(history):
    """Every violation of a history."""
    registers = Registers(history.writes)
    found = [Violation("undocumented answer", text) for text in history.undocumented]
    for use in history.uses:
        possible = None
        if use.outcome != "unknown":
            possible = may_be_allowed(registers, use)
        if use.outcome == "served" and True not in possible:
            found.append(_explain("served after a revocation", registers, use))
        if use.outcome == "refused" and False not in possible:
            found.append(_explain("refused in spite of a grant", registers, use))
    for look in history.looks:
        for register, value in look.found.items():
            possible = registers.settled(register)
            if value not in possible:
                detail = f"{register} is {value!r}, may be {possible!r}"
                found.append(Violation("lost change", detail))
    return found


def _explain(kind, registers, use):
    names = [f"{use.key}.exists", f"{use.key}.blocked", f"{use.key}.team", f"{use.key}.models"]
    for write in registers.writes_of(names[3]):
        names += [f"{entry}.models" for entry in write.effects[names[3]]]
    for write in registers.writes_of(names[2]):
        team = write.effects[names[2]]
        names += [f"{team}.blocked", f"{team}.models"] if team else []
    lines = [f"{use.key} {use.model} at {use.gateway} [{use.invoked:.4f}, {use.returned:.4f}]"]
    seen = set()
    for name in names:
        for write in registers.writes_of(name):
            if id(write) not in seen and abs(write.invoked - use.invoked) < 60:
                seen.add(id(write))
                lines.append(
                    f"  {write.what} {write.effects} at {write.gateway} [{write.invoked:.4f}, "
                    f"{write.returned:.4f}] {write.status} rev {write.revision}"
                )
    return Violation(kind, "\n".join(lines))
