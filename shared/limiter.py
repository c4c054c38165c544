"""Keeps a flood out of the log: so many lines a second, and how many there would have been."""


class Limiter:
    """Lets `per_s` through in each second of the clock that is passed in."""

    __slots__ = ("_held_back", "_let", "_per_s", "_second")

    def __init__(self, per_s: int) -> None:
        """Begin with nothing let through."""
        self._per_s = per_s
        self._second = -1
        self._let = 0
        self._held_back = 0

    def let(self, now: float) -> int | None:
        """None: hold this one back. Else how many were held back since the last one let through."""
        second = int(now)
        if second != self._second:
            self._second, self._let = second, 0
        if self._let >= self._per_s:
            self._held_back += 1
            return None
        self._let += 1
        held_back, self._held_back = self._held_back, 0
        return held_back
