"""The closed table of what the public port serves; a target it does not hold reaches nothing.

A target is read once: split on `/`, each segment percent-decoded once, every literal segment
compared as a whole. What goes upstream is built from the matched route, never from the target.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

import msgspec

from services.gateway.errors import Rejected
from services.gateway.list_query import LIST_PARAMETERS, ListQuery, read_list_query
from shared.decisions import trimmed

Dialect = Literal["openai", "anthropic"]
BodyKind = Literal["none", "json", "multipart"]


class Kind(StrEnum):
    """What answers a route."""

    INFERENCE = "inference"
    MODELS = "models"
    MODEL = "model"
    MANAGEMENT = "management"
    LIVELINESS = "liveliness"
    READINESS = "readiness"
    ROOT = "root"
    OPENAPI = "openapi"
    DOCS = "docs"


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A matched target. `path` is its one spelling: for logs, metrics and `allowed_routes`.

    `suffix` is what an upstream's base URL is extended with. `model` is the name in the path;
    `query_model` one in the query, which must agree with the body and never routes. `query` is
    kept, undecoded, for management routes alone, and read into `listing` for the model list.
    """

    kind: Kind
    methods: tuple[str, ...]
    path: str
    label: str
    suffix: str = ""
    dialect: Dialect = "openai"
    body: BodyKind = "none"
    model: str | None = None
    query_model: str | None = None
    query: str = ""
    listing: ListQuery = ListQuery()


_JSON = (
    "chat/completions",
    "completions",
    "embeddings",
    "responses",
    "moderations",
    "images/generations",
    "audio/speech",
    "rerank",
)
_MULTIPART = ("images/edits", "audio/transcriptions", "audio/translations")
_ANTHROPIC = ("messages", "messages/count_tokens")
_DEPLOYMENT = (
    "chat/completions",
    "completions",
    "embeddings",
    "images/generations",
    "images/edits",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
)
_MODEL_PREFIXES = (("openai", "deployments"), ("engines",), ("v1", "engines"))
_MODEL_ID_PREFIXES = (("v1", "models"), ("models",))
_MANAGEMENT: frozenset[tuple[str, ...]] = frozenset(
    {
        ("key",),
        ("team",),
        ("user",),
        ("model",),
        ("model_group",),
        ("access_group",),
        ("v1", "access_group"),
        ("v1", "model"),
        ("v2", "key"),
        ("v2", "team"),
        ("v2", "user"),
        ("v2", "model"),
    }
)
"""How paths of the management API begin; keys itself refuses what it does not have below them."""

_MANAGEMENT_ITSELF = ("v1", "access_group")
_UNIFIED_ALIAS = ("v1", "unified_access_group")
"""LiteLLM's other name of `/v1/access_group`; keys knows the one spelling alone."""

_MANAGEMENT_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")

_TARGET = re.compile(r"[\x21-\x7e]+")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CREDENTIAL_PARAMETERS = frozenset(
    {"api_key", "api-key", "apikey", "key", "x-api-key", "access_token", "token", "authorization"}
)
_DROPPED_PARAMETERS = frozenset({"api-version", "beta"})
"""Query parameters the SDKs send that mean nothing here: Azure's version, Anthropic's beta flag."""


def _inference(operation: str) -> Route:
    return Route(
        kind=Kind.INFERENCE,
        methods=("POST",),
        path="/v1/" + operation,
        label="/v1/" + operation,
        suffix="/" + operation,
        dialect="anthropic" if operation in _ANTHROPIC else "openai",
        body="multipart" if operation in _MULTIPART else "json",
    )


def _get(kind: Kind, path: str) -> Route:
    return Route(kind=kind, methods=("GET",), path=path, label=path)


def _fixed() -> dict[str, Route]:
    table = {
        "/": _get(Kind.ROOT, "/"),
        "/openapi.json": _get(Kind.OPENAPI, "/openapi.json"),
        "/docs": _get(Kind.DOCS, "/docs"),
        "/health/liveliness": _get(Kind.LIVELINESS, "/health/liveliness"),
        "/health/liveness": _get(Kind.LIVELINESS, "/health/liveliness"),
        "/health/readiness": _get(Kind.READINESS, "/health/readiness"),
    }
    served = [_inference(operation) for operation in (*_JSON, *_MULTIPART, *_ANTHROPIC)]
    for route in (*served, _get(Kind.MODELS, "/v1/models")):
        table[route.path] = route
        table[route.path.removeprefix("/v1")] = route
    return table


FIXED = _fixed()
"""Every path without a variable part, in each of its spellings."""

_BY_SEGMENTS = {tuple(path[1:].split("/")): route for path, route in FIXED.items()}
_BELOW_MODEL = {tuple(name.split("/")): _inference(name) for name in _DEPLOYMENT}


def served() -> Iterator[tuple[str, Route]]:
    """Every path of the public port but the management API's; `{model}` stands for a name."""
    yield from FIXED.items()
    for prefix in _MODEL_PREFIXES:
        for below, route in _BELOW_MODEL.items():
            yield "/" + "/".join((*prefix, "{model}", *below)), route
    for prefix in _MODEL_ID_PREFIXES:
        yield "/" + "/".join((*prefix, "{model_id}")), _get(Kind.MODEL, "/v1/models/{model_id}")


