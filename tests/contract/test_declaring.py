"""The declared catalogue in the log: what a file may not bring into it."""

import asyncio
import itertools
import time

import pytest
import structlog

from services.keys.declaring import Declaring
from services.keys.errors import AlreadyTaken
from services.keys.journal import Journal
from services.keys.management import Plan
from services.keys.records import ModelDetails, ModelRecord
from services.keys.store import open_store
from shared.catalogue import Deployment
from shared.http import Readiness
from shared.service import end
from tests import parts

_ids = itertools.count()


def model(model_id, source="config"):
    return ModelRecord(
        grant=Deployment(id=model_id, name=f"name of {model_id}"),
        details=ModelDetails(source=source),
    )


STORED = model("taken", "stored")


@pytest.fixture(name="store")
async def _store(mongo_url):
    async with open_store(mongo_url, f"declaring{next(_ids)}_{time.time_ns()}") as store:
        yield store


@pytest.fixture(name="journal")
async def _journal(store):
    async def enforce(_):
        return "enforced"

    return Journal(store, clock=time.time, new_id=lambda: f"op{next(_ids)}", enforce=enforce)


async def keep(journal):
    def plan(_):
        return Plan(writes=(STORED,), answer={}, reason="model/new")

    await journal.commit(plan, actor="a", request_id="r")


async def until(said, event):
    return await parts.until(lambda: [line for line in said if line["event"] == event], event)


async def test_a_reload_that_would_overwrite_a_stored_model_is_refused(store, journal):
    began = (model("a"),)
    declaring = Declaring(store, journal, Readiness("log"), began)
    with structlog.testing.capture_logs() as said:
        task = asyncio.ensure_future(declaring.run())
        await until(said, "catalogue_declared")
        await keep(journal)
        rev = journal.state.rev

        declaring.want((model("a"), model("b"), model("taken")))
        (line,) = await until(said, "configuration_refused")
        assert "'taken'" in line["detail"]
        assert "POST /model/delete" in line["cure"]
        assert (journal.state.rev, journal.state.models["taken"]) == (rev, STORED)
        assert not declaring.differs()

        said.clear()
        declaring.want((model("a"), model("b")))
        await until(said, "catalogue_declared")
        await end(task)
    assert set(journal.state.models) == {"a", "b", "taken"}


async def test_keys_does_not_start_on_a_file_that_would_overwrite_a_stored_model(store, journal):
    await store.prepare()
    await keep(journal)
    declaring = Declaring(store, journal, Readiness("log"), (model("taken"),))
    with structlog.testing.capture_logs() as said, pytest.raises(AlreadyTaken, match="'taken'"):
        await asyncio.wait_for(declaring.run(), 10)
    assert [line["event"] for line in said] == ["configuration_refused"]
    assert journal.state.models["taken"] == STORED
