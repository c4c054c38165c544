"""`grantgate doctor` on a real database and bus: what it finds, and that its cures hold."""

import asyncio
import itertools
import json
import os
import socket
import subprocess
import time
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from pymongo import MongoClient

from services.keys import doctor_command
from services.keys.doctor_command import Options
from services.keys.store import open_store
from shared import subjects
from shared.changes import Tombstone
from shared.credentials import Secret
from shared.decisions import Allow, Deny
from shared.http import guarded, listen
from shared.settings import Settings
from shared.streams import ChangeStream
from tests import parts
from tests.parts import PASSWORDS, until
from tests.service.delivery_world import World, journal_on, question, record, write

TOKEN = Secret("internal-token-of-the-doctor")
_ids = itertools.count()


class Site(World):
    """keys' log in MongoDB, its publisher, and the doctor beside them."""

    def __init__(self, server, stack, mongo_url, folder):
        super().__init__(server, stack)
        self.mongo_url = mongo_url
        self.folder = folder
        self.database = f"doctored{next(_ids)}"
        self.keys_url = f"http://127.0.0.1:{parts.free_port()}"

    async def keys(self):
        """A keys side on the log as it is now, as after a restart."""
        store = await self.stack.enter_async_context(open_store(self.mongo_url, self.database))
        await store.prepare()
        journal = await journal_on(store)
        publisher, barrier = await self.publisher(journal)

        async def commit(*writes):
            revision = await write(journal, *writes)
            assert await barrier.enforced(revision) == "enforced"
            return revision

        journal.commit_everywhere = commit
        return journal, publisher

    async def doctor(self, **options):
        """The command's exit status and what it said."""
        settings = Settings(
            mongo_url=self.mongo_url,
            mongo_database=self.database,
            nats_url=f"nats://127.0.0.1:{self.server.port}",
            nats_password=Secret(PASSWORDS["GRANTGATE_NATS_KEYS_PASSWORD"]),
            keys_url=self.keys_url,
            internal_token=TOKEN,
        )
        said = []
        status = await doctor_command.run(settings, Options(**options), said.append)
        return status, "\n".join(said)

    async def findings(self):
        status, said = await self.doctor(as_json=True)
        report = json.loads(said)
        return status, {finding["kind"] for finding in report["findings"]}

    async def by_hand(self, change):
        """Change the log's collection by hand."""

        def do():
            with MongoClient(self.mongo_url) as client:
                return change(client[self.database]["changes"])

        return await asyncio.to_thread(do)

    async def restore_to(self, rev):
        """The log as it was at a revision, as from an older copy."""
        await self.by_hand(lambda changes: changes.delete_many({"rev": {"$gt": rev}}).deleted_count)


@pytest.fixture(name="mongo", scope="module")
def _mongo(tmp_path_factory):
    """One database server for all of these; each has a database of its own."""
    given = os.environ.get("GRANTGATE_TEST_MONGO_URL")
    if given:
        yield given
        return
    server = parts.mongo_server(tmp_path_factory.mktemp("mongo"))
    with subprocess.Popen(server.command) as process:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                    break
            assert time.monotonic() < deadline, "the database does not start"
            time.sleep(0.05)
        yield f"mongodb://127.0.0.1:{server.port}/?directConnection=true"
        process.kill()


@pytest.fixture
async def site(nats_server, mongo, tmp_path):
    async with AsyncExitStack() as stack:
        yield Site(nats_server, stack, mongo, tmp_path)


async def test_a_sound_system_is_found_sound_and_nothing_is_changed(site):
    journal, _ = await site.keys()
    await journal.commit_everywhere(record(1))

    status, said = await site.doctor()
    assert status == 0
    assert "All is well" in said
    assert await site.findings() == (0, set())
    status, said = await site.doctor(choice="adopt-log")
    assert status == 2
    assert "nothing to choose" in said
    assert (await journal.current()).rev == 1


async def test_a_restored_backup_is_found_with_the_revocations_it_lost(site):
    journal, publisher = await site.keys()
    for number in (1, 2):
        await journal.commit_everywhere(record(number))
    await journal.commit_everywhere(record(1, blocked=True))
    publisher.stop()
    await site.restore_to(2)

    status, said = await site.doctor()

    assert status == 1
    assert "log_behind" in said
    assert "BLOCKED" in said
    journal, publisher = await site.keys()
    await until(lambda: journal.refusal, "the refusal")
    assert "restored from an older copy" in journal.refusal