def resolve(method: str, target: str) -> Route:
    """The route of a request line's method and raw target. Raises Rejected: 400, 404 or 405."""
    route = FIXED.get(target)
    if route is None:
        route = _read_target(target)
    if method not in route.methods:
        allowed = ", ".join(route.methods)
        message = f"{_shown(method)} is not allowed on {route.label}; use {allowed}."
        raise Rejected(405, message, headers=(("Allow", allowed),))
    return route


def dialect_at(target: str) -> Dialect:
    """Whose errors a client of this target reads, also when its request is not well-formed."""
    route = FIXED.get(target.partition("?")[0])
    return "openai" if route is None else route.dialect


def dialect_of(route: Route, *, speaks_anthropic: bool) -> Dialect:
    """Whose answers a client of this route reads: a list's path is the same for both."""
    is_list = route.kind in (Kind.MODELS, Kind.MODEL)
    return "anthropic" if is_list and speaks_anthropic else route.dialect


def _read_target(target: str) -> Route:
    if not target.startswith("/"):
        raise Rejected(400, "The request target must be a path.", closes=True)
    if not _TARGET.fullmatch(target) or "#" in target:
        raise Rejected(400, "The request target has a character it may not have.")
    path, _, query = target.partition("?")
    route = FIXED.get(path) or _match(path)
    return _with_query(route, query) if query else route


def _match(path: str) -> Route:
    segments = tuple(_segment(raw) for raw in path[1:].split("/"))
    found = _BY_SEGMENTS.get(segments)
    if found is not None:
        return found
    for prefix in _MODEL_PREFIXES:
        at = len(prefix)
        if segments[:at] == prefix:
            below = _BELOW_MODEL.get(segments[at + 1 :])
            if below is not None:
                return msgspec.structs.replace(below, model=trimmed(segments[at]))
    for prefix in _MODEL_ID_PREFIXES:
        if segments[:-1] == prefix:
            path = "/v1/models/{model_id}"
            return msgspec.structs.replace(_get(Kind.MODEL, path), model=segments[-1])
    if segments[:2] == _UNIFIED_ALIAS:
        segments = _MANAGEMENT_ITSELF + segments[2:]
    for start in (segments[:1], segments[:2]):
        if start in _MANAGEMENT and (segments != start or start == _MANAGEMENT_ITSELF):
            return _management(segments, start)
    raise _nothing_there()


def _management(segments: tuple[str, ...], prefix: tuple[str, ...]) -> Route:
    # Only the place of an id may hold a slash of its own.
    if any("/" in segment for at, segment in enumerate(segments) if at != len(prefix)):
        raise _nothing_there()
    return Route(
        kind=Kind.MANAGEMENT,
        methods=_MANAGEMENT_METHODS,
        path="/" + "/".join(quote(segment, safe="-._~:@") for segment in segments),
        label=f"/{'/'.join(prefix)}/*",
        body="json",
    )


def _segment(raw: str) -> str:
    """One segment, decoded once. Raises Rejected for what two readers could read differently."""
    if ";" in raw or "\\" in raw:
        raise _nothing_there()
    segment = _decoded(raw) if "%" in raw else raw
    if segment in ("", ".", "..") or "\\" in segment or not segment.isprintable():
        raise _nothing_there()
    return segment


def _decoded(raw: str) -> str:
    if _BAD_PERCENT.search(raw):
        raise Rejected(400, "The request target has a broken percent escape.")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Rejected(400, "The request target is not UTF-8.") from None


def _with_query(route: Route, query: str) -> Route:
    """Read a query string: what is known is dropped or compared, and nothing in it routes."""
    if route.kind is Kind.MANAGEMENT:
        return msgspec.structs.replace(route, query=query)
    if route.kind not in (Kind.INFERENCE, Kind.MODELS, Kind.MODEL):
        return route
    pairs = list(_pairs(query))
    if route.kind is Kind.MODELS:
        ours = [(name, _value(raw)) for name, raw in pairs if name in LIST_PARAMETERS]
        return msgspec.structs.replace(route, listing=read_list_query(ours)) if ours else route
    if route.kind is Kind.MODEL:
        return route
    named: set[str] = set()
    for name, raw in pairs:
        if name in _DROPPED_PARAMETERS:
            continue
        if name != "model":
            message = f"Unknown query parameter {_shown(name)!r}; send it in the body."
            raise Rejected(400, message)
        named.add(trimmed(_value(raw)))
    if not named:
        return route
    if len(named) > 1 or (route.model is not None and named != {route.model}):
        raise Rejected(400, "The request names more than one model.", param="model")
    return msgspec.structs.replace(route, query_model=named.pop())


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    """The decoded names with their values as they were sent. Raises Rejected for a credential."""
    for piece in filter(None, query.split("&")):
        raw_name, _, raw_value = piece.partition("=")
        name = _value(raw_name)
        if name.casefold() in _CREDENTIAL_PARAMETERS:
            message = "A key never goes in the URL; send it as 'Authorization: Bearer <key>'."
            raise Rejected(400, message)
        yield name, raw_value


def _value(raw: str) -> str:
    return _decoded(raw.replace("+", " "))


def _nothing_there() -> Rejected:
    return Rejected(404, "There is no such route here.", kind="not_found_error")


def _shown(text: str) -> str:
    return text[:40] if text.isprintable() else "?"
