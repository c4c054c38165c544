"""The management API described as OpenAPI 3.1, from the same Structs that decode its requests."""

import inspect
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from services.keys.endpoints import READS, WRITES, Read, Write
from services.keys.errors import FieldProblem
from services.keys.requests import IDEMPOTENCY_KEY
from services.keys.roles import Role, scopes_of
from services.keys.shapes import Shape
from services.keys.shown import SHOWN

Schema = dict[str, Any]

GET_REFUSALS = (400, 401, 403, 404, 422, 503)
"""What a call without a body may be refused with."""
BODY_REFUSALS = (400, 401, 403, 404, 408, 413, 415, 422, 503)
"""What a call that reads by a body may be refused with."""
WRITE_REFUSALS = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
"""What a write may be refused with."""

_COMPONENT = "#/components/schemas/{name}"
_RAISES = re.compile(r"\s*Raises [^.]*\.")
_IN_PATH = re.compile(r"\{(\w+)\}")
_JSON = "application/json"


class Problem(Shape, frozen=True, kw_only=True):
    """What is wrong, and with which field; `code` is the status."""

    message: str
    type: str
    param: str | None
    code: str


class Error(Shape, frozen=True, kw_only=True):
    """A refusal."""

    error: Problem


class FieldErrors(Shape, frozen=True, kw_only=True):
    """Fields that are missing or of the wrong type."""

    detail: list[FieldProblem]


def document(version: str) -> bytes:
    """The description of every management call, as JSON."""
    calls = (*WRITES, *READS)
    shown = [kind for answer in SHOWN.values() for kind in _one_of(answer)]
    _, bodies = _schemas(call.request for call in calls if _has_body(call))
    _, answers = _schemas([*shown, Error, FieldErrors])
    paths: dict[str, Schema] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    described = {
        "openapi": "3.1.0",
        "info": {"title": "Grantgate", "version": version, "license": {"name": "Apache-2.0"}},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": dict(_refusals(WRITE_REFUSALS)),
            "schemas": {
                **{name: _without_empty(each) for name, each in bodies.items()},
                **{name: _answered(each) for name, each in answers.items()},
            },
        },
    }
    return msgspec.json.encode(described)


def _schemas(types: Iterable[Any]) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    return msgspec.json.schema_components(types, ref_template=_COMPONENT, schema_hook=_any)


def _any(kind: type) -> Schema:
    if kind is object:
        return {"description": "Any value."}
    raise NotImplementedError


def _one_of(answer: object) -> tuple[Any, ...]:
    if answer is None:
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


def _without_empty(schema: Schema) -> Schema:
    """A schema without an empty list of required fields, which says nothing."""
    return {name: value for name, value in schema.items() if value or name != "required"}


def _answered(schema: Schema) -> Schema:
    """What an answer is: a field with a default is always there too."""
    fields = schema.get("properties", {})
    required = [
        name for name, each in fields.items() if name in schema["required"] or "default" in each
    ]
    shown = {
        name: {word: value for word, value in each.items() if word != "default"}
        for name, each in fields.items()
    }
    return {**schema, "properties": shown, "required": required}


def _has_body(call: Write | Read) -> bool:
    """Whether a call has fields outside its path, and they are not in the query."""
    return call.method != "GET" and call.request.__struct_fields__ != (call.named,)


def _operation(call: Write | Read) -> Schema:
    summary, description = _words(call)
    asked = _schemas([call.request])[1][call.request.__name__]
    left = {name: each for name, each in asked["properties"].items() if name != call.named}
    required = [name for name in asked["required"] if name != call.named]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _IN_PATH.findall(call.path)
    ]
    operation: Schema = {
        "operationId": re.sub(r"\W+", "_", call.call.lower()).strip("_"),
        "tags": [call.path.removeprefix("/v1").removeprefix("/v2").split("/")[1]],
        "summary": summary,
        "description": description,
        "x-grantgate-roles": [role.value for role in Role if scopes_of(call.call, role)],
        "parameters": parameters,
        "responses": _responses(call),
    }
    if call.method == "GET":
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": each}
            for name, each in left.items()
        ]
    elif _has_body(call):
        body: Schema = {"$ref": _COMPONENT.format(name=call.request.__name__)}
        if call.named is not None:
            body = _without_empty({**asked, "properties": left, "required": required})
        optional = call.may_be_empty if isinstance(call, Write) else not required
        operation["requestBody"] = {"required": not optional, "content": {_JSON: {"schema": body}}}
    if isinstance(call, Write):
        parameters += [
            {
                "name": "wait",
                "in": "query",
                "description": "0: answer 202 at once, before the change is in force.",
                "schema": {"enum": ["0", "1"], "default": "1"},
            },
            {
                "name": IDEMPOTENCY_KEY,
                "in": "header",
                "description": "A name for this write, which is then carried out once.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            },
        ]
    return operation


def _words(call: Write | Read) -> tuple[str, str]:
    """What a call does, in a line, and the rest that is to be said of it."""
    does = call.plan if isinstance(call, Write) else call.look
    text = " ".join(_RAISES.sub("", inspect.getdoc(does) or "").split())
    summary, _, description = text.partition(". ")
    return summary.removesuffix(".") + ".", description


def _responses(call: Write | Read) -> Schema:
    found: dict[int, Schema] = {}
    if isinstance(call, Write):
        refusals: tuple[int, ...] = WRITE_REFUSALS
        found[call.status] = _success(call, "In force everywhere.")
        found[202] = _success(call, "Committed, and not yet known to be in force everywhere.")
    else:
        refusals = GET_REFUSALS if call.method == "GET" else BODY_REFUSALS
        found[200] = _success(call, "As of one revision.")
    refs = {f"{status}": {"$ref": f"#/components/responses/{_name(status)}"} for status in refusals}
    return {**{f"{status}": each for status, each in found.items()}, **refs}


def _success(call: Write | Read, description: str) -> Schema:
    headers = {"x-grantgate-revision": {"required": True, "schema": {"type": "string"}}}
    if isinstance(call, Write):
        word = {"enum": ["enforced", "pending"]}
        headers["x-grantgate-propagation"] = {"required": True, "schema": word}
    response: Schema = {"description": description, "headers": headers}
    refs, _ = _schemas(_one_of(SHOWN[call.call]))
    if refs:
        schema = refs[0] if len(refs) == 1 else {"anyOf": list(refs)}
        response["content"] = {_JSON: {"schema": schema}}
    return response


def _refusals(statuses: Iterable[int]) -> Iterator[tuple[str, Schema]]:
    error = {"$ref": _COMPONENT.format(name=Error.__name__)}
    fields = {"$ref": _COMPONENT.format(name=FieldErrors.__name__)}
    for status in statuses:
        wrong_fields = status == HTTPStatus.UNPROCESSABLE_ENTITY
        schema = {"anyOf": [fields, error]} if wrong_fields else error
        content = {_JSON: {"schema": schema}}
        yield _name(status), {"description": HTTPStatus(status).phrase, "content": content}


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")
