"""From a committed change to every replica: publication, epochs, leases and the barrier."""

import asyncio
import json
import shutil
import time
from contextlib import AsyncExitStack

import pytest
import structlog

from services.dev.bundled import NATS_CONF
from services.gateway.policy_client import PolicyUnavailable
from services.keys import members, schemas
from services.keys.epochs import EpochKeeper
from services.keys.errors import Unavailable
from shared import subjects
from shared.changes import Unreadable, encode_change
from shared.decisions import Allow, Deny
from shared.replication import LEFT, decode_epoch, decode_member
from shared.service import boottime
from shared.streams import ChangeStream, Superseded
from tests.parts import nats_server, until
from tests.service.delivery_world import (
    LEASE_S,
    MARGIN_S,
    Log,
    MemoryStore,
    World,
    journal_on,
    key,
    question,
    record,
    write,
)


@pytest.fixture
async def world(nats_server):
    async with AsyncExitStack() as stack:
        yield World(nats_server, stack)


async def test_a_change_is_in_force_on_every_replica_when_the_barrier_returns(world):
    _, barrier = await world.publisher()
    feeds = [await world.policy() for _ in range(3)]
    await until(lambda: all(f.responder.is_open for f in feeds), "leases")

    for number in range(50):
        rev = world.log.add(key(number))
        assert await barrier.enforced(rev) == "enforced"
        assert all(feed.table.rev >= rev for feed in feeds)


async def test_with_a_bus_too_small_for_a_change_nothing_is_written_and_the_cure_is_told(tmp_path):
    conf = tmp_path / "nats.conf"
    conf.write_text(NATS_CONF.read_text().replace("max_payload: 8MB", "max_payload: 1MB"))
    server = nats_server(tmp_path, conf)
    async with server.running(), AsyncExitStack() as stack:
        publisher, _ = await World(server, stack).publisher()

        await until(lambda: "set max_payload: 8MB" in publisher.trouble, "the trouble")

        with pytest.raises(Unavailable, match="set max_payload: 8MB"):
            await publisher.compared()


async def test_a_revoked_key_is_refused_by_whoever_answers_after_the_barrier(world):
    _, barrier = await world.publisher()
    feeds = [await world.policy() for _ in range(2)]
    gateway = await world.gateway()
    await until(lambda: all(f.responder.is_open for f in feeds), "leases")
    await barrier.enforced(world.log.add(key(1)))
    assert isinstance(await gateway.ask(question(1)), Allow)

    await barrier.enforced(world.log.add(key(1, blocked=True)))

    answers = await asyncio.gather(*(gateway.ask(question(1)) for _ in range(200)))
    assert all(isinstance(answer, Deny) for answer in answers)


async def test_a_replica_that_starts_late_reads_everything_before_it_answers(world):
    await world.publisher()
    for number in range(300):
        world.log.add(key(number))

    feed = await world.policy()

    await until(lambda: feed.responder.is_open, "the lease")
    assert feed.table.rev == 300
    assert feed.table.sizes()["keys"] == 300


async def test_no_replica_answers_before_the_stream_is_complete(world):
    feed = await world.policy()
    gateway = await world.gateway()

    with pytest.raises(PolicyUnavailable):
        await gateway.ask(question(1))
    assert not feed.responder.is_open


async def test_a_write_waits_for_a_frozen_replica_until_its_lease_has_run_out(world):
    _, barrier = await world.publisher()
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    feed.stop()

    began = boottime()
    assert await barrier.enforced(world.log.add(key(1, blocked=True))) == "enforced"

    assert boottime() - began >= LEASE_S
    assert not feed.lease.holds(boottime())


async def test_a_look_that_is_asked_for_during_another_is_had(world, monkeypatch):
    monkeypatch.setattr("services.keys.publisher._LOOK_S", 60)
    looks = count_looks(world.log, lambda: len(looks) == 1 and publisher.look_again())
    publisher, _ = await world.publisher()

    await until(lambda: publisher.epoch and publisher.epoch.complete, "the epoch")
    before = len(looks)
    looks.clear()
    publisher.look_again()

    await until(lambda: len(looks) == 2, "the second look")
    assert before


