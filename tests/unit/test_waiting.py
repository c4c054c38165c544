"""One reading for many callers, and never one from before they asked."""

import asyncio

import pytest

from services.keys.waiting import Shared
from tests.service.delivery_world import MemoryStore, journal_on


class Source:
    """What is read: the value at the moment a reading begins; each ends when it is told to."""

    def __init__(self):
        self.value = 0
        self.readings = []
        self.fails = False

    async def read(self):
        found, end = self.value, asyncio.Event()
        self.readings.append(end)
        await end.wait()
        if self.fails:
            raise OSError
        return found


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_however_many_ask_there_are_two_readings_and_each_caller_gets_a_later_one():
    source = Source()
    shared = Shared(source.read)
    first = asyncio.ensure_future(shared.fresh())
    await turns()
    source.value = 1
    rest = [asyncio.ensure_future(shared.fresh()) for _ in range(20)]
    await turns()
    assert len(source.readings) == 1

    source.readings[0].set()
    await turns()
    source.value = 2
    late = asyncio.ensure_future(shared.fresh())
    source.readings[1].set()
    assert await first == 0
    assert await asyncio.gather(*rest) == [1] * 20
    await turns()
    source.readings[2].set()
    assert await late == 2


async def test_a_failure_is_everybodys_and_the_next_reading_is_another():
    source = Source()
    shared = Shared(source.read)
    source.fails = True
    asking = [asyncio.ensure_future(shared.fresh()) for _ in range(3)]
    await turns()
    source.readings[0].set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(problem) for problem in found] == [OSError] * 3

    source.fails = False
    again = asyncio.ensure_future(shared.fresh())
    await turns()
    source.readings[1].set()
    assert await again == 0


async def test_a_caller_who_leaves_takes_nobody_with_them():
    source = Source()
    shared = Shared(source.read)
    one, other = (asyncio.ensure_future(shared.fresh()) for _ in range(2))
    await turns()
    one.cancel()
    await turns()
    source.readings[0].set()
    assert await other == 0
    with pytest.raises(asyncio.CancelledError):
        await one


async def test_callers_of_a_log_that_does_not_answer_wait_side_by_side():
    store = MemoryStore()
    journal = await journal_on(store)
    source = Source()
    store.after = lambda *_: source.read()
    source.value = []
    asking = [asyncio.ensure_future(journal.current()) for _ in range(20)]
    for number in range(2):
        await turns()
        assert len(source.readings) == number + 1
        source.readings[number].set()
        if number == 0:
            asking += [asyncio.ensure_future(journal.current()) for _ in range(20)]
    await asyncio.gather(*asking)

    assert len(source.readings) == 2
