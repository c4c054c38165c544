"""A gateway on a real port before raw-socket upstreams, with a policy that is a table."""

import json
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from services.gateway.admission import Admission
from services.gateway.api import Gateway
from services.gateway.app import keys_session_for, upstream_pools
from services.gateway.discovery import Discovery
from services.gateway.errors import PolicyUnavailable
from services.gateway.management import Management
from services.gateway.relay import Relay
from services.gateway.server import StrictServer, public_port
from services.gateway.stored_upstreams import StoredUpstreams
from services.gateway.upstreams import Upstream, Upstreams
from shared.credentials import Secret
from shared.decisions import MASTER, Allow, Deny, DenyReason, Listing, Question
from shared.settings import Settings
from tests.service.recording import Recorder

KEY = "sk-client-key-of-tests"
OTHER_KEY = "sk-unknown-key-of-tests"
MASTER_KEY = "sk-master-key-of-tests"
UPSTREAM_SECRET = "up-secret-of-tests"
DEPLOYMENTS = {
    "gpt-4": ("gpt-4-a",),
    "claude": ("claude-a",),
    "spread": ("spread-a", "spread-b"),
    "half-down": ("down-a", "gpt-4-b"),
    "down": ("down-b",),
    "lost": ("nobody-knows",),
    "mixed": ("claude-b", "gpt-4-c"),
}


class TablePolicy:
    """Answers from a table: KEY may call the names in `DEPLOYMENTS`, nobody else anything."""

    def __init__(self):
        self.asked = []
        self.floor = 0
        self.revision = 7
        self.is_down = False
        self.says = None

    async def ask(self, ask):
        self.asked.append(ask)
        if self.is_down:
            raise PolicyUnavailable
        if self.says is not None:
            return self.says
        if ask.key not in (MASTER, Secret(KEY).digest()):
            return Deny(self.revision, DenyReason.KEY_UNKNOWN)
        if not isinstance(ask, Question):
            return Listing(self.revision, (*DEPLOYMENTS, "openai/*"))
        if ask.model is None:
            return Allow(self.revision)
        model = {"alias": "gpt-4"}.get(ask.model, ask.model)
        if not model or len(model) > 512 or "*" in model or not model.isprintable():
            return Deny(self.revision, DenyReason.BAD_MODEL_NAME)
        if model not in DEPLOYMENTS:
            return Deny(
                self.revision, DenyReason.KEY_MODEL_NOT_ALLOWED, model, tuple(DEPLOYMENTS), 7
            )
        return Allow(self.revision, model, DEPLOYMENTS[model], "t-1")

    def saw(self, revision):
        self.floor = max(self.floor, revision)

    async def ping(self):
        if self.is_down:
            raise PolicyUnavailable
        return self.revision


class World:
    """The gateway, its policy, its upstreams, and what went over each wire."""

    def __init__(self, policy, openai, claude, keys):
        self.policy = policy
        self.openai = openai
        self.claude = claude
        self.keys = keys
        self.port = 0
        self.seen_by_clients = b""
        self.shed = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def reached_nothing(self):
        return not (self.openai.requests or self.claude.requests)


def upstreams(openai, claude, dead_port, extra):
    bearer = (("authorization", f"Bearer {UPSTREAM_SECRET}"),)

    def at(name, deployment, speaks, port, headers):
        return Upstream(
            id=deployment,
            speaks=speaks,
            base_url=f"http://127.0.0.1:{port}/v1",
            name=name,
            model="up-" + (deployment if name == "spread" else name),
            headers=headers,
        )

    found = []
    for name, ids in DEPLOYMENTS.items():
        for deployment in ids:
            if deployment.startswith("claude"):
                headers = (("x-api-key", UPSTREAM_SECRET), ("anthropic-version", "2023-06-01"))
                found.append(at(name, deployment, "anthropic", claude.port, headers))
            elif deployment.startswith("down"):
                found.append(at(name, deployment, "openai", dead_port, bearer))
            elif deployment != "nobody-knows":
                found.append(at(name, deployment, "openai", openai.port, bearer))
    found += extra(openai.port, claude.port, dead_port)
    return Upstreams({each.id: each for each in found})


HASTY = pytest.mark.limits(
    header_limit_s=0.5,
    body_timeout_s=0.5,
    upstream_first_byte_timeout_s=1.0,
    upstream_idle_timeout_s=0.5,
)
"""For tests of what happens when nothing comes. All others have time, on a busy machine too."""