async def test_the_stream_is_looked_at_in_time_while_own_writes_come_fast(world, monkeypatch):
    monkeypatch.setattr("services.keys.publisher._LOOK_S", 0.2)
    looks = count_looks(world.log)
    publisher, _ = await world.publisher()
    await publisher.compared()
    looks.clear()

    ends = time.monotonic() + 1
    while time.monotonic() < ends and len(looks) < 2:
        assert await publisher.published(world.log.add(key(1)), 5)

    assert len(looks) == 2


def count_looks(log, then=lambda: None):
    """A list that grows with each look at the log; `then` is called within."""
    looks, current = [], log.current

    async def counted():
        looks.append(1)
        then()
        return await current()

    log.current = counted
    return looks


async def test_a_bus_that_goes_away_while_a_write_waits_costs_it_the_wait_and_no_more(world):
    publisher, barrier = await world.publisher()
    await until(lambda: publisher.epoch and publisher.epoch.complete, "the epoch")
    await barrier._client.close()

    deadline = boottime() + 0.3
    assert not await barrier._all_applied({"replica"}, publisher.epoch, 1, deadline)
    assert boottime() >= deadline


async def test_a_wiped_stream_is_filled_again_and_answers_resume(world, nats_server, tmp_path):
    publisher, barrier = await world.publisher()
    feed = await world.policy()
    gateway = await world.gateway()
    await until(lambda: feed.responder.is_open, "the lease")
    for number in range(20):
        await barrier.enforced(world.log.add(key(number)))
    before = publisher.epoch.id

    await nats_server.kill()
    shutil.rmtree(tmp_path / "jetstream")
    await nats_server.start()

    await until(lambda: publisher.epoch.id != before and publisher.epoch.complete, "a new epoch")
    assert not publisher.epoch.settled
    rev = world.log.add(key(1, blocked=True))
    assert await barrier.enforced(rev) == "enforced"
    answer = await gateway.ask(question(1))
    assert isinstance(answer, Deny)
    assert answer.revision >= rev
    await until(lambda: publisher.epoch.settled, "the epoch to settle")


async def test_a_deleted_stream_never_lets_a_write_pass_early(world):
    _, barrier = await world.publisher()
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    admin = (await world.connect("keys")).jetstream()
    await admin.delete_stream(subjects.STREAM)

    rev = world.log.add(key(1, blocked=True))
    while await barrier.enforced(rev) != "enforced":
        pass

    asked = feed.responder.answers([question(1)])[0]
    assert not isinstance(asked, Allow)


async def test_a_replica_ahead_of_the_stream_gives_its_lease_up(world):
    _, barrier = await world.publisher()
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    forged = world.log.add(key(2))
    await barrier.enforced(forged)
    admin = ChangeStream(await world.connect("keys"))
    world.log.entries.pop()  # the log is restored from an older copy

    await admin.purge(subject=subjects.change(forged))

    await until(lambda: not feed.lease.holds(boottime()), "the lease to end")
    assert feed.table.rev == forged


async def test_what_one_replica_has_jetstream_answer_is_no_change_to_another(world):
    """Whoever asks names the subject of the answer: here the one that changes are pushed on."""
    _, barrier = await world.publisher()
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    forger, other = await world.connect("policy"), Log()
    other.entries = list(world.log.entries)
    target = subjects.change(other.add(key(2)))
    forged = encode_change(other.entries[-1].as_change())
    heard = await forger.subscribe(target)
    await ChangeStream(forger).put(subjects.member("ghost"), forged)
    asked = json.dumps({"last_by_subj": subjects.member("ghost")}).encode()
    await forger.publish("$JS.API.DIRECT.GET.GRANTS", asked, reply=target)
    assert (await heard.next_msg(timeout=10)).data == forged
    await ChangeStream(forger).put(subjects.member("ghost"), LEFT)

    began = boottime()
    await barrier.enforced(world.log.add(key(3)))

    assert feed.table.chain == world.log.chain
    assert not isinstance(feed.responder.answers([question(2)])[0], Allow)
    assert feed.lease.holds(began), "it never lost its lease"


