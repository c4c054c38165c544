"""Fixtures for real servers."""

import os

import pytest
import uvloop
from hypothesis import settings

from tests import parts

# A machine that is busy with something else makes no property false.
settings.register_profile("grantgate", deadline=None)
settings.load_profile("grantgate")


LIMIT = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item, settings):
    """Keep a test's limit, for what comes after its failure."""
    item.stash[LIMIT] = settings


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node):
    """Give a test that failed its limit again: pytest-timeout no longer watches its clean-up."""
    if LIMIT in node.stash:
        node.ihook.pytest_timeout_set_timer(item=node, settings=node.stash[LIMIT])


def pytest_asyncio_loop_factories():
    """Run on the event loop that production runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def nats_server(tmp_path):
    async with parts.nats_server(tmp_path).running() as server:
        yield server


@pytest.fixture
async def mongo_url(tmp_path):
    """A MongoDB: the one `GRANTGATE_TEST_MONGO_URL` names, else the embedded one."""
    given = os.environ.get("GRANTGATE_TEST_MONGO_URL")
    if given:
        yield given
        return
    async with parts.mongo_server(tmp_path).running() as server:
        yield f"mongodb://127.0.0.1:{server.port}/?directConnection=true"


def pytest_report_header():
    """Name the database that the store's tests run against."""
    return "MongoDB: " + os.environ.get("GRANTGATE_TEST_MONGO_URL", "embedded (SecantusDB)")
