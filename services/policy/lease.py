"""The lease: a replica's proof that it is current. Without it, it does not answer."""


class Lease:
    """Valid until a moment of the boot clock. Times are seconds of that clock."""

    __slots__ = ("_dropped_at", "valid_until")

    def __init__(self) -> None:
        """Begin without one."""
        self.valid_until = float("-inf")
        self._dropped_at = float("-inf")

    def extend(self, proof_began: float, length_s: float) -> None:
        """Hold for `length_s` from the moment *before* the proof of being current began.

        A proof that began before the lease was given up proves nothing any more.
        """
        if proof_began >= self._dropped_at:
            self.valid_until = max(self.valid_until, proof_began + length_s)

    def drop(self, now: float) -> None:
        """Give the lease up at once."""
        self.valid_until = float("-inf")
        self._dropped_at = now

    def holds(self, now: float) -> bool:
        """Whether answers may leave at `now`."""
        return now < self.valid_until
