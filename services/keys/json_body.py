"""Management bodies as JSON objects: read strictly, with the place and cause of what is wrong."""

import json
import math
from collections.abc import Iterator

from services.keys.errors import InvalidRequest

BODY = "request_body"
"""LiteLLM's name, in an error's `param`, for the body as a whole."""

_MAX_DEPTH = 50
"""Nested lists and objects; MongoDB ends at 100."""
_INT64 = range(-(2**63), 2**63)
_SHOWN = 64
_SPACE = " \t\r\n"
_STATED = {
    "Unterminated string": "a string that does not end",
    "Invalid control character": "a control character in a string (write it as an escape)",
    "Extra data": "something after the end of the object",
    "escape": "an invalid escape in a string",
}
"""What Python's decoder says went wrong, and what to call that."""
_FOUND = {
    "": "unexpected end of the body",
    "'": "single quote (JSON takes double quotes)",
    "\ufeff": "byte order mark",
}
"""What stands where the decoder stopped, and what to call that."""


def read_object(body: bytes) -> dict[str, object]:
    """Decode a body that must be one JSON object of values that can be stored.

    Raises InvalidRequest: with line and column when it is no JSON; naming the member when one
    occurs twice or holds what MongoDB or the bus cannot.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        msg = f"Invalid JSON payload: not UTF-8 at byte {error.start + 1}"
        raise InvalidRequest(msg, BODY) from error
    try:
        value = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        msg = f"Invalid JSON payload: {_diagnose(text, error)}"
        raise InvalidRequest(msg, BODY) from error
    except RecursionError as error:
        msg = "Invalid JSON payload: nested too deeply"
        raise InvalidRequest(msg, BODY) from error
    except ValueError as error:  # Python refuses to read integers of thousands of digits.
        msg = "Invalid JSON payload: a number has too many digits"
        raise InvalidRequest(msg, BODY) from error
    if not isinstance(value, dict):
        msg = "Invalid JSON payload: the body must be a JSON object"
        raise InvalidRequest(msg, BODY)
    for path, problem in _unstorable(value, "", 0):
        msg = f"{path} {problem}"
        raise InvalidRequest(msg, path)
    return value


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                msg = f"Invalid JSON payload: member {name[:_SHOWN]!r} occurs twice"
                raise InvalidRequest(msg, BODY)
            seen.add(name)
    return members


def _refuse_constant(name: str) -> object:
    msg = f"Invalid JSON payload: {name} is not JSON"
    raise InvalidRequest(msg, BODY)


def _diagnose(text: str, error: json.JSONDecodeError) -> str:
    at, found = _place_and_cause(text, error)
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return f"{found} at line {line}, column {column}"


def _place_and_cause(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    at = error.pos
    here = text[at : at + 1]
    before = text[:at].rstrip(_SPACE)
    if here in ("}", "]") and before.endswith(","):
        return len(before) - 1, "trailing comma"
    if here == "," and text[at + 1 :].lstrip(_SPACE)[:1] in ("}", "]"):
        return at, "trailing comma"
    if text.startswith(("#", "//", "/*"), at):
        return at, "comment (JSON has none)"
    for stated, found in _STATED.items():
        if stated in error.msg:
            return at, found
    stated = error.msg[0].lower() + error.msg[1:]
    return at, _FOUND.get(here, f"unexpected {here!r} ({stated})")


def _unstorable(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield where `value` holds what cannot be stored, and what that is."""
    match value:
        case bool() | None:
            return
        case int() if value not in _INT64:
            yield path, "is an integer beyond 64 bits"
        case float() if not math.isfinite(value):
            yield path, "is too large a number"
        case str() if _has_surrogate(value):
            yield path, "has half a surrogate pair, which is no character"
        case list() | dict() if depth >= _MAX_DEPTH:
            yield path, f"is nested deeper than {_MAX_DEPTH} levels"
        case list():
            for position, item in enumerate(value):
                yield from _unstorable(item, f"{path}[{position}]", depth + 1)
        case dict():
            yield from _unstorable_members(value, path, depth)


def _unstorable_members(
    members: dict[str, object], path: str, depth: int
) -> Iterator[tuple[str, str]]:
    for name, item in members.items():
        if "\0" in name or _has_surrogate(name):
            yield path or BODY, "has a member whose name no database can hold"
            return
        inner = f"{path}.{name[:_SHOWN]}" if path else name[:_SHOWN]
        yield from _unstorable(item, inner, depth + 1)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
