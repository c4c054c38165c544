"""The development stack as commands: which processes there are, and what each is told.

A secret is only ever in a child's environment, never among its arguments.
"""

import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from services.dev.bundled import NATS_CONF
from services.dev.master_key import VARIABLES
from services.dev.ports import HOST, free_ports
from services.dev.supervisor import Command

SERVERS, KEYS, POLICIES, GATEWAYS = range(4)
"""The tiers: gateways stop first, the servers that all others need stop last."""

_USERS = ("keys", "policy", "gateway")
_PLAIN = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH"}
)
"""What a process that is none of the services inherits: nothing that could be a secret."""


def _itself_or_file(variable: str) -> frozenset[str]:
    """A setting's variable, and the one that names a file with its value."""
    return frozenset({variable, variable + "_FILE"})


_DATABASE = _itself_or_file("GRANTGATE_MONGO_URL")
_SALT = _itself_or_file("GRANTGATE_SALT_KEY")
_SNAPSHOT = _itself_or_file("GRANTGATE_SNAPSHOT_TOKEN")
_NKEY = _itself_or_file("GRANTGATE_NATS_NKEY_SEED")
_WITHHELD = {
    "keys": frozenset[str](),
    "policy": _DATABASE | _SALT | {*VARIABLES},
    "gateway": _DATABASE | _SALT | _SNAPSHOT,
}
"""Secrets of the inherited environment that a service has no use for."""
_STOP_S = 5.0
_SERVER_STOP_S = 10.0


class MissingServer(Exception):
    """An embedded server is not installed."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How many of what, and which servers are there already."""

    data_dir: Path
    port: int
    has_tls: bool = False
    policy_replicas: int = 1
    gateways: int = 1
    nats_url: str | None = None
    mongo_url: str | None = None

    def __repr__(self) -> str:
        """Show none of the addresses: one may hold a password."""
        return f"Shape(data_dir={str(self.data_dir)!r}, port={self.port})"


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """The commands, in order of starting, and how to tell that they are up.

    `listening` are the ports of the servers to wait for before a service starts; `ready` are the
    addresses that answer 200 once requests are served, by the name of what is asked.
    """

    servers: tuple[Command, ...]
    services: tuple[Command, ...]
    listening: tuple[int, ...]
    ready: Mapping[str, str]


