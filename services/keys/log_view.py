"""The change log as the publisher and the snapshots see it: the journal, without its writing."""

from collections.abc import Callable, Sequence
from typing import Protocol

from shared.changes import Change


class Entry(Protocol):
    """A committed entry, as far as publishing needs it."""

    @property
    def rev(self) -> int:
        """Its revision."""

    def as_change(self) -> Change:
        """The entry as it travels."""


class Head(Protocol):
    """The state at the log's head."""

    @property
    def rev(self) -> int:
        """Its revision."""


class Log(Protocol):
    """What the publisher needs of the change log: the journal."""

    refusal: str | None
    adopted: int
    """The revision at which an operator last declared this log the truth; 0: never."""
    schema_used: int
    """The newest schema that a record of the log needs."""

    @property
    def state(self) -> Head:
        """The state at the head, as far as this process has read."""

    def on_grown(self, callback: Callable[[], None]) -> None:
        """Have `callback` called after the head has moved."""

    async def current(self) -> Head:
        """Read what other replicas committed. Raises Unavailable."""

    async def entries_after(self, rev: int, limit: int) -> Sequence[Entry]:
        """Committed entries that follow `rev`. Raises Unavailable."""

    async def chain_at(self, rev: int) -> bytes | None:
        """The chain value of a committed revision, None above the head. Raises Unavailable."""

    def is_own(self, rev: int) -> bool:
        """Whether this process committed that revision, not long ago."""

    def refuse_writes(self, why: str) -> None:
        """Refuse every write from now on."""
