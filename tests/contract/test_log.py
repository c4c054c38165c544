"""The change log on a real MongoDB: what the commit promises, whoever writes and whatever dies."""

import asyncio
import itertools
import os
import sys
import time

import msgspec
import pytest
import structlog
from pymongo import MongoClient

from services.keys import recent
from services.keys import store as store_module
from services.keys.errors import TooLarge, Unavailable
from services.keys.journal import Journal
from services.keys.log import MAX_REST_BYTES, CorruptLog, Origin, make_entry, read_entry
from services.keys.management import Plan
from services.keys.projector import Projector
from services.keys.records import KeyDetails, KeyRecord
from services.keys.store import Taken, open_store
from shared.changes import GENESIS, KeyGrant, Tombstone
from tests import parts

KILL_ROUNDS = int(os.environ.get("GRANTGATE_TEST_KILL_ROUNDS", "3"))
KILL_AFTER = int(os.environ.get("GRANTGATE_TEST_KILL_AFTER", "50"))
"""Acknowledged writes of each round, at least, before the database is killed."""

_ids = itertools.count()


def record(number, user_id=None, **details):
    return KeyRecord(
        grant=KeyGrant(id=number.to_bytes(32, "big"), models=("gpt-4",), user_id=user_id),
        details=KeyDetails(
            key_name="sk-...abcd",
            created_at=1.0,
            updated_at=1.0,
            created_by="master_key",
            updated_by="master_key",
            **details,
        ),
    )


def origin(op_id="op"):
    return Origin(op_id=op_id, at=1.0, actor="a", request_id="r", reason="key/generate")


def writing(*writes):
    return lambda _: Plan(writes=writes, answer={}, reason="key/generate")


@pytest.fixture(name="store")
async def _store(mongo_url):
    async with open_store(mongo_url, f"test{next(_ids)}_{time.time_ns()}") as store:
        await store.prepare()
        yield store


def journal_on(store):
    async def enforce(_):
        return "enforced"

    return Journal(store, clock=time.time, new_id=lambda: f"op{next(_ids)}", enforce=enforce)


def commit(journal, *writes):
    return journal.commit(writing(*writes), actor="a", request_id="r")


async def test_what_is_appended_is_read_back_in_order_byte_for_byte(store):
    chain, entries = GENESIS, []
    for rev in range(1, 8):
        entry = make_entry(rev, chain, [record(rev)], origin(f"op{rev}"))
        await store.append(entry, {})
        entries.append(entry)
        chain = entry.chain

    assert await store.after(0) == entries
    assert await store.after(3, 2) == entries[3:5]
    assert await store.after(7) == []


async def test_large_entries_are_read_in_smaller_pages_and_none_is_left_out(store, monkeypatch):
    """A page is bounded in bytes; a journal that begins late reads on until the head."""
    monkeypatch.setattr(store_module, "_PAGE_BYTES", 1)
    monkeypatch.setattr(recent, "BYTES", 1)
    one, late = journal_on(store), journal_on(store)
    for number in range(5):
        await commit(one, record(number))

    assert [entry.rev for entry in await store.after(0)] == [1, 2]
    assert [entry.rev for entry in await store.after(4)] == [5]
    assert dict((await late.current()).keys) == dict(one.state.keys)
    assert [entry.rev for entry in await late.entries_after(4, 9)] == [5]
    assert [entry.rev for entry in await late.entries_after(1, 9)] == [2, 3]


async def test_a_revision_is_taken_once(store):
    await store.append(make_entry(1, GENESIS, [record(1)], origin("one")), {})

    with pytest.raises(Taken):
        await store.append(make_entry(1, GENESIS, [record(2)], origin("two")), {})


async def test_of_all_who_begin_a_stream_one_is_the_first_ever(store):
    claimed = await asyncio.gather(*(store.claim_first() for _ in range(5)))
    assert sorted(claimed) == [False] * 4 + [True]
    assert not await store.claim_first()


async def test_the_same_operation_stored_twice_is_one_change(store):
    entry = make_entry(1, GENESIS, [record(1)], origin())
    await store.append(entry, {})

    await store.append(entry, {})

    assert await store.after(0) == [entry]


async def test_two_replicas_that_write_at_once_make_one_gapless_log(store):
    one, other = journal_on(store), journal_on(store)

    await asyncio.gather(
        *(commit(journal, record(n)) for n, journal in enumerate([one, other] * 40))
    )

    entries = await store.after(0)
    assert [entry.rev for entry in entries] == list(range(1, 81))
    chain = GENESIS
    for entry in entries:
        read_entry(entry, chain)
        chain = entry.chain
    for journal in (one, other):
        await journal.current()
        assert (journal.state.rev, journal.state.chain) == (80, chain)
        assert len(journal.state.keys) == 80


async def test_a_plan_sees_what_another_replica_has_just_committed(store):
    one, other = journal_on(store), journal_on(store)
    await commit(one, record(1, key_alias="taken"))
    seen = []

    def plan(state):
        seen.append(state.key_by_alias("taken"))
        return Plan(writes=(), answer={}, reason="")

    await other.commit(plan, actor="a", request_id="r")

    assert seen[-1] is not None


async def test_a_plan_without_writes_commits_nothing(store):
    journal = journal_on(store)
    committed = await commit(journal)
    assert committed.revision == 0
    assert await store.after(0) == []


async def test_what_mongodb_would_not_take_is_refused_before_the_commit(store):
    journal = journal_on(store)
    large = record(1, metadata={"a": "x" * 17 * 1024 * 1024})

    with pytest.raises(TooLarge):
        await commit(journal, large)
    assert await store.after(0) == []

    largest = record(1, metadata={"a": "x" * (MAX_REST_BYTES - 1024)})
    assert (await commit(journal, largest)).revision == 1