async def test_the_adopted_log_is_everybodys_and_no_replica_goes_back(site):
    journal, publisher = await site.keys()
    feed = await site.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    for number in (1, 2):
        await journal.commit_everywhere(record(number))
    seen = await journal.commit_everywhere(record(3))
    publisher.stop()
    await site.restore_to(2)
    other = feed.table

    status, said = await site.doctor(choice="adopt-log")
    assert status == 0, said
    journal, publisher = await site.keys()

    await until(lambda: feed.table is not other and feed.responder.is_open, "the new history")
    assert feed.table.rev == journal.state.rev > seen
    assert feed.table.key(record(3).grant.id) is None
    assert (await journal.commit_everywhere(record(4))) == journal.state.rev
    assert feed.table.key(record(4).grant.id) is not None
    assert await site.findings() == (0, set())


async def test_what_the_stream_still_has_is_restored_decisions_and_all(site):
    journal, publisher = await site.keys()
    feed = await site.policy()
    gateway = await site.gateway()
    await until(lambda: feed.responder.is_open, "the lease")
    for number in (1, 2):
        await journal.commit_everywhere(record(number))
    await journal.commit_everywhere(record(1, blocked=True))
    await journal.commit_everywhere(record(3))
    await journal.commit_everywhere(Tombstone(of="key", id=record(2).grant.id))
    publisher.stop()
    await site.restore_to(2)

    status, said = await site.doctor(choice="restore-from-stream")
    assert status == 0, said
    journal, _ = await site.keys()

    await until(lambda: feed.table.rev == journal.state.rev, "the new history")
    await until(lambda: feed.responder.is_open, "the lease")
    answers = [await gateway.ask(question(number)) for number in (1, 2, 3)]
    assert [type(answer) for answer in answers] == [Deny, Deny, Allow]
    assert set(journal.state.keys) == {record(1).grant.id, record(3).grant.id}
    assert await site.findings() == (0, set())


async def test_a_restored_key_manages_for_nobody_it_is_not_known_to_be_given_to(site):
    journal, publisher = await site.keys()
    await journal.commit_everywhere(record(1, user_id="ann"), record(2, user_id="ann"))
    await journal.commit_everywhere(record(3, user_id="ann"))
    for number, user in ((1, "ann"), (2, "admin"), (4, "ann")):
        await journal.commit_everywhere(record(number, user_id=user, blocked=True))
    publisher.stop()
    await site.restore_to(2)

    status, said = await site.doctor(choice="restore-from-stream")
    assert status == 0, said
    journal, _ = await site.keys()
    acting = {n: journal.state.keys[record(n).grant.id].details.acts_for_user for n in range(1, 5)}
    assert acting == {1: True, 2: False, 3: True, 4: False}


async def test_a_forked_log_is_found_and_only_adoption_is_offered(site):
    journal, publisher = await site.keys()
    for number in (1, 2, 3):
        await journal.commit_everywhere(record(number))
    publisher.stop()
    await site.restore_to(2)
    store = await site.stack.enter_async_context(open_store(site.mongo_url, site.database))
    await write(await journal_on(store), record(9))

    assert await site.findings() == (1, {"forked"})
    status, said = await site.doctor(choice="restore-from-stream")
    assert status == 2
    assert "cannot be joined" in said
    assert (await site.doctor(choice="adopt-log"))[0] == 0
    await site.keys()
    await until(lambda: is_sound(site), "the new epoch")


async def test_a_gap_is_found_and_what_stands_beyond_it_set_aside(site):
    journal, publisher = await site.keys()
    for number in range(1, 6):
        await journal.commit_everywhere(record(number))
    publisher.stop()
    await site.by_hand(lambda changes: changes.delete_one({"rev": 4}).deleted_count)

    status, kinds = await site.findings()
    assert status == 1
    assert "log_gap" in kinds
    journal, publisher = await site.keys()
    await until(lambda: journal.refusal, "the refusal")
    publisher.stop()
    status, said = await site.doctor(choice="adopt-log")

    assert status == 0, said
    assert "1 entries" in said
    journal, _ = await site.keys()
    assert len(journal.state.keys) == 3
    await until(lambda: is_sound(site), "the new epoch")


