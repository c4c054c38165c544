"""The settings of the services: section `grantgate:` of the config file, under the environment."""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from shared.addresses import Reach
from shared.credentials import Secret
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

PREFIX = "GRANTGATE_"
MASTER_KEY = PREFIX + "MASTER_KEY"

_Port = Annotated[int, Meta(ge=0, le=65535, description="a port number, 0 to 65535")]
_Seconds = Annotated[float, Meta(gt=0, le=86400, description="a number of seconds above 0")]
_Delay = Annotated[float, Meta(ge=0, le=86400, description="a number of seconds, 0 or more")]
_Bytes = Annotated[int, Meta(ge=1024, le=2**40, description="a number of bytes, at least 1024")]
_Count = Annotated[int, Meta(ge=1, le=1_000_000, description="a number, at least 1")]
_Path = Annotated[str, Meta(pattern=r"\A[^\x00]+\Z", description="a file's path")]
_Host = Annotated[str, Meta(pattern=r"\A[^\s/@]+\Z", description="a host name or address")]
_Name = Annotated[str, Meta(pattern=r"\A\S+\Z", description="a name without white space")]
_NatsUrl = Annotated[
    str,
    Meta(
        pattern=r"\A(nats|tls)://[^\s@]+\Z",
        description="nats://host:port or tls://host:port (nats_user, nats_password stand apart)",
    ),
]
_HttpUrl = Annotated[
    str, Meta(pattern=r"\Ahttps?://[^\s@?#]+\Z", description="http://host:port or https://host")
]
_MongoUrl = Annotated[
    str,
    Meta(
        pattern=r"\Amongodb(\+srv)?://\S+\Z", description="mongodb://host:port or mongodb+srv://..."
    ),
]
_Database = Annotated[
    str,
    Meta(
        pattern=r'\A[^\s/\\."$*<>:|?]{1,63}\Z', description="a database name of up to 63 characters"
    ),
]
_Folder = Annotated[str, Meta(min_length=1, pattern=r"\A[^\x00]+\Z", description="a folder's path")]
_Limit = Annotated[int, Meta(ge=0, le=1_000_000, description="a number, 0 or more")]
_Private = Annotated[
    bool | tuple[str, ...],
    Meta(description="true, false, or networks (10.0.0.0/8) and host names"),
]
_Copies = Annotated[int, Meta(ge=1, le=5, description="1 to 5")]
_Flag = Annotated[bool, Meta(description="true or false")]
_Level = Annotated[
    Literal["debug", "info", "warning", "error"],
    Meta(description="debug, info, warning or error"),
]
_Format = Annotated[Literal["json", "console"], Meta(description="json or console")]
_Password = Annotated[Secret | None, Meta(description="text")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the three services are told besides the models. `_s` fields are seconds.

    Each field is `grantgate.<field>` in the file and `GRANTGATE_<FIELD>` in the environment.
    A port of 0 takes any free one.
    """

    nats_url: _NatsUrl = "nats://127.0.0.1:4222"
    nats_user: _Name | None = None
    nats_password: _Password = None
    nats_ca_file: _Path | None = None
    nats_cert_file: _Path | None = None
    nats_key_file: _Path | None = None
    mongo_url: _MongoUrl = "mongodb://127.0.0.1:27017"
    mongo_database: _Database = "grantgate"
    keys_url: _HttpUrl = "http://127.0.0.1:4001"
    keys_host: _Host = "127.0.0.1"
    keys_port: _Port = 4001
    policy_host: _Host = "127.0.0.1"
    policy_port: _Port = 4002
    gateway_host: _Host = "127.0.0.1"
    gateway_port: _Port = 4000
    gateway_internal_host: _Host = "127.0.0.1"
    gateway_internal_port: _Port = 4003
    internal_token: _Password = None
    snapshot_token: _Password = None
    salt_key: _Password = None
    policy_data_dir: _Folder | None = None
    snapshot_every: _Count = 10_000
    snapshot_every_bytes: _Bytes = 67_108_864
    nats_replicas: _Copies = 1
    lease_s: _Seconds = 5.0
    margin_s: _Seconds = 0.5
    max_body_bytes: _Bytes = 33_554_432
    body_timeout_s: _Seconds = 30.0
    drain_s: _Seconds = 30.0
    drain_delay_s: _Delay = 0.0
    connect_timeout_s: _Seconds = 5.0
    upstream_first_byte_timeout_s: _Seconds = 600.0
    upstream_idle_timeout_s: _Seconds = 300.0
    upstream_total_timeout_s: _Seconds | None = None
    upstream_max_connections: _Count = 1000
    upstream_ca_file: _Path | None = None
    allow_private_upstreams: _Private = False
    decision_timeout_s: _Seconds = 1.0
    max_requests: _Count = 10_000
    max_requests_per_key: _Limit = 0
    max_connections_per_address: _Limit = 0
    client_stall_timeout_s: _Seconds = 60.0
    refusals_logged_per_s: _Limit = 10
    list_models: _Flag = True
    abort_streams: _Flag = True
    reload_config: _Flag = True
    discover_models: _Flag = False
    log_level: _Level = "info"
    log_format: _Format = "json"

    def __repr__(self) -> str:
        """Show every setting but the database's address, which may hold its password."""
        shown = {name: getattr(self, name) for name in FIELDS} | {"mongo_url": "***"}
        return f"Settings({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


FIELDS: tuple[str, ...] = Settings.__struct_fields__


def changed(old: Settings, new: Settings) -> tuple[str, ...]:
    """The names of the settings in which the two differ."""
    return tuple(name for name in FIELDS if _plain(old, name) != _plain(new, name))


def _plain(settings: Settings, name: str) -> object:
    value = getattr(settings, name)
    return value.reveal() if isinstance(value, Secret) else value


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
    if (settings.nats_cert_file is None) != (settings.nats_key_file is None):
        what = "nats_cert_file and nats_key_file belong together"
        raise place.error(what, "set both or neither")
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
    if kind is _Password:
        return Secret(text(value, place))
    if lax and isinstance(value, str) and kind in (_Flag, _Private):
        value = value.lower()
        if kind is _Private and value not in ("true", "false"):
            value = [entry.strip() for entry in value.split(",")]
    try:
        found = msgspec.convert(value, kind, strict=not lax)
        if kind is _Private:
            Reach(found)
    except (msgspec.ValidationError, ValueError):
        # msgspec's own text is not used: a value may hold a password.
        what = f"must be {_expectation(kind)}"
        raise place.error(what, "correct the value") from None
    return found


def _expectation(kind: object) -> str:
    metas = getattr(kind, "__metadata__", None)
    if metas is None:  # an optional one: the description is on its first alternative
        return _expectation(get_args(kind)[0])
    return str(metas[0].description)


def _note_unknown(environ: Mapping[str, str], notes: Notes) -> None:
    known = VARIABLES.keys() | OTHER_VARIABLES
    for variable in sorted(environ):
        bare = variable.removesuffix(_FILE_SUFFIX)
        if not variable.startswith(PREFIX) or variable.startswith(_FREE_PREFIXES) or bare in known:
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
