"""How much of a gateway is in use, and what is refused because it would be too much."""

from collections.abc import Callable
from typing import Literal

from services.gateway.errors import Rejected

Limit = Literal[
    "requests", "requests_per_key", "connections_per_address", "descriptors", "client_stall"
]
"""What load is shed by."""

Note = Callable[[Limit], None]
"""Hears of each time load was shed."""

_RETRY = (("retry-after", "1"),)


class Load:
    """Counts what is in flight: two numbers a request. Whoever enters leaves."""

    __slots__ = ("_by_key", "_most", "_most_per_key", "_note", "in_flight")

    def __init__(self, most: int, most_per_key: int, note: Note = lambda _: None) -> None:
        """Allow `most` requests at once, and `most_per_key` of one key; 0 of these is no limit."""
        self._most = most
        self._most_per_key = most_per_key
        self._note = note
        self._by_key: dict[bytes, int] = {}
        self.in_flight = 0

    def enter(self) -> None:
        """Take one more in. Raises Rejected (503), and then it has not entered."""
        if self.in_flight >= self._most:
            self._note("requests")
            message = "The gateway has as many requests as it takes at once. Try again."
            raise Rejected(503, message, kind="overloaded", headers=_RETRY)
        self.in_flight += 1

    def leave(self) -> None:
        """Let one go that entered."""
        self.in_flight -= 1

    def enter_key(self, key: bytes) -> None:
        """Take one more of a key in. Raises Rejected (429), and then it has not entered."""
        if not self._most_per_key:
            return
        count = self._by_key.get(key, 0)
        if count >= self._most_per_key:
            self._note("requests_per_key")
            message = (
                f"This key has {count} requests in flight, as many as it may have at once."
                " Wait for one of them to end."
            )
            raise Rejected(429, message, kind="throttling_error", headers=_RETRY)
        self._by_key[key] = count + 1

    def leave_key(self, key: bytes) -> None:
        """Let one of a key's go. Keys with nothing in flight take no memory."""
        if not self._most_per_key:
            return
        count = self._by_key[key] - 1
        if count:
            self._by_key[key] = count
        else:
            del self._by_key[key]