async def test_a_restarted_replica_has_the_state_it_had(store):
    journal = journal_on(store)
    await commit(journal, record(1), record(2, key_alias="b", metadata={"a.b": {"$c": [1, None]}}))
    await commit(journal, Tombstone(of="key", id=record(1).grant.id))

    again = journal_on(store)
    await again.current()

    assert dict(again.state.keys) == dict(journal.state.keys)
    assert again.state.chain == journal.state.chain


async def test_a_log_that_lost_its_head_refuses_writes_and_still_reads(mongo_url, store):
    journal = journal_on(store)
    for number in range(3):
        await commit(journal, record(number))

    def lose_the_head():
        with MongoClient(mongo_url) as client:
            client[store.database_name]["changes"].delete_one({"rev": 3})

    await asyncio.to_thread(lose_the_head)

    with pytest.raises(Unavailable, match="no longer holds revision 3"):
        await commit(journal, record(9))
    assert len((await journal.current()).keys) == 3


@pytest.mark.parametrize("field", ["decision", "rest", "chain"])
def test_an_entry_that_was_tampered_with_is_not_folded(field):
    entry = make_entry(1, GENESIS, [record(1)], origin("one"))
    other = make_entry(1, GENESIS, [record(2)], origin("two"))

    with pytest.raises(CorruptLog):
        read_entry(msgspec.structs.replace(entry, **{field: getattr(other, field)}), GENESIS)
    with pytest.raises(CorruptLog):
        read_entry(entry, other.chain)


async def test_projections_follow_and_an_older_state_never_overwrites_a_newer(mongo_url, store):
    journal = journal_on(store)
    running = asyncio.create_task(Projector(journal, store).run())
    try:
        await commit(journal, record(1), record(2))
        await commit(journal, record(1, user_id="u"), Tombstone(of="key", id=record(2).grant.id))

        async def is_projected():
            return await store.projected() == 2

        await parts.until(is_projected, "the projection")
        await store.project(1, [record(1), record(2)])

        def look():
            with MongoClient(mongo_url) as client:
                keys = client[store.database_name]["keys"]
                return {document["_id"][-1]: document for document in keys.find()}

        found = await asyncio.to_thread(look)
        assert found["1"]["doc"]["user_id"] == "u"
        assert found["1"]["rev"] == 2
        assert found["2"]["deleted"] is True
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_beyond_a_gap_nothing_is_projected_and_the_projector_lives_on(store):
    journal = journal_on(store)
    for number in range(10):
        await commit(journal, record(number))
    await store.project(10, [record(number) for number in range(10)])
    beyond = make_entry(13, bytes(32), [record(13)], origin("beyond"))
    await store.append(beyond, {})
    reader = journal_on(store)
    running = asyncio.create_task(Projector(reader, store).run())
    try:
        await reader.current()
        ended, _ = await asyncio.wait({running}, timeout=0.5)

        assert "gap" in reader.refusal
        assert not ended
        assert await store.projected() == 10
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_entry_that_was_changed_since_it_was_read_is_told_once_and_not_projected(
    mongo_url, store
):
    journal = journal_on(store)
    for number in range(3):
        await commit(journal, record(number))
    journal._recent = recent.RecentEntries()

    def change():
        with MongoClient(mongo_url) as client:
            changes = client[store.database_name]["changes"]
            changes.update_one({"rev": 2}, {"$set": {"rest": b"another"}})

    await asyncio.to_thread(change)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(Projector(journal, store).run())
        try:
            await parts.until(lambda: logs or running.done(), "the news")
            await commit(journal, record(9))
            ended, _ = await asyncio.wait({running}, timeout=0.5)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    assert not ended
    assert [line["event"] for line in logs] == ["projection_stopped"]
    assert await store.projected() == 0


async def test_without_a_database_a_call_says_so_in_time():
    async with open_store(f"mongodb://127.0.0.1:{parts.free_port()}/", "none") as store:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await journal_on(store).current()
        assert time.monotonic() - began < 5


@pytest.mark.timeout(60 + KILL_ROUNDS * (10 + KILL_AFTER / 10))
async def test_kill_9_of_the_database_loses_no_acknowledged_change(tmp_path, record_property):
    server = parts.mongo_server(tmp_path)
    url = f"mongodb://127.0.0.1:{server.port}/?directConnection=true"
    acknowledged = set()
    numbers = itertools.count()
    async with server.running():
        for _ in range(KILL_ROUNDS):
            async with open_store(url, "killed") as store:
                await store.prepare()
                journal = journal_on(store)

                async def write(journal=journal):
                    while True:
                        number = next(numbers)
                        await commit(journal, record(number))
                        acknowledged.add(number)

                writing_now = asyncio.ensure_future(write())
                before = len(acknowledged)
                enough = before + KILL_AFTER
                await parts.until(lambda n=enough: len(acknowledged) >= n, "writes", 60)
                await server.kill()
                with pytest.raises(Unavailable):
                    await writing_now
            await server.start()
        async with open_store(url, "killed") as store:
            state = await journal_on(store).current()
            kept = {int.from_bytes(digest, "big") for digest in state.keys}
            figures = (
                f"{KILL_ROUNDS} kills of the database under {len(acknowledged)} acknowledged "
                f"writes: {len(acknowledged - kept)} lost"
            )
            record_property("figures", figures)
            sys.stderr.write(figures + "\n")
            assert acknowledged <= kept
            entries = await store.after(0, state.rev + 1)
            assert [entry.rev for entry in entries] == list(range(1, state.rev + 1))