@pytest.mark.parametrize("data", [b"", b"\x00", b"{}", b'{"replica": 7}', b"[" * 5000])
def test_what_is_no_record_is_told_as_unreadable(data):
    for decode in (decode_epoch, decode_member):
        with pytest.raises(Unreadable):
            decode(data)


async def test_a_member_record_nobody_can_read_holds_writes_up_until_it_lapses(world):
    _, barrier = await world.publisher()
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    stream = ChangeStream(await world.connect("policy"))

    with structlog.testing.capture_logs() as logs:
        await stream.put(subjects.member("ghost"), b"?")
        began = time.monotonic()
        assert await barrier.enforced(world.log.add(key(2))) == "enforced"
        assert time.monotonic() - began >= LEASE_S
        late = await world.policy()
        await until(lambda: late.responder.is_open, "the lease of a late one")
        await until(lambda: barrier.members.still_for(ghost(barrier)) > LEASE_S + MARGIN_S, "rest")
        began = time.monotonic()
        assert await barrier.enforced(world.log.add(key(3))) == "enforced"
        assert time.monotonic() - began < LEASE_S

    assert [line["of"] for line in logs if "unreadable" in line["event"]] == ["ghost"]


def ghost(barrier):
    return barrier.members.known()["ghost"]


async def test_a_record_under_anothers_name_lets_no_write_pass(world):
    _, barrier = await world.publisher()
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    stream = ChangeStream(await world.connect("policy"))
    told = (await stream.last(subjects.MEMBERS))[1]

    await stream.put(subjects.member("ghost"), told)
    began = time.monotonic()
    await barrier.enforced(world.log.add(key(2)))

    assert time.monotonic() - began >= LEASE_S


async def test_an_epoch_nobody_can_read_stops_writes_and_answers_and_is_left_as_it_is(world):
    publisher, barrier = await world.publisher()
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    stream = ChangeStream(await world.connect("keys"))

    await stream.put(subjects.EPOCH, b"another version's")
    publisher.look_again()

    await until(lambda: world.log.refusal, "the refusal")
    assert "epoch" in world.log.refusal
    await until(lambda: not feed.responder.is_open, "the end of the lease")
    late = await world.policy()
    await until(lambda: "epoch" in late.gave_up, "the late one's word")
    assert (await stream.last(subjects.EPOCH))[1] == b"another version's"


async def test_a_log_that_is_behind_the_stream_stops_writes(world):
    publisher, barrier = await world.publisher()
    for number in range(3):
        await barrier.enforced(world.log.add(key(number)))

    world.log.entries = world.log.entries[:1]
    publisher.look_again()

    await until(lambda: world.log.refusal, "the refusal")
    assert "restored from an older copy" in world.log.refusal


async def test_a_question_with_a_floor_is_never_answered_from_before_it(world):
    _, barrier = await world.publisher()
    feed = await world.policy()
    gateway = await world.gateway()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))

    assert isinstance(await gateway.ask(question(1)), Allow)
    with pytest.raises(PolicyUnavailable):
        await gateway.ask(question(1, floor=feed.table.rev + 1))
    # That question alone was refused; its floor is not everybody's.
    assert isinstance(await gateway.ask(question(1)), Allow)


async def test_with_nobody_to_answer_a_question_fails_within_its_deadline(world):
    gateway = await world.gateway()

    began = time.monotonic()
    with pytest.raises(PolicyUnavailable):
        await gateway.ask(question(1))

    assert time.monotonic() - began < 1.5


