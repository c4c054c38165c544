"""The whole product as separate processes, each of which can be hurt, with a link between each two.

Two keys, three policies, two gateways, nats-server, the database and a provider. Gateway N sends
management to keys N, so both take writes.
"""

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp

from tests import parts
from tests.chaos.links import Link

MASTER_KEY = "sk-master-of-the-chaos-tests"
CONFIG = """\
model_list:
  - model_name: gpt-4
    litellm_params:
      model: openai/up-0
      api_base: os.environ/GRANTGATE_DEMO_UPSTREAM
      api_key: k0
  - model_name: gpt-4o
    litellm_params:
      model: openai/up-0
      api_base: os.environ/GRANTGATE_DEMO_UPSTREAM
      api_key: k0
"""
KEYS = ("keys0", "keys1")
POLICIES = ("policy0", "policy1", "policy2")
GATEWAYS = ("gateway0", "gateway1")
LEASE_S = 2.0
MARGIN_S = 0.3
_ANSWER_WITHIN_S = 12.0


class Answer(NamedTuple):
    """What came back; a status of None: nothing did."""

    status: int | None
    body: object
    revision: int | None


class Cluster:
    """Servers by name, links by `<part>-<target>`, and the urls of the gateways."""

    def __init__(self, folder, *, barrier=True, settings=None, gateway_port=None):
        self.folder = folder
        self.settings = settings or {}
        self.barrier = barrier
        self.session = None
        config = folder / "config.yaml"
        config.write_text(CONFIG)
        self.ports = {
            name: parts.free_port()
            for name in (*KEYS, *POLICIES, *GATEWAYS, "gateway0-in", "gateway1-in", "demo")
        }
        self.keys_port = None
        if gateway_port is not None:
            # Both gateways on one port, and both before one address for keys.
            self.ports.update(dict.fromkeys(GATEWAYS, gateway_port))
            self.keys_port = parts.free_port()
        self.servers = {
            "nats": parts.nats_server(folder),
            "mongo": parts.mongo_server(folder),
            "demo": self._demo(),
        }
        self.links = {}
        for name in (*KEYS, *POLICIES, *GATEWAYS):
            self.servers[name] = self._service(name)
        self.urls = {name: f"http://127.0.0.1:{self.ports[name]}" for name in GATEWAYS}
        self.url = self.urls["gateway0"]

    def _demo(self):
        port = str(self.ports["demo"])
        env = {"GRANTGATE_DEMO_PORT": port, "GRANTGATE_DEMO_PAUSE_S": "0.25"}
        command = [sys.executable, "-m", "services.dev.demo_upstream"]
        return parts.Server(command, int(port), env, self.folder / "demo.log")

    def link(self, name, target):
        """The port at which `target` (a port) is reached by this link."""
        self.links[name] = Link(name, parts.free_port(), target)
        return self.links[name].port

    def _service(self, name):
        module, number = name[:-1], name[-1]
        nats = self.link(f"{name}-nats", self.servers["nats"].port)
        env = {
            "GRANTGATE_CONFIG": str(self.folder / "config.yaml"),
            "GRANTGATE_MASTER_KEY": MASTER_KEY,
            "GRANTGATE_NATS_URL": f"nats://127.0.0.1:{nats}",
            "GRANTGATE_NATS_PASSWORD": parts.PASSWORDS[f"GRANTGATE_NATS_{module.upper()}_PASSWORD"],
            "GRANTGATE_DEMO_UPSTREAM": f"http://127.0.0.1:{self.ports['demo']}/v1",
            "GRANTGATE_LEASE_S": str(LEASE_S),
            "GRANTGATE_MARGIN_S": str(MARGIN_S),
            "GRANTGATE_DRAIN_S": "1",
            "GRANTGATE_LOG_LEVEL": "info" if module != "gateway" else "warning",
            f"GRANTGATE_{module.upper()}_PORT": str(self.ports[name]),
        }
        if module == "keys":
            mongo = self.link(f"{name}-mongo", self.servers["mongo"].port)
            env["GRANTGATE_MONGO_URL"] = f"mongodb://127.0.0.1:{mongo}/?directConnection=true"
            env["GRANTGATE_TEST_NO_BARRIER"] = "" if self.barrier else "1"
        if module == "gateway":
            keys = self.link(f"{name}-keys", self.keys_port or self.ports[f"keys{number}"])
            env["GRANTGATE_KEYS_URL"] = f"http://127.0.0.1:{keys}"
            demo = self.link(f"{name}-demo", self.ports["demo"])
            env["GRANTGATE_DEMO_UPSTREAM"] = f"http://127.0.0.1:{demo}/v1"
            env["GRANTGATE_GATEWAY_INTERNAL_PORT"] = str(self.ports[f"{name}-in"])
        command = [sys.executable, "-m", "tests.chaos.service", module]
        log = self.folder / f"{name}.log"
        return parts.Server(command, self.ports[name], {**env, **self.settings}, log)

    def internal(self, name):
        """The base url of a service's health and metrics."""
        port = self.ports.get(f"{name}-in", self.ports[name])
        return f"http://127.0.0.1:{port}"

    async def ready(self):
        """Whether every part says that it is ready."""
        for name in (*KEYS, *POLICIES, *GATEWAYS):
            if await self.get(self.internal(name) + "/readyz") != 200:
                return False
        return True

    async def get(self, url):
        """The status of a GET, None when it failed."""
        try:
            async with self.session.get(url, timeout=aiohttp.ClientTimeout(total=1)) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def call(self, path, body, key=MASTER_KEY, gateway="gateway0", method="POST"):
        """The answer to one call."""
        url = self.urls[gateway] + path
        sent = {"params": body} if method == "GET" else {"json": body}
        try:
            async with self.session.request(method, url, headers=bearer(key), **sent) as answer:
                revision = answer.headers.get("x-grantgate-revision")
                body = await answer.json(content_type=None)
                return Answer(answer.status, body, int(revision) if revision else None)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return Answer(None, None, None)

    async def chat(self, key, gateway="gateway0", model="gpt-4"):
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        return await self.call("/v1/chat/completions", body, key, gateway)


@asynccontextmanager
async def cluster(folder, **options):
    """All servers up and ready; all stopped in the end, in reverse order."""
    made = Cluster(folder, **options)
    async with AsyncExitStack() as stack:
        for link in made.links.values():
            await stack.enter_async_context(link.running())
        for server in made.servers.values():
            await stack.enter_async_context(server.running())
        made.session = await stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S),
                connector=aiohttp.TCPConnector(limit=0),
            )
        )
        await parts.until(made.ready, "the cluster", 60)
        yield made


def bearer(key):
    return {"Authorization": f"Bearer {key}"}
