"""Reading the config file: LiteLLM's config.yaml shape, with a `grantgate:` section beside it.

The one place that knows YAML. Whatever is wrong with the file comes out as one ConfigError line.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from shared.catalogue import Deployment
from shared.credentials import Secret
from shared.litellm_fields import note_unused
from shared.master_key import read_master_key
from shared.model_list import ModelEntry, read_models
from shared.reading import (
    ConfigError,
    Notes,
    Place,
    is_reference,
    mapping,
    read_file,
    resolve,
)
from shared.settings import Settings
from shared.settings_reader import read_settings, with_secret_files

__all__ = ["Config", "ConfigError", "ModelEntry", "Settings", "load", "load_settings", "resolve"]

DEFAULT_FILE = "config.yaml"

_MAX_DEPTH = 64
_MAX_ALIASED = 100_000
"""Nodes that all aliases of a file may stand for together."""

_IGNORED_SECTIONS = ("general_settings", "litellm_settings", "router_settings")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The file as read. `environment` is its `environment_variables`; the real ones go over it.

    `digest` is of the whole text, credentials included: it is not for showing.
    """

    file: str
    models: tuple[ModelEntry, ...]
    settings: Settings
    master_key: Secret | None
    environment: dict[str, Secret] = {}
    warnings: tuple[str, ...] = ()
    digest: str = ""

    def deployments(self) -> tuple[Deployment, ...]:
        """The models as decisions see them, in the order of the file."""
        return tuple(entry.deployment() for entry in self.models)


def load(path: str | None, environ: Mapping[str, str]) -> Config:
    """Read and check a whole config file: `path`, else GRANTGATE_CONFIG, else ./config.yaml.

    Upstream addresses and credentials are left unresolved. Raises ConfigError.
    """
    file = path or environ.get("GRANTGATE_CONFIG") or DEFAULT_FILE
    place = Place(file)
    content = _content(file)
    document = _document(content, place)
    environment = _environment(document, place)
    known = with_secret_files({k: v.reveal() for k, v in environment.items()} | dict(environ))
    general = mapping(document.get("general_settings"), place.field("general_settings"))
    at_key = place.field("general_settings").field("master_key")
    notes = Notes()
    note_unused("", document, place, notes)
    for section in _IGNORED_SECTIONS:
        at = place.field(section)
        note_unused(section, mapping(document.get(section), at), at, notes)
    models = read_models(document.get("model_list"), known, place.field("model_list"), notes)
    if not models:
        notes.add(place.field("model_list"), "is empty: no model can be called")
    return Config(
        file=file,
        models=models,
        settings=read_settings(document.get("grantgate"), known, file, notes),
        master_key=read_master_key(general.get("master_key"), known, at_key),
        environment=environment,
        warnings=notes.lines(),
        digest=_digest(content),
    )


def digest_of(file: str) -> str:
    """The digest that `load` gives what the file holds now. Raises ConfigError."""
    return _digest(_content(file))


def load_settings(path: str | None, environ: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]]:
    """The settings alone, and warnings: for a process that needs no models and no master key.

    Without `path` and GRANTGATE_CONFIG a missing ./config.yaml is no error. Raises ConfigError.
    """
    named = path or environ.get("GRANTGATE_CONFIG")
    file = named or DEFAULT_FILE
    document = _document(_content(file), Place(file)) if named or Path(file).exists() else {}
    environment = {k: v.reveal() for k, v in _environment(document, Place(file)).items()}
    notes = Notes()
    known = with_secret_files(environment | dict(environ))
    settings = read_settings(document.get("grantgate"), known, file, notes)
    return settings, notes.lines()


def _environment(document: dict[str, object], place: Place) -> dict[str, Secret]:
    at = place.field("environment_variables")
    found = {}
    for name, value in mapping(document.get("environment_variables"), at).items():
        if isinstance(value, bool | dict | list):
            raise at.field(name).mistyped(value, "text")
        # A reference to another variable adds nothing that is not in the environment already.
        if value is not None and not is_reference(value):
            found[name] = Secret(str(value))
    return found


def _content(file: str) -> str:
    place = Place(file)
    try:
        return read_file(file, place)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            what, cure = "there is no such file", "name one with --config or GRANTGATE_CONFIG"
            raise place.error(what, cure) from error
        raise


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _document(content: str, place: Place) -> dict[str, object]:
    """The file's one YAML document, a mapping of plain values. Raises ConfigError."""
    try:
        _refuse_bombs(content)
        document = yaml.load(content, Loader=_Loader)  # noqa: S506 - allows less than SafeLoader
    except _RefusedError as error:
        raise _at(error.mark, place).error(error.what, error.cure) from None
    except yaml.MarkedYAMLError as error:
        what = f"is not valid YAML ({error.problem})"
        raise _at(error.problem_mark, place).error(what, "correct the syntax there") from None
    except yaml.YAMLError:
        what = "has a character that YAML does not allow"
        raise place.error(what, "remove control characters from it") from None
    fields = mapping(document, place)
    if fields.get("include") is not None:
        what = "other files are not included"
        raise place.field("include").error(what, "put their content into this file")
    return fields