async def test_a_cancelled_caller_harms_nobody_in_its_batch(world):
    _, barrier = await world.publisher()
    feed = await world.policy()
    gateway = await world.gateway()
    await until(lambda: feed.responder.is_open, "the lease")
    await barrier.enforced(world.log.add(key(1)))
    asked = [asyncio.ensure_future(gateway.ask(question(1))) for _ in range(10)]
    await asyncio.sleep(0)
    asked[3].cancel()

    found = await asyncio.gather(*asked, return_exceptions=True)

    assert isinstance(found[3], asyncio.CancelledError)
    assert sum(isinstance(answer, Allow) for answer in found) == 9


async def test_a_replica_that_leaves_in_order_delays_no_write(world):
    _, barrier = await world.publisher()
    staying, leaving = await world.policy(), await world.policy()
    await until(lambda: staying.responder.is_open and leaving.responder.is_open, "leases")
    await barrier.enforced(world.log.add(key(1)))
    leaving.stop()
    await leaving.leave(leaving.responder)

    began = boottime()
    await barrier.enforced(world.log.add(key(2)))

    assert boottime() - began < LEASE_S / 2


async def test_newer_records_wait_until_every_replica_that_may_answer_reads_them(
    world, monkeypatch
):
    monkeypatch.setattr(schemas, "SINCE", {"key.groups": 2})
    journal = await journal_on(MemoryStore())
    publisher, _ = await world.publisher(journal, schema=2)
    journal.writable_schema = publisher.writable_schema
    newer, older = await world.policy(schema=2), await world.policy()
    await until(lambda: newer.responder.is_open and older.responder.is_open, "leases")
    await until(lambda: publisher.epoch.settled, "the epoch to settle")

    with pytest.raises(Unavailable, match="older version"):
        await write(journal, record(1, groups=("g",)))
    await write(journal, record(1))
    assert publisher.epoch.schema == 1
    older.stop()
    await older.leave(older.responder)
    await until(lambda: publisher.epoch.schema == 2, "the schema to rise")
    assert publisher.writable_schema() == 1  # one may still hold the lease it took before
    await until(lambda: publisher.writable_schema() == 2, "every older lease to end")
    revision = await write(journal, record(1, groups=("g",)))

    late = await world.policy()
    await until(lambda: newer.table.rev == revision, "the change")
    await until(lambda: late.gave_up, "the older version to refuse")
    assert "upgrade" in late.gave_up
    assert not late.responder.is_open
    assert newer.responder.is_open


async def test_a_dead_replicas_record_goes_but_one_written_since_stays(world, monkeypatch):
    monkeypatch.setattr(members, "PURGE_AFTER_S", 2.0)
    monkeypatch.setattr(members, "PURGE_LEASES", 1)
    _, barrier = await world.publisher()
    dead, alive = await world.policy(), await world.policy()
    await until(lambda: dead.responder.is_open and alive.responder.is_open, "leases")
    dead.stop()
    stream = ChangeStream(await world.connect("keys"))

    async def one_left():
        return len(await stream.subjects_under(subjects.MEMBERS)) == 1

    await until(one_left, "the dead one's record to go")
    # The stream shows it before keys has heard that its purge was carried out.
    await until(lambda: len(barrier.members.known()) == 1, "keys to forget it")
    assert alive.responder.is_open


async def test_what_is_still_written_of_a_lost_streams_epoch_never_passes_for_the_new_ones(world):
    client = await world.connect("keys")
    stream = ChangeStream(client)

    async def begun(name):
        keeper = EpochKeeper(
            stream, lease_s=1.0, margin_s=0.1, boottime=boottime, new_id=lambda: name
        )
        await stream.create()
        await keeper.begin(await stream.last_sequence(), 2, 1, 1)
        return keeper

    slow = await begun("slow")
    await client.jetstream().delete_stream(subjects.STREAM)
    quick = await begun("quick")
    with pytest.raises(Superseded):
        await slow.advance(2, None, 1)
    _, record = await stream.last(subjects.EPOCH)
    assert decode_epoch(record) == quick.epoch
    assert not quick.epoch.complete
