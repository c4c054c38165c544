"""Aliases as they are searched for a part: as pieces of text, by operations on whole pieces."""

from collections.abc import Iterable

_PIECE = 2048
"""Aliases in one piece of text: a change has one written anew, at the next search."""

_HITS = 32
"""Hits in a piece that are taken one by one."""

_REMEMBERED = 8
"""Searches whose result is kept up with each change: a list is asked for page by page."""

_LINE = b"\n"
_HIT = b"\x00"
_FOUND = b"\x01"
_OTHERS = bytes(byte for byte in range(256) if bytes((byte,)) not in (_LINE, _HIT))
_SAFE = {ord("\n"): " ", 0: " "}
_AS_FLAGS = bytes(byte == _FOUND[0] for byte in range(256))


class Aliases:
    """The alias of each slot; an empty one stands for none."""

    def __init__(self, aliases: Iterable[str]) -> None:
        """Begin with the alias of each slot, in order."""
        self._aliases = list(map(_one_line, aliases))
        self._texts: list[bytes | None] = [None] * -(-len(self._aliases) // _PIECE)
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
        if number == len(self._texts):
            self._texts.append(None)
        self._texts[number] = None
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
        sought = part.encode("utf-8", "surrogatepass")
        if _LINE in sought or _HIT in sought:
            return bytearray(len(self._aliases))
        flags = bytearray()
        for number, kept in enumerate(self._texts):
            text = self._text(number) if kept is None else kept
            size = min(_PIECE, len(self._aliases) - number * _PIECE)
            flags += _few(text, sought, size) or _all(text, sought)
        return flags

    def _text(self, number: int) -> bytes:
        aliases = self._aliases[number * _PIECE : (number + 1) * _PIECE]
        text = self._texts[number] = _LINE + "\n".join(aliases).encode("utf-8", "surrogatepass")
        return text


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
    """The same, at a cost that does not depend on how many hits there are.

    What is left of each line is its end, and a hit for each time the part is in it; a line that
    begins with a hit becomes one character, and so does any other.
    """
    if len(sought) == 1:
        hit, hits = sought, text.translate(None, bytes(range(256)).translate(None, sought + _LINE))
    else:
        marked = text.replace(sought, _HIT.ljust(len(sought), b"x"))
        hit, hits = _HIT, marked.translate(None, _OTHERS)
    return hits.replace(_LINE + hit, _FOUND).translate(_AS_FLAGS, hit)


def _one_line(alias: str) -> str:
    """The alias as it is: our own checks let no line break in, but a log is older than a check."""
    return alias if alias.isprintable() else alias.translate(_SAFE)
