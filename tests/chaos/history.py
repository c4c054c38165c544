"""What was called and what came back: the only thing the checker sees."""

import time
from dataclasses import dataclass, field


@dataclass
class Write:
    """A management call. `effects` are the registers it sets, and to what, if it happens."""

    what: str
    effects: dict
    gateway: str
    invoked: float
    returned: float = float("inf")
    status: int | None = None
    revision: int | None = None

    @property
    def outcome(self):
        """ok: done and in force. pending: done. fail: not done. unknown: either, or yet to come."""
        if self.status == 200:
            return "ok"
        if self.status == 202:
            return "pending"
        if self.status is not None and 400 <= self.status < 500:
            return "fail"
        return "unknown"


@dataclass
class Use:
    """A model request with a key."""

    key: str
    model: str
    gateway: str
    invoked: float
    returned: float = float("inf")
    status: int | None = None

    @property
    def outcome(self):
        """served, refused (policy said no), or unknown (nobody could say, or it broke)."""
        if self.status == 200:
            return "served"
        if self.status in (401, 403):
            return "refused"
        return "unknown"


@dataclass
class Look:
    """A reading of registers from the management side, after everything is over."""

    found: dict
    at: float


@dataclass
class History:
    """Every call of a run. Times are monotonic seconds of the one process that called."""

    writes: list[Write] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)

    async def write(self, what, effects, gateway, calling):
        """Record a management call around `calling`; the answer's body is the value."""
        entry = Write(what, effects, gateway, time.monotonic())
        self.writes.append(entry)
        answer = await calling
        entry.returned = time.monotonic()
        entry.status, entry.revision = answer.status, answer.revision
        self._check_shape(what, answer, {200, 202, 400, 404, 422, 503})
        return entry, answer.body

    async def use(self, key, model, gateway, calling):
        entry = Use(key, model, gateway, time.monotonic())
        self.uses.append(entry)
        answer = await calling
        entry.returned = time.monotonic()
        entry.status = answer.status
        self._check_shape("chat", answer, {200, 401, 403, 502, 503, 504})

    def look(self, found):
        self.looks.append(Look(found, time.monotonic()))

    def _check_shape(self, what, answer, documented):
        if answer.status is None:
            return
        error = (answer.body or {}).get("error", {}) if isinstance(answer.body, dict) else {}
        if answer.status not in documented:
            self.undocumented.append(f"{what}: {answer.status} {answer.body}")
        elif answer.status >= 400 and answer.status != 422 and not error.get("message"):
            self.undocumented.append(f"{what}: {answer.status} without an error: {answer.body}")
