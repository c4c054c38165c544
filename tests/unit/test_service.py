"""How a service begins, and how its tasks end."""

import asyncio
import os
import resource
import signal
from contextlib import suppress

import pytest

from shared.service import end, owned_task, run


async def test_a_task_that_takes_one_cancellation_for_nothing_ends_all_the_same():
    cancelled = 0

    async def deaf_once():
        nonlocal cancelled
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled > 1:
                    raise

    deaths = []
    async with asyncio.timeout(5):
        async with owned_task(deaf_once(), "deaf", deaths.append) as task:
            await asyncio.sleep(0)
    assert task.cancelled()
    assert cancelled == 2
    assert not deaths


async def test_what_a_task_ended_with_is_not_lost():
    async def fail():
        raise ValueError

    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        await end(task)


async def test_the_owner_hears_of_a_death():
    async def fail():
        raise ValueError

    deaths = []

    async def own():
        async with owned_task(fail(), "fails", deaths.append) as task:
            await asyncio.wait({task})
            await asyncio.sleep(0)

    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        await own()
    assert isinstance(deaths[0], ValueError)


def test_a_start_that_takes_the_first_cancellation_for_nothing_is_stopped_all_the_same():
    async def start(_stack, _stopping):
        os.kill(os.getpid(), signal.SIGTERM)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    assert run([], start) == 0


def test_the_soft_limit_of_open_files_is_no_limit():
    """Requests in flight have two each, and systems begin a service with 1,024."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = []

    async def start(_stack, stopping):
        found.append(resource.getrlimit(resource.RLIMIT_NOFILE))
        stopping.ask()

    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        assert run([], start) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == [(min(before[1], 65_536), before[1])]
