"""From decoded JSON or a query string to a typed request, with LiteLLM's 422 when that fails."""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import TypeVar, get_args, get_type_hints

import msgspec

from services.keys.errors import FieldProblem, InvalidRequest, WrongFields
from services.keys.requests import Request
from shared.flags import read_flag

R = TypeVar("R", bound=Request)

RESTRICTING = frozenset(
    {
        "models",
        "team_id",
        "team_ids",
        "duration",
        "blocked",
        "allowed_routes",
        "aliases",
        "model_aliases",
        "key",
        "key_type",
        "keys",
        "allowed_models",
        "access_group_ids",
        "access_model_names",
        "model_names",
        "model_ids",
        "grace_period",
        "user_id",
        "user_role",
    }
)
"""Fields that narrow access or name what a change is about: losing one to a typo does harm."""

_NARROWING = RESTRICTING & {
    "access_group_ids",
    "allowed_models",
    "allowed_routes",
    "blocked",
    "duration",
    "key_type",
    "models",
}
"""Fields that are refused inside an object that has none such: whoever sent one relies on it."""

# What people write when they mean a restricting field, too far from it for difflib.
_MEANT = {
    "accessgroup": "models",
    "accessgroups": "models",
    "modelaccessgroups": "models",
    "allowedmodels": "models",
    "modellist": "models",
    "modelnames": "models",
    "teams": "team_id",
    "expires": "duration",
    "expiresat": "duration",
    "expiresin": "duration",
    "expiry": "duration",
    "ttl": "duration",
    "disabled": "blocked",
    "routes": "allowed_routes",
    "model": "allowed_models",
    "models": "allowed_models",
    "aliases": "model_aliases",
    "modelalias": "model_aliases",
    "modelaliases": "aliases",
}
_NEAR = 0.8
_IGNORED = "unknown field {!r} was ignored"
_SHOWN = 64
_EMPTY_IS_NULL = ("max_budget", "soft_budget")
"""LiteLLM reads an empty string in these as null: its dashboard sends one."""

_AT = re.compile(r"(?P<what>.*?)(?: - at `(?P<key>key in )?\$(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")
_PROBLEMS = {
    "int": ("int_type", "Input should be a valid integer"),
    "float": ("float_type", "Input should be a valid number"),
    "str": ("string_type", "Input should be a valid string"),
    "bool": ("bool_type", "Input should be a valid boolean"),
    "array": ("list_type", "Input should be a valid list"),
    "object": ("dict_type", "Input should be a valid dictionary"),
}


def read_body(members: Mapping[str, object], request: type[R]) -> tuple[R, tuple[str, ...]]:
    """Type a decoded body, and say which fields were ignored, also in the objects in it.

    Raises WrongFields; InvalidRequest for an unknown field that looks like a misspelt
    restricting one.
    """
    unknown = members.keys() - request.__struct_fields__
    warnings = [_ignored(name, request) for name in unknown - request.shown_as]
    warnings += [_IGNORED.format(name) for name in unknown & request.shown_as]
    for field, inner in _objects_of(request).items():
        warnings += _ignored_within(members.get(field), inner, field)
    given = dict(members)
    for name in _EMPTY_IS_NULL:
        if given.get(name) == "":
            given[name] = None
    try:
        return msgspec.convert(given, request), tuple(sorted(set(warnings)))
    except msgspec.ValidationError as error:
        raise WrongFields(_problem(error, "body")) from error


def read_query(values: Mapping[str, str], request: type[R]) -> R:
    """Type a query string's values. Raises WrongFields."""
    given: dict[str, object] = dict(values)
    for name in _flags_of(request) & values.keys():
        flag = read_flag(values[name])
        given[name] = values[name] if flag is None else flag
    try:
        return msgspec.convert(given, request, strict=False)
    except msgspec.ValidationError as error:
        raise WrongFields(_problem(error, "query")) from error


@cache
def _flags_of(request: type[Request]) -> frozenset[str]:
    return frozenset(name for name, hint in get_type_hints(request).items() if hint is bool)


@cache
def _objects_of(request: type[Request]) -> dict[str, type[msgspec.Struct]]:
    """The fields that hold an object or a list of them, and what each is."""
    found = {}
    for field, hint in get_type_hints(request).items():
        parts = [hint, *get_args(hint), *(a for p in get_args(hint) for a in get_args(p))]
        for part in parts:
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                found[field] = part
    return found


def _ignored_within(value: object, inner: type[msgspec.Struct], path: str) -> list[str]:
    if isinstance(value, list):
        return [
            warning
            for position, item in enumerate(value)
            for warning in _ignored_within(item, inner, f"{path}[{position}]")
        ]
    if not isinstance(value, dict):
        return []
    unknown = [name for name in value if name not in inner.__struct_fields__]
    for name in unknown:
        if _misspelt(name, _NARROWING.difference(inner.__struct_fields__)) is not None:
            where = f"{path}.{name[:_SHOWN]}"
            msg = f"unknown field {where!r}: it would restrict access, and is not read there"
            raise InvalidRequest(msg, where)
    return [_ignored(name, inner, f"{path}.") for name in unknown]


def _ignored(name: str, request: type[msgspec.Struct], within: str = "") -> str:
    intended = _misspelt(name, RESTRICTING.intersection(request.__struct_fields__))
    where = f"{within}{name[:_SHOWN]}"
    if intended is not None:
        msg = f"unknown field {where!r}: did you mean {within + intended!r}?"
        raise InvalidRequest(msg, where)
    return _IGNORED.format(where)


def _misspelt(name: str, restricting: frozenset[str]) -> str | None:
    """Give the restricting field that `name` seems to stand for."""
    plain = _plain(name)
    meant = _MEANT.get(plain)
    if meant in restricting:
        return meant
    spellings = {_plain(field): field for field in sorted(restricting)}
    near = difflib.get_close_matches(plain, spellings, n=1, cutoff=_NEAR)
    return spellings[near[0]] if near else None


def _plain(name: str) -> str:
    return "".join(char for char in name[:_SHOWN].casefold() if char.isalnum())


def _problem(error: msgspec.ValidationError, place: str) -> FieldProblem:
    """Translate msgspec's words into pydantic's."""
    found = _AT.fullmatch(str(error))
    what = found["what"] if found else str(error)
    loc: list[str | int] = [place]
    for name, position, _ in _STEP.findall((found and found["path"]) or ""):
        if name or position:
            loc.append(name or int(position))
    missing = re.fullmatch(r"Object missing required field `(.+)`", what)
    if missing:
        return FieldProblem(type="missing", loc=(*loc, missing[1]), msg="Field required")
    bound = re.match(r"Expected `int` (>=|<=) (-?\d+)", what)
    if bound:
        word = "greater" if bound[1] == ">=" else "less"
        return FieldProblem(
            type=f"{word}_than_equal",
            loc=tuple(loc),
            msg=f"Input should be {word} than or equal to {bound[2]}",
        )
    expected = re.match(r"Expected `(\w+)", what)
    kind = _PROBLEMS.get(expected[1]) if expected else None
    if kind:
        return FieldProblem(type=kind[0], loc=tuple(loc), msg=kind[1])
    if what.startswith("Invalid enum value"):
        return FieldProblem(type="literal_error", loc=tuple(loc), msg="Input is not a known value")
    return FieldProblem(type="value_error", loc=tuple(loc), msg="Input is not valid")
