"""Reads the settings: section `grantgate:` of the config file, under the environment."""

from collections.abc import Mapping
from typing import get_args, get_type_hints

import msgspec

from shared.addresses import Reach
from shared.credentials import Secret
from shared.nkey import Nkey
from shared.reading import (
    ENVIRONMENT,
    ConfigError,
    Notes,
    Place,
    is_reference,
    mapping,
    read_file,
    resolve,
    suggestion,
    text,
)
from shared.settings import FIELDS, Flag, Password, Private, Settings

PREFIX = "GRANTGATE_"
MASTER_KEY = PREFIX + "MASTER_KEY"

_TYPES = get_type_hints(Settings, include_extras=True)
_NESTED = {
    ("errors", "list_models"): "list_models",
    ("revocation", "abort_streams"): "abort_streams",
}
"""Settings that stand one level deeper in the file."""

VARIABLES = {PREFIX + name.upper(): name for name in FIELDS}
"""The environment variable of each setting."""

OTHER_VARIABLES = frozenset(
    PREFIX + name
    for name in (
        "CONFIG",
        "MASTER_KEY",
        "WORKER",
        "NATS_KEYS_PASSWORD",
        "NATS_POLICY_PASSWORD",
        "NATS_GATEWAY_PASSWORD",
    )
)
"""Variables that are Grantgate's without being a setting."""

_FREE_PREFIXES = (PREFIX + "DEMO_", PREFIX + "TEST_")
_FILE_SUFFIX = "_FILE"


def read_settings(
    section: object, environ: Mapping[str, str], file: str, notes: Notes | None = None
) -> Settings:
    """The settings of section `grantgate:` and, over them, of the environment.

    An unknown field is refused; an unknown GRANTGATE_ variable is noted. Raises ConfigError.
    """
    place = Place(file, "grantgate")
    fields = _flattened(mapping(section, place), place)
    values: dict[str, object] = {}
    for name in FIELDS:
        variable = PREFIX + name.upper()
        override = environ.get(variable, "").strip()
        if override:
            values[name] = _read(name, override, Place(ENVIRONMENT, variable), lax=True)
        elif name in fields:
            values[name] = _from_file(name, *fields[name], environ)
    if notes is not None:
        _note_unknown(environ, notes)
    settings = msgspec.structs.replace(Settings(), **values)
    for which in ("nats", "gateway"):
        cert, key = f"{which}_cert_file", f"{which}_key_file"
        if (getattr(settings, cert) is None) != (getattr(settings, key) is None):
            what = f"{cert} and {key} belong together"
            raise place.error(what, "set both or neither")
    if settings.nats_nkey_seed and settings.nats_password:
        what = "nats_nkey_seed and nats_password are both set"
        raise place.error(what, "keep one of the two, in the file or in the environment")
    if settings.margin_s >= settings.lease_s:
        at = (
            place
            if environ.keys().isdisjoint({"GRANTGATE_LEASE_S", "GRANTGATE_MARGIN_S"})
            else (Place(ENVIRONMENT, "GRANTGATE_MARGIN_S"))
        )
        what = f"margin_s ({settings.margin_s:g}) must be less than lease_s ({settings.lease_s:g})"
        raise at.error(what, "lower margin_s or raise lease_s")
    return msgspec.structs.replace(settings, keys_url=settings.keys_url.rstrip("/"))


def _flattened(section: dict[str, object], place: Place) -> dict[str, tuple[object, Place]]:
    """Every field of the section with its place, those of inner mappings among them."""
    found: dict[str, tuple[object, Place]] = {}
    outer = {head for head, _ in _NESTED}
    for name, value in section.items():
        at = place.field(name)
        if name in outer:
            for inner, inner_value in mapping(value, at).items():
                target = _NESTED.get((name, inner))
                if target is None:
                    raise _unknown(inner, at.field(inner), [i for o, i in _NESTED if o == name])
                if section.get(target) is not None:
                    what = "is written twice"
                    raise place.field(target).error(what, f"keep {name}.{inner} alone")
                if inner_value is not None:
                    found[target] = (inner_value, at.field(inner))
        elif name not in FIELDS:
            raise _unknown(name, at, [*FIELDS, *outer])
        elif value is not None:
            found[name] = (value, at)
    return found


def _unknown(name: str, place: Place, known: list[str]) -> ConfigError:
    near = suggestion(name, known)
    cure = f"did you mean {near}?" if near else "remove it"
    return place.error("is not a setting", cure)


def _from_file(name: str, value: object, place: Place, environ: Mapping[str, str]) -> object:
    if is_reference(value):
        return _read(name, resolve(text(value, place), environ, place), place, lax=True)
    return _read(name, value, place, lax=False)


def _read(name: str, value: object, place: Place, *, lax: bool) -> object:
    """One setting's value; `lax` reads numbers and flags from text."""
    kind = _TYPES[name]
    if kind is Password:
        secret = Secret(text(value, place))
        if name == "nats_nkey_seed":
            _check_seed(secret, place)
        return secret
    if lax and isinstance(value, str) and kind in (Flag, Private):
        value = value.lower()
        if kind is Private and value not in ("true", "false"):
            value = [entry.strip() for entry in value.split(",")]
    try:
        found = msgspec.convert(value, kind, strict=not lax)
        if kind is Private:
            Reach(found)
    except (msgspec.ValidationError, ValueError):
        # msgspec's own text is not used: a value may hold a password.
        what = f"must be {_expectation(kind)}"
        raise place.error(what, "correct the value") from None
    return found


def _check_seed(seed: Secret, place: Place) -> None:
    try:
        Nkey(seed)
    except ValueError as problem:
        cure = "write the whole of one that begins with SU, as `nk -gen user` prints it"
        raise place.error(str(problem), cure) from None


def _expectation(kind: object) -> str:
    metas = getattr(kind, "__metadata__", None)
    if metas is None:  # an optional one: the description is on its first alternative
        return _expectation(get_args(kind)[0])
    return str(metas[0].description)


def _note_unknown(environ: Mapping[str, str], notes: Notes) -> None:
    known = VARIABLES.keys() | OTHER_VARIABLES
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable.startswith(_FREE_PREFIXES):
            continue
        if variable in known or variable.removesuffix(_FILE_SUFFIX) in known:
            continue
        near = suggestion(variable, sorted(known))
        hint = f"; did you mean {near}?" if near else ""
        notes.add(Place(ENVIRONMENT, variable), f"is not a setting and is ignored{hint}")


def with_secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with `NAME` filled from the file that `NAME_FILE` names; `NAME` itself wins.

    Works for every setting and the master key. Raises ConfigError for an unusable file.
    """
    filled = dict(environ)
    for name in (*VARIABLES, MASTER_KEY):
        pointer = name + _FILE_SUFFIX
        if filled.get(name) or not filled.get(pointer):
            continue
        place = Place(ENVIRONMENT, pointer)
        value = read_file(filled[pointer], place).strip()
        if not value:
            what = "names an empty file"
            raise place.error(what, "write the value into it")
        filled[name] = value
    return filled
