"""Idempotency keys over HTTP: one write, however often it is sent, and by whatever replica."""

import asyncio

import pytest

from services.keys.once import KEPT_S
from shared.credentials import Secret
from tests.parts import until
from tests.service.keys_world import KEYS, keys_world, populate


class Clock:
    now = 1_767_225_600.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def world(clock):
    async with keys_world(clock) as world:
        yield world


async def post(world, path, body, name="once", **more):
    return await world.call("POST", path, body, headers={"Idempotency-Key": name}, **more)


async def test_the_same_call_again_is_answered_the_same_and_done_once(world):
    first = await post(world, "/key/generate", {"models": ["gpt-4"]})
    made = await first.json()
    again = await post(world, "/key/generate", {"models": ["gpt-4"]})
    assert (again.status, await again.json()) == (200, made)
    assert again.headers["x-grantgate-replayed"] == "true"
    assert int(again.headers["x-grantgate-revision"]) >= int(first.headers["x-grantgate-revision"])
    assert len(world.journal.committed) == 1
    assert len(world.journal.state.keys) == 1


async def test_another_body_under_the_same_name_is_a_mistake(world):
    await post(world, "/key/generate", {"models": ["gpt-4"]})
    answer = await post(world, "/key/generate", {"models": ["gpt-4o"]})
    error = (await answer.json())["error"]
    assert (answer.status, error["type"]) == (422, "idempotency_error")
    assert error["param"] == "Idempotency-Key"
    assert len(world.journal.committed) == 1


async def test_the_name_is_the_callers_and_the_calls_own(world):
    await populate(world)
    world.journal.committed.clear()
    await post(world, "/key/generate", {})
    await post(world, "/team/new", {})
    await post(world, "/key/generate", {}, key=KEYS["user"])
    await post(world, "/key/generate", {}, name="twice")
    assert len(world.journal.committed) == 4


async def test_a_secret_is_shown_again_only_while_it_is_remembered(world, clock):
    made = await (await post(world, "/key/generate", {})).json()
    clock.now += KEPT_S - 1
    assert (await (await post(world, "/key/generate", {})).json())["key"] == made["key"]
    clock.now += 2
    answer = await post(world, "/key/generate", {})
    assert answer.status == 409
    assert "revision 2" in (await answer.json())["error"]["message"]
    assert len(world.journal.committed) == 1


async def test_another_replica_knows_that_it_was_done_and_not_the_answer(world):
    await post(world, "/key/generate", {})
    async with keys_world() as other:
        other.journal.state = world.journal.state
        answer = await post(other, "/key/generate", {})
        assert answer.status == 409
        answer = await post(other, "/key/generate", {"models": ["gpt-4"]})
        assert answer.status == 422
        assert not other.journal.committed


async def test_calls_at_the_same_time_are_one(world):
    answers = await asyncio.gather(*(post(world, "/key/generate", {}) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    assert len({(await answer.json())["key"] for answer in answers}) == 1
    assert len(world.journal.committed) == 1


async def test_who_gives_up_while_the_barrier_waits_gets_the_same_secret_by_asking_again(world):
    world.journal.in_force.clear()
    calling = asyncio.create_task(post(world, "/key/generate", {}))
    await until(lambda: world.journal.committed, "the commit")
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await until(lambda: world.given_up, "the handler's end")

    again = asyncio.create_task(post(world, "/key/generate", {}))
    world.journal.in_force.set()
    answer = await again

    made = await answer.json()
    assert answer.status == 200
    assert Secret(made["key"]).digest() in world.journal.state.keys
    assert len(world.journal.committed) == 1


async def test_a_call_that_was_refused_can_be_mended_and_sent_again(world):
    assert (await post(world, "/key/generate", {"team_id": "t"})).status == 400
    await world.made("/team/new", {"team_id": "t"})
    assert (await post(world, "/key/generate", {"team_id": "t"})).status == 200


async def test_an_answer_without_a_body_is_given_again_too(world):
    group = await world.made("/v1/access_group", {"access_group_name": "g"}, status=201)
    path = f"/v1/access_group/{group['access_group_id']}"
    for _ in range(2):
        headers = {"Idempotency-Key": "gone"}
        answer = await world.call("DELETE", path, headers=headers)
        assert (answer.status, await answer.read()) == (204, b"")
    assert len(world.journal.committed) == 2


@pytest.mark.parametrize("name", ["", "a b", "x" * 256, "é"])
async def test_a_name_that_is_none_is_refused(world, name):
    answer = await post(world, "/key/generate", {}, name=name)
    assert answer.status == 400
    assert not world.journal.committed


async def test_a_path_and_a_body_that_name_different_records_are_refused(world):
    await world.made("/team/new", {"team_id": "t"})
    answer = await world.call("PATCH", "/team/t", {"team_id": "u", "models": ["gpt-4"]})
    assert (answer.status, (await answer.json())["error"]["param"]) == (400, "team_id")
    answer = await world.call("PATCH", "/team/t", {"models": ["gpt-4"]})
    assert (await answer.json())["data"]["models"] == ["gpt-4"]
