"""How one value of the configuration is read: where it stands, and what is wrong with it.

No message made here ever holds a value that could be a secret: names and kinds only.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec

REFERENCE = "os.environ/"
"""`os.environ/NAME` stands for the value of the environment variable NAME."""

ENVIRONMENT = "environment"
"""Stands where a file's name stands when an environment variable is at fault."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


class ConfigError(Exception):
    """A configuration that cannot be used. One line: `<file>: <path>: <what>; <cure>`."""


class Place(msgspec.Struct, frozen=True):
    """Where a value stands: the file, and the path in it (`model_list[3].litellm_params.model`)."""

    file: str
    path: str = ""

    def field(self, name: str) -> "Place":
        """The place of a mapping's member."""
        return Place(self.file, f"{self.path}.{name}" if self.path else name)

    def item(self, index: int) -> "Place":
        """The place of a list's item."""
        return Place(self.file, f"{self.path}[{index}]")

    def line(self, what: str) -> str:
        """One printable line that says `what` about this place."""
        text = f"{self.file}: {self.path}: {what}" if self.path else f"{self.file}: {what}"
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

    def error(self, what: str, cure: str) -> ConfigError:
        """The error to raise; neither text may hold a value that could be a secret."""
        return ConfigError(self.line(f"{what}; {cure}"))

    def mistyped(self, value: object, wanted: str, cure: str = "") -> ConfigError:
        """The error for a value of the wrong kind."""
        if not cure:
            quotable = wanted == "text" and isinstance(value, bool | int | float)
            cure = "put it in quotes" if quotable else f"write {wanted}"
        return self.error(f"must be {wanted}, not {_KINDS.get(type(value), 'this')}", cure)


def text(value: object, place: Place) -> str:
    """The value as text that is not empty. Raises ConfigError."""
    if not isinstance(value, str):
        raise place.mistyped(value, "text")
    if not value:
        what = "is empty"
        raise place.error(what, "write a value, or remove the field")
    return value


def mapping(value: object, place: Place) -> dict[str, object]:
    """The value as a mapping; nothing is an empty one. Raises ConfigError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise place.mistyped(value, "a mapping", "write `name: value` lines below it, indented")
    return value


def sequence(value: object, place: Place) -> list[object]:
    """The value as a list; nothing is an empty one. Raises ConfigError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise place.mistyped(value, "a list", "write `- ` before each item")
    return value


def read_file(file: str, place: Place) -> str:
    """The text of a file. Raises ConfigError about `place`, caused by the OSError if any."""
    try:
        return Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        what = f"cannot be read ({reason})"
        raise place.error(what, "check the path and its permissions") from error
    except ValueError as error:
        # Not UTF-8, or a path that cannot be one.
        what = "is not UTF-8 text"
        raise place.error(what, "save it as UTF-8") from error


def is_reference(value: object) -> bool:
    """Whether the value is to be taken from the environment."""
    return isinstance(value, str) and value.startswith(REFERENCE)


def resolve(value: str, environ: Mapping[str, str], place: Place) -> str:
    """The value itself, or the variable it refers to. Raises ConfigError when that is not set."""
    if not value.startswith(REFERENCE):
        return value
    name = value.removeprefix(REFERENCE)
    if not _VARIABLE.fullmatch(name):
        # Perhaps a secret pasted in the wrong place: not shown.
        what = f"what follows {REFERENCE} is not the name of an environment variable"
        raise place.error(what, f"write {REFERENCE}NAME")
    found = environ.get(name)
    if not found:
        what = f"environment variable {name} is {'not set' if found is None else 'empty'}"
        raise place.error(what, f"set {name}, or write the value here")
    return found


def suggestion(name: str, known: list[str]) -> str | None:
    """The known name closest to a misspelt one, or None when none is near."""
    return next(iter(get_close_matches(name, known, n=1, cutoff=0.6)), None)


class Notes:
    """Warnings as they are found: one line for each field and cause, however often it occurs."""

    def __init__(self) -> None:
        """Start with none."""
        self._found: dict[tuple[str, str], tuple[Place, int]] = {}

    def add(self, place: Place, what: str) -> None:
        """Note something that is ignored; `what` follows the place in the line."""
        name = re.sub(r"\[\d+\]", "[]", place.path)
        first, count = self._found.get((name, what), (place, 0))
        self._found[name, what] = (first, count + 1)

    def lines(self) -> tuple[str, ...]:
        """Every warning, in the order of first occurrence."""
        return tuple(
            first.line(what if count == 1 else f"{what} (and in {count - 1} more)")
            for (_, what), (first, count) in self._found.items()
        )
