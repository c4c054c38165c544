"""One reading of a request's body: the model it names, and the bytes that say so upstream.

What was read is what is rendered: a JSON body is decoded to raw members and encoded again, so a
duplicate, an escape or a differently spelled twin cannot mean another model to another parser.
A large one that needs no change, and in which nothing could be taken for its model, is not copied.
"""

import re
import unicodedata

import msgspec

from services.gateway import forms
from services.gateway.errors import Rejected
from services.gateway.member_names import (
    MAX_MEMBERS,
    refuse_duplicates,
    refuse_too_many,
    too_many,
)
from services.gateway.routes import BodyKind
from shared.decisions import trimmed
from shared.decoding import UNDECODABLE

ROUTING_MEMBERS = frozenset(
    {
        "api_base",
        "api_key",
        "base_url",
        "custom_llm_provider",
        "extra_headers",
        "fallbacks",
        "models",
        "user_config",
    }
)
"""Members that tell a proxy where to go or what to try next: dropped, and the only ones dropped."""

_COPIED_BELOW = 64 * 1024
"""Bytes of a body below which a copy costs nothing, and every body is encoded anew."""

_JSON_TYPE = re.compile(
    r'application/json(?:[ \t]*;[ \t]*charset=(?:utf-8|"utf-8"))?', re.IGNORECASE
)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encoder = msgspec.json.Encoder()


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """A body as it goes upstream: the pieces in order, their length in bytes, their type."""

    pieces: tuple[bytes | memoryview, ...]
    length: int
    content_type: str


class JsonBody:
    """A JSON body with its model read."""

    __slots__ = ("_came", "_members", "_named", "model")

    def __init__(
        self, members: dict[str, msgspec.Raw], model: str, came: bytes | None = None
    ) -> None:
        """Hold the raw members and the one model name, stripped.

        `came` is the body where it may go on as it came: it says "model" once and without an
        escape, and has nothing that is dropped.
        """
        self._members = members
        self._came = came
        self._named = b"" if came is None else bytes(members["model"])
        self.model = model

    def render(self, upstream_model: str) -> Rendered:
        """The body with this model in it; every other member byte for byte, in its order."""
        named = _encoder.encode(upstream_model)
        if self._came is not None and named == self._named:
            return Rendered((self._came,), len(self._came), "application/json")
        self._members["model"] = msgspec.Raw(named)
        data = _encoder.encode(self._members)
        return Rendered((data,), len(data), "application/json")


class FormBody:
    """A multipart form with its model read."""

    __slots__ = ("_parts", "model")

    def __init__(self, parts: list[forms.Part], model: str) -> None:
        """Hold the parts but for the model's, and the one model name, stripped."""
        self._parts = parts
        self.model = model

    def render(self, upstream_model: str) -> Rendered:
        """The form, encoded anew behind a fresh boundary, with exactly one `model` field."""
        pieces, content_type = forms.encode(
            [forms.text_part("model", upstream_model), *self._parts]
        )
        return Rendered(tuple(pieces), sum(map(len, pieces)), content_type)


def check_content_type(kind: BodyKind, content_type: str | None) -> str:
    """The multipart boundary ("" for JSON) when the type is one this route reads. Rejected: 415."""
    if kind == "multipart":
        boundary = forms.boundary_of(content_type or "")
        if boundary is None:
            raise Rejected(415, "Content-Type must be multipart/form-data with one boundary.")
        return boundary
    if content_type != "application/json" and not _JSON_TYPE.fullmatch(content_type or ""):
        raise Rejected(415, "Content-Type must be application/json (UTF-8).")
    return ""


def read(
    boundary: str, data: bytes, path_model: str | None, *, copied_below: int = _COPIED_BELOW
) -> JsonBody | FormBody:
    """Read the model out of a body. `path_model` is the one its path named, if any.

    A JSON body of fewer than `copied_below` bytes is encoded anew whatever it holds.
    Raises Rejected (400): unreadable, no model, two models, or a member that could be taken for
    a second one.
    """
    if boundary:
        return _read_form(data, boundary, path_model)
    return _read_json(data, path_model, copied_below)


