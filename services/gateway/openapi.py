"""The public port described as OpenAPI 3.1: what keys says of management, and the rest."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from services.gateway.list_query import ListQuery
from services.gateway.routes import Kind, Route, served

Schema = dict[str, Any]

INFERENCE_STATUSES = (400, 401, 403, 404, 408, 413, 415, 502, 503, 504)
"""What a model request may be refused with; an upstream's answer may have them too."""
LISTING_STATUSES = (400, 401, 403, 404, 503)
"""What a question about models may be refused with."""

_COMPONENT = "#/components/schemas/{name}"
_JSON = "application/json"
_SPEAKS_BYTES = "audio/"
_SUMMARIES = {
    Kind.MODELS: "The models a key may call.",
    Kind.MODEL: "One of the models a key may call.",
    Kind.LIVELINESS: "Whether this process lives.",
    Kind.READINESS: "Whether requests are decided here.",
    Kind.ROOT: "What this is.",
    Kind.OPENAPI: "This description.",
    Kind.DOCS: "This description, for people.",
}


class Closed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer of the gateway's own, or a part of one."""


class OpenAIProblem(Closed, frozen=True, kw_only=True):
    """What is wrong, and with what; `code` is the status."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(Closed, frozen=True, kw_only=True):
    """A refusal, as OpenAI's clients read it."""

    error: OpenAIProblem


class AnthropicProblem(Closed, frozen=True, kw_only=True):
    """What is wrong."""

    type: str
    message: str


class AnthropicError(Closed, frozen=True, kw_only=True):
    """A refusal, as Anthropic's clients read it."""

    type: Literal["error"]
    error: AnthropicProblem
    request_id: str


class OpenAIModel(Closed, frozen=True, kw_only=True):
    """A model, as OpenAI's clients read it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModelList(Closed, frozen=True, kw_only=True):
    """Models, as OpenAI's clients read them."""

    object: Literal["list"]
    data: list[OpenAIModel]


class AnthropicModel(Closed, frozen=True, kw_only=True):
    """A model, as Anthropic's clients read it."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str


class AnthropicModelList(Closed, frozen=True, kw_only=True):
    """Models, as Anthropic's clients read them: those that send `anthropic-version`."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Health(Closed, frozen=True, kw_only=True):
    """How this gateway is; `db` is where LiteLLM's clients look."""

    status: str
    db: str | msgspec.UnsetType = msgspec.UNSET
    policy: str | msgspec.UnsetType = msgspec.UNSET


class About(Closed, frozen=True, kw_only=True):
    """What this is, and where it is described."""

    service: Literal["grantgate"]
    docs: str


class JsonRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model request: the model, and whatever else its provider takes."""

    model: str


class FormRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model request with files: the model, and whatever else its provider takes."""

    model: str


_STRUCTS = (
    OpenAIError,
    AnthropicError,
    OpenAIModel,
    OpenAIModelList,
    AnthropicModel,
    AnthropicModelList,
    Health,
    About,
    JsonRequest,
    FormRequest,
)


def document(management: bytes) -> bytes:
    """What keys says of its API, with the gateway's own routes. Raises msgspec.DecodeError."""
    described: Schema = msgspec.json.decode(management, type=dict[str, Any])
    ours = {path: {"get" if "GET" in r.methods else "post": _call(path, r)} for path, r in served()}
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template=_COMPONENT)
    components = described["components"]
    components = {**components, "schemas": {**components["schemas"], **schemas}}
    paths = {**ours, **described["paths"]}
    return msgspec.json.encode({**described, "paths": paths, "components": components})


def _call(path: str, route: Route) -> Schema:
    operation: Schema = {
        "operationId": re.sub(r"\W+", "_", f"{route.methods[0].lower()}{path}").strip("_"),
        "tags": ["models" if route.kind in (Kind.INFERENCE, Kind.MODELS, Kind.MODEL) else "about"],
        "summary": _SUMMARIES.get(route.kind, f"A model request: {route.path}."),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", path)
        ],
    }
    if route.kind is Kind.INFERENCE:
        return {**operation, **_inference(path, route)}
    if route.kind is Kind.MODELS:
        operation["parameters"] = list(_list_parameters())
    if route.kind in (Kind.MODELS, Kind.MODEL):
        return {**operation, "responses": _listing(route)}
    return {**operation, "security": [], "responses": _about(route)}


def _inference(path: str, route: Route) -> Schema:
    """A request that is passed on: what is in it and in its answer is between its two ends."""
    form = route.body == "multipart"
    body: Schema = _ref(FormRequest if form else JsonRequest)
    if "{model}" in path:
        body = {"type": "object", "properties": {"model": {"type": "string"}}}
    media = "multipart/form-data" if form else _JSON
    answers: Schema = {_JSON: {}, "text/event-stream": {}}
    if _SPEAKS_BYTES in path:
        answers = {"*/*": {}}
    refusal = AnthropicError if route.dialect == "anthropic" else OpenAIError
    return {
        "requestBody": {"required": True, "content": {media: {"schema": body}}},
        "responses": {
            "200": {"description": "The upstream's answer.", "content": answers},
            **{f"{status}": _refused(status, refusal) for status in INFERENCE_STATUSES},
            "default": {"description": "What else the upstream answered."},
        },
    }


def _list_parameters() -> Iterator[Schema]:
    """The query of the model list, from the Struct that reads it."""
    (_,), components = msgspec.json.schema_components([ListQuery])
    for name, schema in components[ListQuery.__name__]["properties"].items():
        text = {"type": "string"}  # a query has no null
        yield {"name": name, "in": "query", "schema": text if "anyOf" in schema else schema}


def _listing(route: Route) -> Schema:
    one = _json("As of one revision.", OpenAIModel, AnthropicModel)
    several = _json("As of one revision.", OpenAIModelList, AnthropicModelList)
    return {
        "200": one if route.kind is Kind.MODEL else several,
        **_refusals(LISTING_STATUSES, OpenAIError, AnthropicError),
    }


def _about(route: Route) -> Schema:
    match route.kind:
        case Kind.READINESS:
            return {"200": _json("Ready.", Health), "503": _json("Not ready.", Health)}
        case Kind.ROOT:
            return {"200": _json("What this is.", About)}
        case Kind.DOCS:
            content: Schema = {"text/html": {"schema": {"type": "string"}}}
        case Kind.OPENAPI:
            unavailable = _refusals((503,), OpenAIError)
            content = {_JSON: {"schema": {"type": "object"}}}
            return {"200": {"description": "The description.", "content": content}, **unavailable}
        case _:
            content = {_JSON: {"schema": {"type": "string"}}}
    return {"200": {"description": HTTPStatus.OK.phrase, "content": content}}


def _refusals(statuses: tuple[int, ...], *kinds: type[msgspec.Struct]) -> Schema:
    return {f"{status}": _json(HTTPStatus(status).phrase, *kinds) for status in statuses}


def _refused(status: int, kind: type[msgspec.Struct]) -> Schema:
    """A refusal of the gateway's, unless it is the upstream's: that is passed on as it came."""
    upstreams = {"description": "What the upstream answered."}
    content = {_JSON: {"schema": {"anyOf": [_ref(kind), upstreams]}}, "*/*": {}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _json(description: str, *kinds: type[msgspec.Struct]) -> Schema:
    refs = [_ref(kind) for kind in kinds]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _ref(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": _COMPONENT.format(name=kind.__name__)}