def settings(**changes):
    values = {
        "max_body_bytes": 1024 * 1024,
        "body_timeout_s": 30.0,
        "drain_s": 20.0,
        "connect_timeout_s": 30.0,
        "upstream_first_byte_timeout_s": 30.0,
        "upstream_idle_timeout_s": 30.0,
    }
    return Settings(**(values | changes))


@asynccontextmanager
async def running(
    *,
    header_limit_s=30.0,
    idle_s=75.0,
    policy=None,
    extra=lambda *_ports: (),
    patience=None,
    keys_url=None,
    master_key=MASTER_KEY,
    tls=None,
    **changes,
):
    """A world to talk to; `changes` are settings.

    `extra` makes upstreams of the ports; `patience` are the limits of discovery; `keys_url` is
    where a real keys is instead of a recorder; `tls` is the public port's.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        openai, claude = await enter(Recorder().running()), await enter(Recorder().running())
        keys = await enter(Recorder().running())
        async with Recorder().running() as closed_again:
            dead_port = closed_again.port
        chosen = settings(**changes)
        policy = policy or TablePolicy()
        world = World(policy, openai, claude, keys)
        keys_session = await enter(keys_session_for(chosen))
        keys_url = keys_url or f"http://127.0.0.1:{keys.port}"
        declared = upstreams(openai, claude, dead_port, extra)
        world.stored = StoredUpstreams(declared, keys_session, keys_url, None, {})
        pools = stack.enter_context(upstream_pools(chosen))
        limits = patience or {}
        discovery = Discovery(pools, world.stored, **limits) if chosen.discover_models else None
        if discovery is not None:
            stack.callback(discovery.close)
        world.relay = relay = Relay(
            pools,
            world.stored,
            first_byte_timeout_s=chosen.upstream_first_byte_timeout_s,
            idle_timeout_s=chosen.upstream_idle_timeout_s,
            total_timeout_s=chosen.upstream_total_timeout_s,
        )
        gateway = Gateway(
            policy,
            Admission(policy, Secret(master_key)),
            relay,
            Management(keys_session, keys_url, policy),
            chosen,
            discovery,
            world.shed.append,
        )
        world.gateway = gateway
        server = StrictServer(
            gateway.handle,
            header_limit_s=header_limit_s,
            idle_s=idle_s,
            stall_s=chosen.client_stall_timeout_s,
            most_per_address=chosen.max_connections_per_address,
            note=world.shed.append,
        )
        world.gateway_server = server
        world.leaving = AsyncExitStack()
        port = public_port(server, "127.0.0.1", 0, drain_s=chosen.drain_s, tls=tls)
        world.port = await world.leaving.enter_async_context(port)
        stack.push_async_callback(world.leaving.aclose)
        yield world


@pytest.fixture
async def world(capfd, request):
    """A world whose wires and logs are searched for secrets when the test is over."""
    limits = request.node.get_closest_marker("limits")
    async with running(**(limits.kwargs if limits else {})) as built:
        yield built
    for recorder in (built.openai, built.claude):
        assert KEY.encode() not in recorder.received
        assert MASTER_KEY.encode() not in recorder.received
    assert UPSTREAM_SECRET.encode() not in built.seen_by_clients
    logs = "".join(capfd.readouterr())
    for secret in (KEY, OTHER_KEY, MASTER_KEY, UPSTREAM_SECRET, Secret(KEY).digest().hex()):
        assert secret not in logs


@pytest.fixture
async def client(world):
    """An HTTP client that carries KEY and keeps what it was sent."""
    async with aiohttp.ClientSession(
        world.url, headers={"Authorization": f"Bearer {KEY}"}, auto_decompress=False
    ) as session:
        yield Client(world, session)


class Answer:
    """A response, read whole."""

    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json()["error"]


class Client:
    """Requests as an SDK would send them."""

    def __init__(self, world, session):
        self._world = world
        self._session = session

    async def send(self, method, path, **kwargs):
        async with self._session.request(method, path, **kwargs) as response:
            body = await response.read()
        self._world.seen_by_clients += repr(response.raw_headers).encode() + body
        return Answer(response, body)

    async def chat(self, model="gpt-4", path="/v1/chat/completions", headers=None, **members):
        return await self.send("POST", path, json={"model": model, **members}, headers=headers)


def raw_request(
    body=b'{"model":"gpt-4"}', *, target="/v1/chat/completions", method="POST", headers=(), key=KEY
):
    """A well-formed request as bytes, which asks for the connection to end; headers are added."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: gateway",
        "Connection: close",
        "Content-Type: application/json",
        f"Authorization: Bearer {key}",
        *headers,
    ]
    if not any(
        line.lower().startswith(("content-length", "transfer-encoding")) for line in headers
    ):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
