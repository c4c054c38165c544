"""The `model_list` of the config file: its entries as Grantgate keeps them.

Upstream addresses and credentials stay unresolved: keys reads the same file without having them.
"""

import hashlib
import json
from collections.abc import Mapping

import msgspec

from shared.catalogue import SENTINELS, Deployment, entry_problem
from shared.credentials import Secret
from shared.litellm_fields import is_price, note_unused
from shared.patterns import is_pattern
from shared.reading import (
    Notes,
    Place,
    is_reference,
    mapping,
    resolve,
    sequence,
    text,
)

MAX_ID = 128
"""Characters in a deployment id."""

MAX_UPSTREAM_MODEL = 512
"""Characters in `litellm_params.model`."""


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `model_list`.

    `model`, `api_base`, `api_key`, `api_version`, `organization`, header values and a textual
    `timeout` may be `os.environ/NAME`, for the gateway to resolve. `timeout` is in seconds.
    `path` is where the entry stands in the file.
    """

    id: str
    model_name: str
    access_groups: tuple[str, ...]
    position: int
    path: str
    model: str
    api_base: str | None = None
    api_key: Secret | None = None
    api_version: str | None = None
    custom_llm_provider: str | None = None
    organization: str | None = None
    extra_headers: dict[str, Secret] = {}
    timeout: float | str | None = None
    model_info: dict[str, object] = {}

    def __repr__(self) -> str:
        """Show what is public: an address may hold a password too."""
        return f"ModelEntry({self.path}, id={self.id!r}, model_name={self.model_name!r})"

    def deployment(self) -> Deployment:
        """The entry as decisions see it."""
        return Deployment(
            id=self.id,
            name=self.model_name,
            access_groups=self.access_groups,
            position=self.position,
        )


def read_models(
    value: object, environ: Mapping[str, str], place: Place, notes: Notes
) -> tuple[ModelEntry, ...]:
    """Every entry of a `model_list`, in its order. Raises ConfigError; notes what is ignored."""
    entries: list[ModelEntry] = []
    at_id: dict[str, str] = {}
    for position, raw in enumerate(sequence(value, place)):
        at = place.item(position)
        entry = _entry(_required(raw, at), position, environ, at, notes)
        if not entry.id:
            entry = msgspec.structs.replace(entry, id=_derived_id(raw, at_id))
        elif entry.id in at_id:
            what = f"the id {entry.id!r} is that of {at_id[entry.id]} too"
            raise at.field("model_info.id").error(what, "give every entry its own id")
        at_id[entry.id] = at.path
        entries.append(entry)
    return tuple(entries)


def _required(raw: object, place: Place) -> dict[str, object]:
    fields = mapping(raw, place)
    for name in ("model_name", "litellm_params"):
        if fields.get(name) is None:
            what = "is missing"
            raise place.field(name).error(what, f"add {name} to this entry")
    return fields


def _entry(
    fields: dict[str, object],
    position: int,
    environ: Mapping[str, str],
    place: Place,
    notes: Notes,
) -> ModelEntry:
    at_params, at_info = place.field("litellm_params"), place.field("model_info")
    params = mapping(fields["litellm_params"], at_params)
    info = mapping(fields.get("model_info"), at_info)
    note_unused("model_list", fields, place, notes)
    note_unused("litellm_params", params, at_params, notes)
    note_unused("model_info", info, at_info, notes)
    at_name = place.field("model_name")
    name = _model_name(resolve(text(fields["model_name"], at_name), environ, at_name), at_name)
    key = _optional(params, "api_key", at_params)
    return ModelEntry(
        id=_own_id(info.get("id"), environ, at_info.field("id")),
        model_name=name,
        access_groups=_groups(info.get("access_groups"), environ, at_info.field("access_groups")),
        position=position,
        path=place.path,
        model=_model(params.get("model"), name, at_params.field("model")),
        api_base=_api_base(params, at_params),
        api_key=None if key is None else Secret(key),
        api_version=_optional(params, "api_version", at_params),
        custom_llm_provider=_optional(params, "custom_llm_provider", at_params),
        organization=_optional(params, "organization", at_params),
        extra_headers=_headers(params.get("extra_headers"), at_params.field("extra_headers")),
        timeout=_timeout(params.get("timeout"), at_params.field("timeout")),
        model_info={k: v for k, v in params.items() if is_price(k)} | info,
    )


def _model_name(name: str, place: Place) -> str:
    problem = entry_problem(name)
    if problem:
        cure = "correct the pattern" if is_pattern(name) else "give the model another name"
        raise place.error(problem, cure)
    if name.startswith("!"):
        what = "begins with '!', which denies in a list of models"
        raise place.error(what, "give the model another name")
    if name in SENTINELS:
        what = f"{name!r} is a reserved word"
        raise place.error(what, "give the model another name")
    return name


def _model(value: object, name: str, place: Place) -> str:
    if value is None:
        what = "is missing"
        raise place.error(what, "write provider/model, such as openai/gpt-4o")
    model = text(value, place)
    if not is_reference(model):
        check_upstream_model(model, name, place)
    return model


def check_upstream_model(model: str, name: str, place: Place) -> None:
    """Refuse a `litellm_params.model` that cannot be sent upstream for `name`."""
    if len(model) > MAX_UPSTREAM_MODEL:
        what = f"is longer than {MAX_UPSTREAM_MODEL} characters"
        raise place.error(what, "correct the name")
    if model != model.strip() or not model.isprintable():
        what = "begins or ends with white space, or has an unprintable character"
        raise place.error(what, "correct the name")
    here, there = model.count("*"), name.count("*")
    if here > there:
        what = f"has {here} '*' where model_name has {there}"
        raise place.error(what, "each '*' here takes what one '*' of model_name stands for")


def _groups(value: object, environ: Mapping[str, str], place: Place) -> tuple[str, ...]:
    if isinstance(value, str):
        raise place.mistyped(value, "a list", 'write it as ["group"]')
    groups: dict[str, None] = {}
    for index, item in enumerate(sequence(value, place)):
        at = place.item(index)
        if not isinstance(item, str):
            raise at.mistyped(item, "text")
        group = resolve(item, environ, at)
        problem = entry_problem(group)
        if problem is None and (group in SENTINELS or "*" in group or group.startswith("!")):
            problem = f"{group!r} is a reserved group name"
        if problem:
            raise at.error(problem, "give the group another name")
        groups[group] = None
    return tuple(groups)


def _own_id(value: object, environ: Mapping[str, str], place: Place) -> str:
    """The entry's own id, or nothing. A number is as good as text, as in LiteLLM."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    own = resolve(text(value, place), environ, place)
    if len(own) > MAX_ID or own != own.strip() or not own.isprintable():
        what = f"must be up to {MAX_ID} printable characters, without white space at its ends"
        raise place.error(what, "shorten or correct the id")
    return own


