"""`grantgate import litellm` as an operator runs it, on a real MongoDB."""

import asyncio
import json
import os
import time

import pytest
from aiohttp import web

from services.keys import import_command
from services.keys.journal import Journal
from services.keys.store import open_store
from shared.credentials import Secret
from shared.http import guarded, listen
from shared.settings import Settings
from tests import parts
from tests.unit.test_litellm_rows import GROUP, KEY, MODEL, SECRET, TEAM, USER

MASTER = "sk-master-of-the-import"
UPSTREAM = {"model": "openai/gpt-4", "api_key": "sk-of-the-upstream"}
ROWS = [
    {**KEY, "team_id": "t", "key_alias": "moved", "max_budget": 1.0},
    {**TEAM, "models": ["gpt-4"]},
    USER,
    GROUP,
    {**MODEL, "litellm_params": UPSTREAM},
    {**KEY, "token": "0" * 64, "team_id": "litellm-dashboard"},
]


async def enforced(_rev):
    return "enforced"


class Import:
    """The command, in this process or as an operator runs it."""

    def __init__(self, folder, url, store):
        self.folder, self.store = folder, store
        self.settings = Settings(
            mongo_url=url,
            mongo_database=store.database_name,
            keys_url=f"http://127.0.0.1:{parts.free_port()}",
        )
        self.printed = []

    def file_of(self, rows):
        file = self.folder / "rows.jsonl"
        file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
        return file

    async def __call__(self, rows, **options):
        asked = import_command.Options(file=self.file_of(rows), **options)
        ctx = import_command.context(self.settings, Secret(MASTER))
        lines = []
        status = await import_command.run(self.settings, asked, ctx, None, lines.append)
        self.printed += lines
        return status, "\n".join(lines)

    async def by_command_line(self, rows, *options):
        config = self.folder / "config.yaml"
        config.write_text("model_list: []\n")
        process = await asyncio.create_subprocess_exec(
            *(str(parts.BIN / "grantgate"), "import", "litellm", str(self.file_of(rows))),
            *("--config", str(config), *options),
            env={
                "PATH": os.environ["PATH"],
                "GRANTGATE_MASTER_KEY": MASTER,
                "GRANTGATE_MONGO_URL": self.settings.mongo_url,
                "GRANTGATE_MONGO_DATABASE": self.settings.mongo_database,
                "GRANTGATE_KEYS_URL": self.settings.keys_url,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed = (await process.communicate())[0].decode()
        self.printed.append(printed)
        return process.returncode, printed


@pytest.fixture(name="importing")
async def _importing(tmp_path, mongo_url):
    async with open_store(mongo_url, f"import_{time.time_ns()}") as store:
        yield Import(tmp_path, mongo_url, store)


async def test_rows_are_taken_over_once_and_a_replica_that_runs_follows(importing):
    running = Journal(importing.store, clock=time.time, new_id=str, enforce=enforced)
    await importing.store.prepare()
    assert (await running.current()).rev == 0

    status, told = await importing(ROWS, dry_run=True)
    assert (status, "would be added     1 keys" in told) == (0, True), told
    assert "budgets and rate limits are stored and not enforced. key moved" in told
    assert (await running.current()).rev == 0

    status, told = await importing.by_command_line(ROWS)
    assert (status, "5 records in 1 changes" in told) == (0, True), told
    state = await running.current()
    moved = state.keys[Secret(SECRET).digest()]
    assert (moved.grant.team_id, moved.details.key_alias) == ("t", "moved")
    assert len(state.keys) == 1
    assert [d.id for d in state.catalogue.serving("gpt-4")] == ["m"]
    assert (list(state.teams), list(state.users), list(state.groups)) == (["t"], ["u"], ["g"])

    status, told = await importing(ROWS)
    assert (status, "same      1 keys" in told) == (0, True), told
    assert (await running.current()).rev == 1

    changed = [{**ROWS[0], "models": []}]
    status, told = await importing(changed)
    assert (status, "kept as they are here" in told) == (0, True), told
    assert (await running.current()).rev == 1
    status, told = await importing(changed, replace=True)
    assert (status, (await running.current()).rev) == (0, 2), told
    assert state.keys[moved.grant.id].grant.models == ()
    for secret in (SECRET, UPSTREAM["api_key"], MASTER):
        assert secret not in "".join(importing.printed)


async def test_while_keys_does_not_say_whether_it_takes_writes_nothing_is_taken_over(importing):
    app = web.Application()
    app.add_routes([web.get("/health/propagation", guarded(web.Response, Secret("another")))])
    async with listen(app, "127.0.0.1", int(importing.settings.keys_url.rpartition(":")[2])):
        status, told = await importing.by_command_line(ROWS)
    assert (status, "use its internal_token" in told) == (2, True), told
    assert await importing.store.after(0) == []


async def test_a_row_at_fault_is_named_and_nothing_is_written(importing):
    rows = [*ROWS, {**KEY, "token": "f" * 64, "expires": "soon"}, {**TEAM, "team_id": "t"}]
    status, told = await importing(rows)
    assert status == 1
    assert "row 7: expires: is no ISO 8601 time" in told
    assert "row 8: the id: is that of row 2" in told
    assert "Nothing was written" in told
    assert await importing.store.after(0) == []
