"""Loaded by schemathesis: puts values that exist into most calls, and writes down every answer.

Values that are only generated name nothing that is there, and nearly every answer to them is a
refusal. So a call's first request has what it needs and nothing else; after that one goes out as
it was generated, one with what it needs put in, by turns. A run can be repeated.
"""

import json
import os
from collections import Counter
from pathlib import Path

import schemathesis
from schemathesis.core import NOT_SET

_KNOWN = json.loads(Path(os.environ["GRANTGATE_FUZZ_KNOWN"]).read_text())
_ANSWERS = Path(os.environ["GRANTGATE_FUZZ_ANSWERS"])
_turns = Counter()


@schemathesis.hook
def before_call(context, case, kwargs):  # noqa: ARG001 - the hook's signature
    label = case.operation.label
    _turns[label] += 1
    turn = _turns[label]
    if turn > 1 and (turn + len(label)) % 2:
        return
    needed = _KNOWN["in"].get(label, {})
    bare = turn == 1
    if case.path_parameters:
        case.path_parameters = _fitted(case.path_parameters, needed, turn)
    if case.operation.method.upper() == "GET":
        query = {} if bare else case.query
        case.query = _fitted({**query, **needed}, needed, turn)
        for name in case.path_parameters or ():
            case.query.pop(name, None)
        return
    case.query = {} if bare else _fitted(case.query, {}, turn)
    if case.media_type == "application/json" and not _has_no_body(case):
        given = case.body if isinstance(case.body, dict) and not bare else {}
        body = _fitted({**given, **needed}, needed, turn)
        for name in case.path_parameters or ():
            body.pop(name, None)
        case.body = body


@schemathesis.hook
def after_call(context, case, response):  # noqa: ARG001
    with _ANSWERS.open("a") as out:
        out.write(json.dumps([case.operation.label, response.status_code]) + "\n")


def _has_no_body(case):
    return case.body is NOT_SET and not case.operation.body


def _fitted(fields, needed, turn):
    """The fields with values that exist; null in a query or a body is none."""
    chosen = {}
    for name, generated in (fields or {}).items():
        values = needed.get(name) or _KNOWN["anywhere"].get(name) or [generated]
        value = values[(turn // 2) % len(values)]
        if value is not None:
            chosen[name] = value
    return chosen