def _derived_id(raw: object, taken: Mapping[str, str]) -> str:
    """The same in every process that reads the same entry; the n-th identical one ends in -n.

    An id written in the file later that equals a derived one is found as a duplicate then.
    """
    fields = raw if isinstance(raw, dict) else {}
    parts = {name: fields.get(name) for name in ("model_name", "litellm_params", "model_info")}
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:32]
    derived, ordinal = digest, 1
    while derived in taken:
        ordinal += 1
        derived = f"{digest}-{ordinal}"
    return derived


def _optional(fields: dict[str, object], name: str, place: Place) -> str | None:
    value = fields.get(name)
    return None if value is None else text(value, place.field(name))


def _api_base(params: dict[str, object], place: Place) -> str | None:
    """`base_url` is LiteLLM's other word for it: ignored, a credential would go astray."""
    base, other = _optional(params, "api_base", place), _optional(params, "base_url", place)
    if base is not None and other is not None and base != other:
        what = "api_base says something else, and both mean the same"
        raise place.field("base_url").error(what, "keep one of them")
    return other if base is None else base


def _headers(value: object, place: Place) -> dict[str, Secret]:
    headers = mapping(value, place).items()
    return {name: Secret(text(content, place.field(name))) for name, content in headers}


def _timeout(value: object, place: Place) -> float | str | None:
    if value is None or (isinstance(value, str) and is_reference(value)):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.mistyped(value, "a number of seconds")
    return check_timeout(value, place)


def check_timeout(seconds: float, place: Place) -> float:
    """A usable time limit in seconds. Raises ConfigError."""
    if not 0 < seconds <= 86_400:  # noqa: PLR2004 - a day; also false for nan
        what = "must be above 0 and at most 86400"
        raise place.error(what, "write a number of seconds")
    return float(seconds)
