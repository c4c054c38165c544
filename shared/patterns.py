"""Patterns: `*` stands for any run of characters, `/` and empty included; all else is literal.

Matching walks the literal segments from left to right, so its cost is bounded by name length
times segment count: no pattern that can be written makes it run away.
"""

from functools import lru_cache

FRESH = "\ue000"
"""A character no configuration uses. In place of each `*` it makes a pattern's most generic
instance: another pattern matches that instance exactly when it matches every instance."""

_MAX_INTERSECTIONS = 64


class Pattern:
    """A compiled pattern. Whole-name, case-sensitive; compile casefolded text to ignore case."""

    __slots__ = ("_middle", "prefix", "suffix", "text")

    def __init__(self, text: str) -> None:
        """Compile `text`. ValueError when it holds no `*`."""
        first, *rest = text.split("*")
        if not rest:
            msg = f"{text!r} has no '*'"
            raise ValueError(msg)
        self.text = text
        self.prefix = first
        self._middle = tuple(rest[:-1])
        self.suffix = rest[-1]

    def __repr__(self) -> str:
        """Show the pattern's text."""
        return f"Pattern({self.text!r})"

    @property
    def stars(self) -> int:
        """How many `*` the pattern has."""
        return len(self._middle) + 1

    @property
    def specificity(self) -> tuple[int, int]:
        """Literal characters first, then length: the greater one is the more specific."""
        return len(self.text) - self.stars, len(self.text)

    def captures(self, name: str) -> tuple[str, ...] | None:
        """What each `*` stands for in `name` (leftmost, shortest first), or None: no match."""
        end = len(name) - len(self.suffix)
        at = len(self.prefix)
        if end < at or not name.startswith(self.prefix) or not name.endswith(self.suffix):
            return None
        found = []
        for literal in self._middle:
            start = name.find(literal, at, end)
            if start < 0:
                return None
            found.append(name[at:start])
            at = start + len(literal)
        found.append(name[at:end])
        return tuple(found)

    def matches(self, name: str) -> bool:
        """Whether the pattern matches the whole of `name`."""
        return self.captures(name) is not None


def is_pattern(text: str) -> bool:
    """Whether this string is read as a pattern rather than as a name."""
    return "*" in text


def fill(template: str, captures: tuple[str, ...]) -> str:
    """Put the k-th capture in place of the template's k-th `*`. Needs as many captures as stars."""
    literals = template.split("*")
    return literals[0] + "".join(c + lit for c, lit in zip(captures, literals[1:], strict=False))


def generic_instance(pattern: str) -> str:
    """A name the pattern matches and that has nothing but it to be matched by (see `FRESH`)."""
    return pattern.replace("*", FRESH)


def _covers(general: str, special: str) -> bool:
    """Whether every name `special` matches is matched by `general` too."""
    if not is_pattern(general):
        return general == special
    return Pattern(general).matches(generic_instance(special))


def _ends_differ(a: Pattern, b: Pattern) -> bool:
    """Whether the literal beginnings or ends alone rule out a name that both match."""
    prefixes_agree = a.prefix.startswith(b.prefix) or b.prefix.startswith(a.prefix)
    suffixes_agree = a.suffix.endswith(b.suffix) or b.suffix.endswith(a.suffix)
    return not (prefixes_agree and suffixes_agree)


@lru_cache(maxsize=4096)
def intersect(a: str, b: str) -> tuple[str, ...]:
    """Patterns and names that together match exactly what both `a` and `b` match.

    Either may be a name. At most 64 come back; the tail of a pathological pair is cut.
    """
    if _covers(a, b):
        return (b,)
    if _covers(b, a):
        return (a,)
    if not (is_pattern(a) and is_pattern(b)) or _ends_differ(Pattern(a), Pattern(b)):
        return ()
    # below[j] holds the merged tails of a[i+1:] and b[j:]; filled from the ends to the front.
    below: list[set[str]] = [set() for _ in range(len(b) + 1)]
    for i in range(len(a), -1, -1):
        here: list[set[str]] = [set() for _ in range(len(b) + 1)]
        for j in range(len(b), -1, -1):
            here[j] = _merge(a, b, i, j, here, below)
        below = here
    kept: list[str] = []
    for text in sorted(below[0], key=lambda t: (len(t), t)):
        if not any(_covers(other, text) for other in kept):
            kept.append(text)
    return tuple(kept[:_MAX_INTERSECTIONS])


def _merge(a: str, b: str, i: int, j: int, here: list[set[str]], below: list[set[str]]) -> set[str]:
    """The merged tails of a[i:] and b[j:], from those one step further in either."""
    ends = (i == len(a), j == len(b))
    if all(ends):
        return {""}
    ca, cb = a[i : i + 1], b[j : j + 1]
    out: set[str] = set()
    if ca == "*":
        if cb == "*":
            tails = below[j] | here[j + 1]
            return {t if t.startswith("*") else "*" + t for t in tails}
        out |= below[j]
        if cb:
            out |= {cb + t for t in here[j + 1]}
    elif cb == "*":
        out |= here[j + 1]
        if ca:
            out |= {ca + t for t in below[j]}
    elif ca == cb:
        out = {ca + t for t in below[j + 1]}
    if len(out) > _MAX_INTERSECTIONS:
        out = set(sorted(out, key=lambda t: (len(t), t))[:_MAX_INTERSECTIONS])
    return out