class _Mark(Protocol):
    """Where in the text: both count from 0."""

    line: int
    column: int


def _at(mark: _Mark | None, place: Place) -> Place:
    if mark is None:
        return place
    return place.field(f"line {mark.line + 1}, column {mark.column + 1}")


class _RefusedError(Exception):
    def __init__(self, what: str, cure: str, mark: _Mark | None) -> None:
        super().__init__(what)
        self.what, self.cure, self.mark = what, cure, mark


def _refuse_bombs(content: str) -> None:
    """Refuse tags, and nesting and aliases without bound, before anything is built."""
    sizes: dict[str, int] = {}
    stack: list[tuple[str | None, int]] = [(None, 0)]
    aliased = 0
    for event in yaml.parse(content, Loader=yaml.CSafeLoader):
        _refuse_tag(event)
        if isinstance(event, yaml.AliasEvent):
            # An anchor is counted when its node ends: an alias inside it refers to itself.
            size = sizes.get(event.anchor or "", _MAX_ALIASED + 1)
            aliased += size
            if aliased > _MAX_ALIASED:
                what = f"the alias *{event.anchor} is undefined, or stands for too much"
                raise _RefusedError(what, "write the values out", event.start_mark)
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor, 1))
            if len(stack) > _MAX_DEPTH:
                what = "is nested too deep"
                raise _RefusedError(what, "flatten it", event.start_mark)
            continue
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if event.anchor:
                sizes[event.anchor] = size
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = stack.pop()
            if anchor:
                sizes[anchor] = size
        else:
            continue
        outer, so_far = stack[-1]
        stack[-1] = (outer, so_far + size)


def _refuse_tag(event: yaml.Event) -> None:
    """Only `!!str` before a scalar: any other tag is an object, or a kind the value may not be."""
    tag = getattr(event, "tag", None)
    if tag and not (isinstance(event, yaml.ScalarEvent) and tag in ("!", _TAG + "str")):
        what = f"the tag {tag.replace(_TAG, '!!')} is not allowed"
        raise _RefusedError(what, "write a plain value", event.start_mark)


def _refuse_bad_keys(root: yaml.Node) -> None:
    """Refuse keys that are not text and keys that stand twice, anywhere in the document."""
    waiting, visited = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        children = list(node.value) if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [item for _, item in node.value]
            _refuse_bad_keys_of(node)
        fresh = [child for child in children if id(child) not in visited]
        visited.update(map(id, fresh))
        waiting.extend(fresh)


def _refuse_bad_keys_of(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _KEY_TAGS:
            what = "a key must be text"
            raise _RefusedError(what, "put it in quotes", key.start_mark)
        if key.value in seen:
            what = f"the key {key.value!r} stands twice in one mapping"
            raise _RefusedError(what, "remove one of them", key.start_mark)
        seen.add(key.value)


class _Loader(yaml.CSafeLoader):
    """Text, numbers, flags, lists and mappings of text keys, each key once; nothing else."""

    def get_single_data(self) -> Any:  # noqa: ANN401 - what the file holds
        """The document, once its keys are known to be sound."""
        node = self.get_single_node()
        if node is None:
            return None
        _refuse_bad_keys(node)
        return self.construct_document(node)

    def plain_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        """A mapping; `<<` merges as YAML 1.1 says."""
        self.flatten_mapping(node)
        return {key.value: self.construct_object(item, deep=True) for key, item in node.value}

    def plain_list(self, node: yaml.SequenceNode) -> list[Any]:
        """A list."""
        return [self.construct_object(item, deep=True) for item in node.value]

    def number(self, node: yaml.ScalarNode) -> float:
        """A number that Python can hold."""
        try:
            is_int = node.tag == _TAG + "int"
            return self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)
        except ValueError:
            what = "the number cannot be read"
            raise _RefusedError(what, "put it in quotes", node.start_mark) from None

    def refuse_value(self, node: yaml.Node) -> Any:  # noqa: ANN401 - never returns
        """Such as `=` alone, or `<<` where it merges nothing."""
        what = "the value has a meaning of its own in YAML"
        raise _RefusedError(what, "put it in quotes", node.start_mark)


_TAG = "tag:yaml.org,2002:"
_KEY_TAGS = frozenset({_TAG + "str", _TAG + "merge"})
_Loader.yaml_constructors = {
    _TAG + "str": yaml.CSafeLoader.construct_yaml_str,
    _TAG + "bool": yaml.CSafeLoader.construct_yaml_bool,
    _TAG + "null": yaml.CSafeLoader.construct_yaml_null,
    _TAG + "int": _Loader.number,
    _TAG + "float": _Loader.number,
    _TAG + "seq": _Loader.plain_list,
    _TAG + "map": _Loader.plain_mapping,
    None: _Loader.refuse_value,
}
# An unquoted date stays text: `api_version: 2024-10-21` means what it says.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != _TAG + "timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
