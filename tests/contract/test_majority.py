"""What a replica set can still roll back is neither answered nor read: the log on a majority."""

import asyncio
import itertools

import pytest
import pytest_asyncio
from pymongo import MongoClient, ReadPreference

from services.keys.errors import Unavailable
from services.keys.log import make_entry
from services.keys.store import open_store
from shared.changes import GENESIS
from tests import parts
from tests.contract.replication import LaggingMongo
from tests.contract.test_log import commit, journal_on, origin, record

_ids = itertools.count()


@pytest_asyncio.fixture(name="server", scope="module", loop_scope="module")
async def _server(tmp_path_factory):
    server = parts.mongo_server(tmp_path_factory.mktemp("majority"))
    async with server.running():
        yield server


@pytest.fixture(name="mongo")
async def _mongo(server):
    async with LaggingMongo(server.port).running() as proxy:
        yield proxy


@pytest.fixture(name="store")
async def _store(mongo, monkeypatch):
    monkeypatch.setattr("services.keys.store._CONFIRM_S", 0.3)
    async with open_store(mongo.url, f"majority{next(_ids)}") as store:
        await store.prepare()
        yield store
        # Its farewell passes through the proxy, which is on this event loop.
        await asyncio.to_thread(store._database.client.close)


def roll_back(mongo, store):
    """Do what a new primary does with entries that a majority never held."""
    with MongoClient(mongo.url) as client:
        client[store.database_name]["changes"].delete_many({"rev": {"$in": list(mongo.held_back)}})
    mongo.replicate()


@pytest.mark.parametrize("cuts", [False, True])
async def test_an_entry_a_majority_does_not_hold_is_not_committed(mongo, store, cuts):
    mongo.lags, mongo.cuts_inserts = True, cuts

    with pytest.raises(Unavailable):
        await store.append(make_entry(1, GENESIS, [record(1)], origin()), {})

    assert mongo.held_back == {1}


@pytest.mark.parametrize("cuts", [False, True])
async def test_an_entry_that_reaches_a_majority_late_is_committed(mongo, store, cuts, monkeypatch):
    monkeypatch.setattr("services.keys.store._CONFIRM_S", 10)
    mongo.lags, mongo.cuts_inserts = True, cuts
    entry = make_entry(1, GENESIS, [record(1)], origin())
    appending = asyncio.create_task(store.append(entry, {}))
    await parts.until(lambda: mongo.held_back, "the insert")

    mongo.replicate()
    await appending

    assert await store.after(0) == [entry]


async def test_another_replica_sees_nothing_that_is_rolled_back_later(mongo, store):
    one, other = journal_on(store), journal_on(store)
    await commit(one, record(1))
    mongo.lags = True
    with pytest.raises(Unavailable):
        await commit(one, record(2))

    assert (await other.current()).rev == 1
    await asyncio.to_thread(roll_back, mongo, store)
    assert (await commit(other, record(3))).revision == 2
    assert (await one.current()).chain == other.state.chain
    assert (one.refusal, other.refusal) == (None, None)


async def test_a_write_behind_one_that_is_not_replicated_waits_for_it(mongo, store):
    one, other = journal_on(store), journal_on(store)
    await commit(one, record(1))
    await other.current()
    mongo.lags = True
    with pytest.raises(Unavailable):
        await commit(one, record(2))
    before = mongo.inserts
    writing = asyncio.create_task(commit(other, record(3)))
    await parts.until(lambda: mongo.inserts > before, "the first attempt")

    mongo.replicate()

    assert (await writing).revision == 3


async def test_such_a_write_gives_up_in_time_and_has_not_hammered_the_database(
    mongo, store, monkeypatch
):
    monkeypatch.setattr("services.keys.journal._UNSEEN_LOOKS", 5)
    one, other = journal_on(store), journal_on(store)
    await commit(one, record(1))
    await other.current()
    mongo.lags = True
    with pytest.raises(Unavailable):
        await commit(one, record(2))
    before = mongo.inserts

    with pytest.raises(Unavailable, match="majority"):
        await commit(other, record(3))

    assert mongo.inserts == before + 1


async def test_a_new_primary_that_does_not_know_its_majority_yet_has_lost_nothing(mongo, store):
    journal = journal_on(store)
    await commit(journal, record(1))
    mongo.held_back.add(1)

    with pytest.raises(Unavailable, match="majority"):
        await journal.current()

    mongo.replicate()
    await commit(journal, record(2))
    assert journal.refusal is None


async def test_an_entry_that_reaches_a_majority_between_two_looks_is_read(mongo, store):
    await commit(journal_on(store), record(1))
    mongo.held_back.add(1)
    mongo.replicates_once_read = True

    assert [entry.rev for entry in await store.after(0)] == [1]


async def test_the_log_is_read_from_the_primary_whatever_the_url_says(mongo):
    url = mongo.url + "&readPreference=secondary&readConcernLevel=local"
    async with open_store(url, "majority") as store:
        assert store._changes.read_preference == ReadPreference.PRIMARY
        assert store._changes.read_concern.level == "majority"
