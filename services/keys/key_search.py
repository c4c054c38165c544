"""Aliases as they are searched for a part: by pieces of text first, then one by one."""

from collections.abc import Iterable
from itertools import repeat
from operator import contains

_PIECE = 256
"""Aliases in one piece of text: a change has one written anew, at the next search."""


class Aliases:
    """The alias of each slot; an empty one stands for none."""

    def __init__(self, aliases: Iterable[str]) -> None:
        """Begin with the alias of each slot, in order."""
        self._aliases = list(aliases)
        self._texts: list[str | None] = [None] * -(-len(self._aliases) // _PIECE)

    def put(self, slot: int, alias: str) -> None:
        """Take a slot's alias in; a new slot is the next one."""
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

    def with_part(self, part: str) -> bytearray:
        """For each slot whether its alias has `part` in it; of an empty one, whether it has any."""
        if not part:
            return bytearray(map(bool, self._aliases))
        found = bytearray()
        for number, text in enumerate(self._texts):
            aliases = self._aliases[number * _PIECE : (number + 1) * _PIECE]
            whole = "\n".join(aliases) if text is None else text
            self._texts[number] = whole
            if part in whole:
                found += bytes(map(contains, aliases, repeat(part)))
            else:
                found += bytes(len(aliases))
        return found
