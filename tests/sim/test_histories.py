"""Histories too rare for chance, played on purpose: each once broke a promise."""

import asyncio

import pytest

from shared.changes import GENESIS
from shared.replication import Member, decode_epoch, encode
from tests.sim.network import Stream
from tests.sim.parts import KeysProcess, PolicyProcess
from tests.sim.stage import LEASE_S, stage

__all__ = ["stage"]


def freeze_after_reading_the_log(keys, seconds):
    """Freeze once, when the log was read and the stream not yet; then the log is out of reach."""
    look = keys.publisher._look

    async def freeze_first():
        keys.publisher._look = look
        keys.store.loses_requests = 1.0
        keys.freeze(seconds)
        await asyncio.sleep(0)
        await look()

    keys.publisher._look = freeze_first


@pytest.mark.parametrize("before", [0, 2], ids=["an empty log", "a log with changes"])
def test_a_new_epoch_holds_all_that_was_ever_published_before_it_is_complete(stage, before):
    writer = stage.start(KeysProcess, "writer")
    slow = stage.start(KeysProcess, "slow")
    stage.go_on(3.0)
    for number in range(before):
        stage.write(writer, f"before{number}", allowed=True)
    freeze_after_reading_the_log(slow, 20.0)
    slow.publisher.look_again()
    stage.go_on(1.0)
    assert slow.is_frozen
    stage.write(writer, "grant", allowed=True)
    stage.write(writer, "revoke", allowed=False)
    assert stage.site.facts.enforced == before + 2

    writer.kill()
    stage.site.server.wipe()
    fresh = stage.start(PolicyProcess, "fresh")
    stage.go_on(30.0)
    slow.store.loses_requests = 0.0
    stage.go_on(10.0)

    assert stage.world.violation is None, "\n".join(stage.world.trace)
    assert fresh.feed.table.rev == before + 2


def test_a_record_of_a_new_epoch_does_not_stand_still_since_the_one_before(stage):
    keys = stage.start(KeysProcess, "keys")
    server, members = stage.site.server, keys.barrier.members
    seen = []

    def store_and_look(epoch):
        stage.go_on(3.0)
        stream = server.streams["GRANTS"]
        stream.last_seq = 100  # by chance the same in both
        record = Member(replica="r", epoch=epoch, rev=0, chain=GENESIS, schema=1)
        stream.store("grants.member.r", encode(record), {})
        keys.spawn(look(), "a look")
        stage.go_on(0.5)

    async def look():
        found, _ = await members.look(["r"])
        seen.append((found[0].seq, members.still_for(found[0])))

    store_and_look("one")
    server.wipe()
    stage.go_on(10.0)
    store_and_look("two")

    assert [seq for seq, _ in seen] == [101, 101]
    assert seen[1][1] < LEASE_S


def test_a_change_stored_between_a_look_and_its_purge_leaves_no_hole(stage):
    one = stage.start(KeysProcess, "one")
    two = stage.start(KeysProcess, "two")
    stage.go_on(3.0)
    for number in range(3):
        stage.write(one, f"before{number}", allowed=True)
    before_the_last = stage.site.server.streams["GRANTS"].messages["grants.change.3"][0] - 1

    two.spawn(two.publisher._begin_epoch(before_the_last), "a new epoch")
    stage.go_on(5.0)
    fresh = stage.start(PolicyProcess, "fresh")
    stage.go_on(5.0)

    assert stage.world.violation is None, "\n".join(stage.world.trace)
    assert fresh.lease.holds(fresh.clock()), fresh.readiness.parts()


def test_a_late_purge_takes_nothing_of_an_epoch_that_was_begun_meanwhile(stage):
    one = stage.start(KeysProcess, "one")
    stage.go_on(3.0)
    stage.write(one, "before", allowed=True)
    server = stage.site.server
    change = server.streams["GRANTS"].messages["grants.change.1"][1]
    server.wipe()
    lost = server.streams["GRANTS"] = Stream("grants.>", 1000)
    late = lost.store("grants.change.1", change, {})  # by who has not seen the loss yet

    one.spawn(one.publisher._begin_epoch(0), "an epoch, after a look before that")
    stage.go_on(5.0)
    stage.write(one, "after", allowed=False)
    lost.purge(late + 1, None)  # of a replica that looked before the epoch
    stage.go_on(5.0)

    assert decode_epoch(lost.messages["grants.epoch"][1]).complete
    assert {"grants.change.1", "grants.change.2"} <= lost.messages.keys()


def test_a_purge_meant_for_a_stream_that_was_lost_takes_nothing_of_the_next(stage):
    one = stage.start(KeysProcess, "one")
    stage.go_on(3.0)
    stage.write(one, "before", allowed=True)
    server = stage.site.server
    late = server.streams["GRANTS"].last_seq
    server.wipe()
    stage.go_on(5.0)
    assert decode_epoch(server.streams["GRANTS"].messages["grants.epoch"][1]).complete

    server.streams["GRANTS"].purge(late, None)

    assert "grants.change.1" in server.streams["GRANTS"].messages
