"""Aliases as they are searched for a part: as pieces of text, by operations on whole pieces.

Which aliases have a letter is kept for every letter: a search for one is no search.
"""

from collections.abc import Iterable
from typing import NamedTuple

_PIECE = 8192
"""Aliases in one piece of text: a change has one written anew, at the next search."""

_HITS = 128
"""Hits in a piece that are taken one by one."""

_REMEMBERED = 8
"""Searches whose result is kept up with each change: a list is asked for page by page."""

_LINE = b"\n"
_HIT = b"\x00"
_FOUND = b"\x01"
_OTHERS = bytes(byte for byte in range(256) if bytes((byte,)) not in (_LINE, _HIT))
_SAFE = {ord("\n"): " ", 0: " "}
_DIGITS = b"0123456789"
_AS_ZERO = bytes.maketrans(_DIGITS, b"0" * len(_DIGITS))
_BITS = {chr(code): 1 << code for code in range(128)}
_PLANES = 16
"""Each holds a byte a slot, with a bit for each of eight of the letters in `_BITS`."""
_IN_PLANE = [bytes(byte >> bit & 1 for byte in range(256)) for bit in range(8)]
_HAS_HIT = bytes(pair == 2 * _LINE[0] + _HIT[0] for pair in range(256))
_NO_LINE = bytes((2 * _HIT[0] + _HIT[0], 2 * _HIT[0] + _LINE[0]))


class Aliases:
    """The alias of each slot; an empty one stands for none."""

    def __init__(self, aliases: Iterable[str]) -> None:
        """Begin with the alias of each slot, in order."""
        self._aliases = list(map(_one_line, aliases))
        numbers = range(-(-len(self._aliases) // _PIECE))
        self._pieces: list[_Piece | None] = [self._piece(number) for number in numbers]
        letters = b"".join(map(_letters, self._aliases))
        self._planes = [bytearray(letters[plane::_PLANES]) for plane in range(_PLANES)]
        self._found: dict[str, bytearray] = {}

    def put(self, slot: int, alias: str) -> None:
        """Take a slot's alias in; a new slot is the next one."""
        alias = _one_line(alias)
        if slot == len(self._aliases):
            self._aliases.append(alias)
        elif self._aliases[slot] == alias:
            return
        else:
            self._aliases[slot] = alias
        number = slot // _PIECE
        if number == len(self._pieces):
            self._pieces.append(None)
        self._pieces[number] = None
        for plane, byte in zip(self._planes, _letters(alias), strict=True):
            plane[slot : slot + 1] = bytes((byte,))
        for part, flags in self._found.items():
            flags[slot : slot + 1] = bytes((bool(alias) and part in alias,))

    def with_part(self, part: str) -> bytearray:
        """For each slot whether its alias has `part` in it; of an empty one, whether it has any.

        Not to be changed.
        """
        found = self._found.pop(part, None)
        if found is None:
            found = self._look(part) if part else bytearray(map(bool, self._aliases))
            if len(self._found) >= _REMEMBERED:
                self._found.pop(next(iter(self._found)))
        self._found[part] = found
        return found

    def _look(self, part: str) -> bytearray:
        if part in _BITS:
            plane, bit = divmod(ord(part), 8)
            return self._planes[plane].translate(_IN_PLANE[bit])
        sought = part.encode("utf-8", "surrogatepass")
        if _LINE in sought or _HIT in sought:
            return bytearray(len(self._aliases))
        is_thin, is_rare = not frozenset(_DIGITS).intersection(sought), True
        flags = bytearray()
        for number, kept in enumerate(self._pieces):
            piece = kept or self._piece(number)
            self._pieces[number] = piece
            text = piece.thin if is_thin else piece.whole
            size = min(_PIECE, len(self._aliases) - number * _PIECE)
            found = (_few(text, sought, size) if is_rare else None) or _all(text, sought)
            # The next piece has about as many.
            is_rare = found.count(_FOUND) <= 2 * _HITS
            flags += found
        return flags

    def _piece(self, number: int) -> "_Piece":
        aliases = self._aliases[number * _PIECE : (number + 1) * _PIECE]
        whole = _LINE + "\n".join(aliases).encode("utf-8", "surrogatepass")
        thin = whole.translate(_AS_ZERO)
        for digits, fewer in ((b"0000", b"0"), (b"00", b"0"), (b"00", b"0"), (b"0\n", b"\n")):
            thin = thin.replace(digits, fewer)
        return _Piece(whole, thin)


class _Piece(NamedTuple):
    """Some aliases, a line each; what has no digit in it is looked for in the shorter text."""

    whole: bytes
    thin: bytes
    """The same with a zero, or some, for each number, and hardly any at the end of a line."""


def _letters(alias: str) -> bytes:
    """For each plane the byte that says which of its letters the alias has."""
    letters = 0
    for letter in alias:
        letters |= _BITS.get(letter, 0)
    return letters.to_bytes(_PLANES, "little")


def _few(text: bytes, sought: bytes, size: int) -> bytearray | None:
    """The flags of a piece, hit by hit; None when it has many hits."""
    flags, line, seen, at = bytearray(size), -1, 0, text.find(sought)
    for _ in range(_HITS):
        if at < 0:
            return flags
        line += text.count(_LINE, seen, at)
        flags[line] = 1
        seen = text.find(_LINE, at)
        at = text.find(sought, seen) if seen >= 0 else -1
    return flags if at < 0 else None


def _all(text: bytes, sought: bytes) -> bytes:
    """The same, at a cost that hardly depends on how many hits there are.

    What is left of each line is its end, and a hit for each time the part is in it. Then each
    is told by what it is and what comes next, all of them by one addition.
    """
    marked = text.replace(sought, _HIT.ljust(len(sought), b"x"))
    left = marked.translate(None, _OTHERS) + _LINE
    number = int.from_bytes(left, "little")
    pairs = ((number << 1) + (number >> 8)).to_bytes(len(left), "little")
    return pairs[:-1].translate(_HAS_HIT, _NO_LINE)


def _one_line(alias: str) -> str:
    """The alias as it is: our own checks let no line break in, but a log is older than a check."""
    return alias if alias.isprintable() else alias.translate(_SAFE)
