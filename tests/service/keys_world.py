"""The management API in memory, with teams, users of every role and a key for each of them."""

import asyncio
import itertools
import secrets
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.keys.api import ManagementApi
from services.keys.state import State
from shared.catalogue import Deployment
from shared.credentials import Secret
from tests.service.memory_journal import MemoryJournal
from tests.unit.management_world import VAULT

MASTER = "sk-1234567890-master"
NOW = 1_767_225_600.0

KEYS = {
    "admin": "sk-key-of-an-admin-user",
    "viewer": "sk-key-of-a-viewer-user",
    "lead": "sk-key-of-a-team-admin",
    "user": "sk-key-of-an-internal-user",
    "user_viewer": "sk-key-of-a-user-viewer",
    "key": "sk-key-of-nobody-at-all",
}
"""The calling key of each column of the table of roles."""

OWN = {who: f"sk-second-key-of-{who}-own" for who in KEYS}
CAROLS, CAROLS_IN_TEAM, IN_TEAM_2 = (
    "sk-key-of-carol-alone",
    "sk-key-of-carol-team",
    "sk-key-in-team-number-2",
)


class KeysWorld:
    """The API over a journal that can be put back to where it began."""

    def __init__(self, client, journal):
        self.client = client
        self.journal = journal
        self.records = []
        self.given_up = 0
        """How many callers were gone before their answer."""

    async def call(self, method, path, body=None, *, key=MASTER, headers=None):
        headers = {"Authorization": f"Bearer {key}", **(headers or {})}
        return await self.client.request(method, path, json=body, headers=headers)

    async def made(self, path, body, *, key=MASTER, method="POST", status=200):
        answer = await self.call(method, path, body, key=key)
        assert answer.status == status, (path, await answer.text())
        return await answer.json() if status != 204 else None

    def begin_again(self):
        """Forget everything since `settle`."""
        self.journal.state = State()
        self.journal.state.fold(1, self.records)
        self.journal.committed.clear()

    def settle(self):
        self.records = list(self.journal.state.records())


@asynccontextmanager
async def keys_world(clock=lambda: NOW):
    journal = MemoryJournal()
    ids = (f"id-{n}" for n in itertools.count(1))
    api = ManagementApi(
        journal,
        Secret(MASTER),
        clock=clock,
        choose=secrets.choice,
        new_id=lambda: next(ids),
        vault=VAULT,
    )

    @web.middleware
    async def count(request, handler):
        try:
            return await handler(request)
        except asyncio.CancelledError:
            world.given_up += 1
            raise

    app = web.Application(middlewares=[count, api.middleware])
    app.add_routes(api.routes())
    journal.state.fold(
        1,
        [
            Deployment(id="d1", name="gpt-4", access_groups=("beta",)),
            Deployment(id="d2", name="gpt-4o", access_groups=("beta", "other"), position=1),
            Deployment(id="d3", name="openai/*", access_groups=("default",), position=2),
            Deployment(id="d4", name="openai/o1-*", access_groups=("restricted",), position=3),
        ],
    )
    async with TestClient(TestServer(app)) as client:
        world = KeysWorld(client, journal)
        yield world


async def populate(world):
    """Two teams, a user of each role, keys for all of them, groups and a stored model."""
    roles = {
        "admin": "proxy_admin",
        "viewer": "proxy_admin_viewer",
        "lead": "internal_user",
        "user": "internal_user",
        "user_viewer": "internal_user_viewer",
        "carol": "internal_user",
    }
    for who, role in roles.items():
        body = {"user_id": who, "user_role": role, "auto_create_key": False}
        await world.made("/user/new", body)
    members = [
        {"role": "admin", "user_id": "lead"},
        {"role": "user", "user_id": "user"},
        {"role": "user", "user_id": "carol"},
    ]
    await world.made("/team/new", {"team_id": "t", "members_with_roles": members})
    await world.made("/team/new", {"team_id": "t2"})
    for who, secret in KEYS.items():
        user = {} if who == "key" else {"user_id": who}
        await world.made("/key/generate", {"key": secret, **user})
        await world.made("/key/generate", {"key": OWN[who], **user})
    await world.made("/key/generate", {"key": CAROLS, "user_id": "carol"})
    await world.made("/key/generate", {"key": CAROLS_IN_TEAM, "user_id": "carol", "team_id": "t"})
    await world.made("/key/generate", {"key": IN_TEAM_2, "team_id": "t2"})
    await world.made("/access_group/new", {"access_group": "made", "model_names": ["gpt-4"]})
    body = {"access_group_name": "unified"}
    world.unified = (await world.made("/v1/access_group", body, status=201))["access_group_id"]
    params = {"model": "openai/x", "api_key": "sk-upstream-secret", "api_base": "http://up/v1"}
    body = {"model_name": "stored", "litellm_params": params, "model_info": {"id": "stored-1"}}
    await world.made("/model/new", body)
    world.settle()