def _members_of(data: bytes) -> dict[str, msgspec.Raw]:
    try:
        # The decoder does not look inside raw members, so bad UTF-8 there is found here.
        str(data, "utf-8")
        refuse_too_many(data)
        return _members.decode(data)
    except UnicodeDecodeError:
        raise Rejected(400, "The body is not UTF-8.") from None
    except RecursionError:
        raise Rejected(400, "The body is nested too deeply.") from None
    except msgspec.ValidationError:
        raise Rejected(400, "The body must be a JSON object.") from None
    except msgspec.DecodeError as error:
        raise Rejected(400, f"The body is not valid JSON: {_place(data, str(error))}") from None


def _read_json(data: bytes, path_model: str | None, copied_below: int) -> JsonBody:
    members = _members_of(data)
    if len(members) > MAX_MEMBERS:
        raise too_many()
    for name in members:
        # Only a short name can be one, or one that ends early where a NUL ends strings.
        is_short = len(name) <= len("model") or "\0" in name
        if is_short and name != "model" and is_twin(name):
            raise _twin(name)
    is_said_once = "model" in members and refuse_duplicates(data, members)
    named = _named_in(members)
    model = _one_model(named, path_model)
    dropped = members.keys() & ROUTING_MEMBERS
    for name in dropped:
        del members[name]
    goes_on = is_said_once and not dropped and len(data) >= copied_below
    return JsonBody(members, model, data if goes_on else None)


def _named_in(members: dict[str, msgspec.Raw]) -> str | None:
    raw = members.get("model")
    if raw is None or bytes(raw) == b"null":
        return None
    try:
        return _text.decode(raw)
    except UNDECODABLE:
        raise Rejected(400, "'model' must be a string.", param="model") from None


def _one_model(named: str | None, path_model: str | None) -> str:
    """The model of body and path, which must not disagree."""
    name = trimmed(named) if named is not None else ""
    if not name:
        name = path_model or ""
    if not name:
        message = "'model' is required. Call `/v1/models` for the models of your key."
        raise Rejected(400, message, param="model")
    if path_model is not None and name != path_model:
        raise Rejected(400, "The body and the path name different models.", param="model")
    return name


def is_twin(name: str) -> bool:
    """Whether some parser could take this name for `model`.

    That is one equal to it but for letter case, Unicode form, or a NUL and what follows it.
    """
    head = name.partition("\0")[0]
    # Every character comes to at least one, and some to eighteen.
    if len(head) > len("model"):
        return False
    folded = unicodedata.normalize("NFKC", head).casefold()
    return unicodedata.normalize("NFKC", folded) == "model"


def _twin(name: str) -> Rejected:
    shown = ascii(name)[1:-1]
    return Rejected(400, f"'{shown}' could be read as 'model'; send 'model' once.", param="model")


_OFFSET = re.compile(r"\(byte (\d+)\)")


def _place(data: bytes, problem: str) -> str:
    """The parser's complaint with a line and a column in place of a byte offset."""
    problem = problem.removeprefix("JSON is malformed: ")
    found = _OFFSET.search(problem)
    if found is None:
        return problem
    before = data[: int(found[1])]
    line = before.count(b"\n") + 1
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    return f"{problem[: found.start()].strip()} (line {line}, column {column})"


def _read_form(data: bytes, boundary: str, path_model: str | None) -> FormBody:
    kept: list[forms.Part] = []
    model: str | None = None
    for part in forms.parse(data, boundary):
        if part.name == "model":
            if model is not None:
                raise Rejected(400, "The form has more than one 'model' field.", param="model")
            model = forms.plain_text(part)
        elif is_twin(part.name.strip()):
            raise _twin(part.name)
        elif part.name not in ROUTING_MEMBERS:
            kept.append(part)
    return FormBody(kept, _one_model(model, path_model))
