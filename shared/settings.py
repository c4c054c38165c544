"""The settings of the services: their names, shapes and defaults."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.credentials import Secret
from shared.nkey import Nkey, Proof

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
Private = Annotated[
    bool | tuple[str, ...],
    Meta(description="true, false, or networks (10.0.0.0/8) and host names"),
]
_Copies = Annotated[int, Meta(ge=1, le=5, description="1 to 5")]
Flag = Annotated[bool, Meta(description="true or false")]
_Level = Annotated[
    Literal["debug", "info", "warning", "error"],
    Meta(description="debug, info, warning or error"),
]
_Format = Annotated[Literal["json", "console"], Meta(description="json or console")]
Password = Annotated[Secret | None, Meta(description="text")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the three services are told besides the models. `_s` fields are seconds.

    Each field is `grantgate.<field>` in the file and `GRANTGATE_<FIELD>` in the environment.
    A port of 0 takes any free one.
    """

    nats_url: _NatsUrl = "nats://127.0.0.1:4222"
    nats_user: _Name | None = None
    nats_password: Password = None
    nats_nkey_seed: Password = None
    nats_ca_file: _Path | None = None
    nats_cert_file: _Path | None = None
    nats_key_file: _Path | None = None
    mongo_url: _MongoUrl = "mongodb://127.0.0.1:27017"
    mongo_database: _Database = "grantgate"
    keys_url: _HttpUrl = "http://127.0.0.1:4001"
    keys_host: _Host = "127.0.0.1"
    keys_port: _Port = 4001
    workers: _Count = 1
    policy_host: _Host = "127.0.0.1"
    policy_port: _Port = 4002
    gateway_host: _Host = "127.0.0.1"
    gateway_port: _Port = 4000
    gateway_cert_file: _Path | None = None
    gateway_key_file: _Path | None = None
    gateway_internal_host: _Host = "127.0.0.1"
    gateway_internal_port: _Port = 4003
    internal_token: Password = None
    snapshot_token: Password = None
    salt_key: Password = None
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
    allow_private_upstreams: Private = False
    decision_timeout_s: _Seconds = 1.0
    max_requests: _Count = 10_000
    max_requests_per_key: _Limit = 0
    max_connections_per_address: _Limit = 0
    client_stall_timeout_s: _Seconds = 60.0
    refusals_logged_per_s: _Limit = 10
    list_models: Flag = True
    abort_streams: Flag = True
    reload_config: Flag = True
    discover_models: Flag = False
    log_level: _Level = "info"
    log_format: _Format = "json"

    def nats_proof(self) -> Proof | None:
        """What NATS is shown: the key pair, else the password."""
        return Nkey(self.nats_nkey_seed) if self.nats_nkey_seed else self.nats_password

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