def _binary(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        message = f"{name} is not installed: pip install 'grantgate[embedded]'"
        raise MissingServer(message)
    return found


def _module(name: str) -> tuple[str, ...]:
    # -P: a folder named `services` where the command is run does not stand in for ours.
    return (sys.executable, "-P", "-m", name)


def demo_url(port: int) -> str:
    """The demo upstream's `api_base`."""
    return f"http://{HOST}:{port}/v1"


def _nats(data_dir: Path, port: int, plain: Mapping[str, str], words: Mapping[str, str]) -> Command:
    return Command(
        name="nats",
        argv=(
            *(_binary("nats-server"), "--config", str(NATS_CONF)),
            *("--addr", HOST, "--port", str(port), "--store_dir", str(data_dir)),
        ),
        environ={**plain, **{_password_variable(user): word for user, word in words.items()}},
        tier=SERVERS,
        grace_s=_SERVER_STOP_S,
    )


def _mongo(data_dir: Path, port: int, plain: Mapping[str, str]) -> Command:
    return Command(
        name="mongo",
        argv=(
            *(_binary("secantusd-py"), "--host", HOST, "--port", str(port)),
            *("--storage-path", str(data_dir / "mongo")),
            *("--sync-on-commit", "--cache-size", "256M", "--log-level", "WARNING"),
        ),
        environ=plain,
        tier=SERVERS,
        # It would read a secantusd.toml where the command is run.
        cwd=data_dir,
        grace_s=_SERVER_STOP_S,
    )


def _password_variable(user: str) -> str:
    return f"GRANTGATE_NATS_{user.upper()}_PASSWORD"


class _Parts:
    """What every command is built from: the ports that were picked, and the environments."""

    def __init__(self, shape: Shape, environ: Mapping[str, str], drain_s: float) -> None:
        self.shape = shape
        self.environ = environ
        self.drain_s = drain_s
        self.plain = {name: environ[name] for name in _PLAIN & environ.keys()}
        count = 4 + shape.policy_replicas + shape.gateways
        self.nats, self.mongo, self.demo, self.keys, *rest = free_ports(count)
        self.policies = rest[: shape.policy_replicas]
        self.gateways = rest[shape.policy_replicas :]
        # "gg_": the server would read a word of digits alone as a number.
        self.words = {user: f"gg_{secrets.token_hex(24)}" for user in _USERS}

    def service(
        self, user: str, tier: int, number: int, extra: Mapping[str, str], grace_s: float = _STOP_S
    ) -> Command:
        """A service's command; `number` tells replicas apart, 0 when there is but one."""
        inherited = {k: v for k, v in self.environ.items() if k not in _WITHHELD[user]}
        environ = {**inherited, "PYTHONUNBUFFERED": "1", **extra}
        if self.shape.nats_url is None:
            # It goes with a server of one's own: the embedded one knows passwords.
            for name in _NKEY & environ.keys():
                del environ[name]
            environ |= {
                "GRANTGATE_NATS_URL": f"nats://{HOST}:{self.nats}",
                "GRANTGATE_NATS_USER": user,
                "GRANTGATE_NATS_PASSWORD": self.words[user],
            }
        else:
            environ["GRANTGATE_NATS_URL"] = self.shape.nats_url
            if own := environ.get(_password_variable(user)):
                environ["GRANTGATE_NATS_PASSWORD"] = own
        for other in _USERS:
            environ.pop(_password_variable(other), None)
        return Command(
            name=f"{user}-{number}" if number else user,
            argv=_module(f"services.{user}"),
            environ=environ,
            tier=tier,
            grace_s=grace_s,
            reloads=True,
        )

    def servers(self) -> list[Command]:
        demo_port = {"GRANTGATE_DEMO_HOST": HOST, "GRANTGATE_DEMO_PORT": str(self.demo)}
        demo = {name: v for name, v in self.environ.items() if name.startswith("GRANTGATE_DEMO_")}
        found = [
            Command(
                name="demo",
                argv=_module("services.dev.demo_upstream"),
                environ={**self.plain, **demo, **demo_port},
            )
        ]
        if self.shape.nats_url is None:
            found.append(_nats(self.shape.data_dir, self.nats, self.plain, self.words))
        if self.shape.mongo_url is None:
            found.append(_mongo(self.shape.data_dir, self.mongo, self.plain))
        return found

    def services(self) -> list[Command]:
        mongo_url = self.shape.mongo_url
        keys = {
            "GRANTGATE_MONGO_URL": mongo_url
            or f"mongodb://{HOST}:{self.mongo}/?directConnection=true",
            "GRANTGATE_KEYS_HOST": HOST,
            "GRANTGATE_KEYS_PORT": str(self.keys),
        }
        found = [self.service("keys", KEYS, 0, keys)]
        for number, port in enumerate(self.policies, 1):
            own = {"GRANTGATE_POLICY_HOST": HOST, "GRANTGATE_POLICY_PORT": str(port)}
            found.append(self.service("policy", POLICIES, number, own))
        for number, port in enumerate(self.gateways, 1):
            own = {
                "GRANTGATE_KEYS_URL": f"http://{HOST}:{self.keys}",
                "GRANTGATE_GATEWAY_HOST": HOST,
                "GRANTGATE_GATEWAY_PORT": str(self.shape.port),
                "GRANTGATE_GATEWAY_INTERNAL_HOST": HOST,
                "GRANTGATE_GATEWAY_INTERNAL_PORT": str(port),
                "GRANTGATE_DEMO_UPSTREAM": demo_url(self.demo),
            }
            grace_s = self.drain_s + _STOP_S
            found.append(self.service("gateway", GATEWAYS, number, own, grace_s))
        return found

    def ready(self) -> dict[str, str]:
        found = {"keys": f"http://{HOST}:{self.keys}/readyz"}
        for number, port in enumerate(self.policies, 1):
            found[f"policy-{number}"] = f"http://{HOST}:{port}/readyz"
        for number, port in enumerate(self.gateways, 1):
            found[f"gateway-{number}"] = f"http://{HOST}:{port}/readyz"
        if not self.shape.has_tls:  # its certificate is for another name than ours
            found["the public port"] = f"http://{HOST}:{self.shape.port}/health/readiness"
        return found


def plan(shape: Shape, environ: Mapping[str, str], drain_s: float) -> Stack:
    """The stack of this shape; the services inherit `environ`.

    `drain_s` is how long a gateway may finish what it began. Raises MissingServer when a server
    has to be embedded and is not installed.
    """
    parts = _Parts(shape, environ, drain_s)
    embedded = {parts.nats: shape.nats_url is None, parts.mongo: shape.mongo_url is None}
    return Stack(
        servers=tuple(parts.servers()),
        services=tuple(parts.services()),
        listening=(parts.demo, *(port for port, is_ours in embedded.items() if is_ours)),
        ready=parts.ready(),
    )
