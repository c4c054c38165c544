"""keys and policy replicas as real processes on real servers, for tests that kill them."""

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from nats.aio.client import Client

from services.dev.bundled import NATS_CONF
from shared.credentials import TOKEN_HEADER
from tests import parts
from tests.parts import until

MASTER_KEY = "sk-master-of-the-process-tests"
INTERNAL_TOKEN = "internal-token-of-the-process-tests"
SHOWN = {TOKEN_HEADER: INTERNAL_TOKEN}
WATCHER = "watcher-of-the-tests"
LEASE_S, MARGIN_S = 1.5, 0.3
MODEL = """\
  - model_name: {name}
    litellm_params: {{model: openai/up, api_base: 'http://127.0.0.1:1/v1', api_key: k}}
"""


def watched_conf(folder):
    """The product's configuration of NATS, with a user more for who watches the stream."""
    conf = folder / "nats.conf"
    users = f"users = [ {{user: {WATCHER}, password: {WATCHER}}}"
    conf.write_text(NATS_CONF.read_text().replace("users = [", users, 1))
    return conf


def config(*names):
    return "model_list:\n" + "".join(MODEL.format(name=name) for name in names)


class Site:
    """Two keys and two policies; `call` is a management call, `decide` asks one policy."""

    def __init__(self, folder, session):
        self.folder = folder
        self.session = session
        self.nats = parts.nats_server(folder, watched_conf(folder))
        self.mongo = parts.mongo_server(folder)
        self.keys = [self.service("keys", number) for number in range(2)]
        self.policies = [self.service("policy", number) for number in range(2)]

    def service(self, name, number, **env):
        """A process of its own; its configuration is a file of its own."""
        path = self.folder / f"{name}{number}.yaml"
        if not path.exists():
            path.write_text(config("gpt-4"))
        port = parts.free_port()
        env = {
            "GRANTGATE_CONFIG": str(path),
            "GRANTGATE_MASTER_KEY": MASTER_KEY,
            "GRANTGATE_INTERNAL_TOKEN": INTERNAL_TOKEN,
            "GRANTGATE_NATS_URL": f"nats://127.0.0.1:{self.nats.port}",
            "GRANTGATE_NATS_PASSWORD": parts.PASSWORDS[f"GRANTGATE_NATS_{name.upper()}_PASSWORD"],
            "GRANTGATE_MONGO_URL": f"mongodb://127.0.0.1:{self.mongo.port}/?directConnection=true",
            "GRANTGATE_LEASE_S": str(LEASE_S),
            "GRANTGATE_MARGIN_S": str(MARGIN_S),
            "GRANTGATE_DRAIN_S": "1",
            "GRANTGATE_DRAIN_DELAY_S": "0.01",
            f"GRANTGATE_{name.upper()}_PORT": str(port),
            **env,
        }
        command = [sys.executable, "-m", f"services.{name}"]
        return parts.Server(command, port, env, self.folder / f"{name}{number}.log")

    async def ready(self, *servers):
        async def all_ready():
            for server in servers or (*self.keys, *self.policies):
                if await self.get(server, "/readyz") is None:
                    return False
            return True

        await until(all_ready, "every process", 60)

    @asynccontextmanager
    async def watcher(self):
        """A connection to NATS that may do anything."""
        client = Client()
        await client.connect(f"nats://127.0.0.1:{self.nats.port}", user=WATCHER, password=WATCHER)
        try:
            yield client
        finally:
            await client.close()

    async def settled(self):
        async def is_settled():
            found = await self.propagation()
            return found["settled"] and sum(r["alive"] for r in found["replicas"]) == 2

        await until(is_settled, "the epoch to settle")

    async def propagation(self, number=0):
        return await self.get(self.keys[number], "/health/propagation") or {
            "settled": False,
            "replicas": [],
        }

    async def get(self, server, path):
        """The body of an answer 200, else None."""
        url = f"http://127.0.0.1:{server.port}{path}"
        try:
            async with self.session.get(url, headers=SHOWN) as answer:
                return await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def call(self, path, body, number=0):
        """Status, body and headers; a status of None: no answer came."""
        url = f"http://127.0.0.1:{self.keys[number].port}{path}"
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        try:
            async with self.session.post(url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(), answer.headers
        except (aiohttp.ClientError, TimeoutError):
            return None, None, {}

    async def decide(self, policy, key):
        """The decision for gpt-4; None when the replica cannot answer."""
        url = f"http://127.0.0.1:{policy.port}/v1/decide"
        asked = {"key": key, "model": "gpt-4"}
        try:
            async with self.session.post(url, json=asked, headers=SHOWN) as answer:
                return await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None


@asynccontextmanager
async def site(folder):
    """Everything up, ready and settled; everything stopped in the end."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        )
        made = Site(folder, session)
        for server in (made.nats, made.mongo, *made.keys, *made.policies):
            await stack.enter_async_context(server.running())
        await made.ready()
        await made.settled()
        yield made
        # At once: nobody is interested in how they would have ended.
        everything = (*made.policies, *made.keys, made.nats, made.mongo)
        await asyncio.gather(*(server.kill() for server in everything))