async def test_a_repair_that_was_cut_off_can_be_done_again(site):
    journal, publisher = await site.keys()
    for number in (1, 2, 3):
        await journal.commit_everywhere(record(number))
    publisher.stop()
    await site.restore_to(2)
    assert (await site.doctor(choice="restore-from-stream"))[0] == 0
    newest = await site.by_hand(lambda changes: changes.find_one(sort=[("rev", -1)])["rev"])
    await site.by_hand(lambda changes: changes.delete_one({"rev": newest}).deleted_count)

    status, said = await site.doctor(choice="restore-from-stream")

    assert status == 0, said
    journal, _ = await site.keys()
    assert len(journal.state.keys) == 3
    await until(lambda: is_sound(site), "the new epoch")


async def test_a_regressed_stream_is_found(site):
    journal, publisher = await site.keys()
    feed = await site.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    for number in (1, 2):
        await journal.commit_everywhere(record(number))

    async def is_recorded():
        return "at 2" in (await site.doctor())[1]

    await until(is_recorded, "the replica's record")
    publisher.stop()
    keys = (await site.connect("keys")).jetstream()
    await keys.purge_stream("GRANTS", subject="grants.change.2")

    status, kinds = await site.findings()

    assert status == 1
    assert {"stream_regressed", "stream_behind"} <= kinds


async def test_what_cannot_be_read_on_the_stream_is_told_and_stops_nothing(site):
    journal, publisher = await site.keys()
    await journal.commit_everywhere(record(1))
    publisher.stop()
    stream = ChangeStream(await site.connect("keys"))
    for subject in (subjects.EPOCH, subjects.change(1)):
        await stream.put(subject, b"?")
    member = ChangeStream(await site.connect("policy"))
    await member.put(subjects.member("ghost"), b"?")

    status, said = await site.doctor()

    assert status == 1
    for what in ("epoch", "record of replica ghost", "last change"):
        assert f"the stream's {what} cannot be read" in said


async def test_while_keys_runs_nothing_is_repaired(site):
    async def propagation(_):
        return web.json_response({"refusing_writes": "for a reason"})

    app = web.Application()
    app.add_routes([web.get("/health/propagation", guarded(propagation, TOKEN))])
    port = parts.free_port()
    await site.stack.enter_async_context(listen(app, "127.0.0.1", port))
    site.keys_url = f"http://127.0.0.1:{port}"
    await site.keys()

    status, said = await site.doctor(choice="adopt-log")

    assert status == 2
    assert "stop every keys replica" in said
    assert "writes_refused: for a reason" in (await site.doctor())[1]


async def test_without_the_bus_the_log_is_still_examined(site):
    journal, publisher = await site.keys()
    await journal.commit_everywhere(record(1))
    publisher.stop()
    await site.server.terminate()

    status, said = await site.doctor()
    assert status == 1
    address = f"nats://127.0.0.1:{site.server.port}"
    assert f"FOUND   bus_unreachable: NATS at {address} does not answer" in said
    assert (await site.doctor(choice="adopt-log"))[0] == 2
    await site.server.start()


async def test_without_the_database_its_address_is_named_and_not_its_password(site):
    port = parts.free_port()
    site.mongo_url = f"mongodb://user:hush@127.0.0.1:{port}/?w=1"
    status, said = await site.doctor()
    assert status == 2
    assert f"MongoDB at 127.0.0.1:{port}, or" in said
    assert "hush" not in said
    for badly_escaped in ("hu@sh", "hu/sh", "hu?sh@"):
        url = f"mongodb+srv://user:{badly_escaped}@a,b:1/?w=1"
        assert doctor_command._hosts(url) == "a,b:1"


async def is_sound(site):
    return (await site.findings())[1] == set()


async def test_the_command_tells_by_its_exit_status(site):
    config = site.folder / "config.yaml"
    config.write_text("model_list: []\n")
    env = {
        **os.environ,
        "GRANTGATE_CONFIG": str(config),
        "GRANTGATE_MONGO_URL": site.mongo_url,
        "GRANTGATE_NATS_URL": f"nats://127.0.0.1:{site.server.port}",
        "GRANTGATE_NATS_PASSWORD": PASSWORDS["GRANTGATE_NATS_KEYS_PASSWORD"],
        "GRANTGATE_KEYS_URL": site.keys_url,
    }
    for arguments, status in (((), 1), (("--adopt-log",), 2), (("--adopt-log", "--nonsense"), 2)):
        command = await asyncio.create_subprocess_exec(
            *(str(parts.BIN / "grantgate"), "doctor", *arguments),
            env=env,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert await asyncio.wait_for(command.wait(), 60) == status
