"""Histories too rare for chance, played on purpose: each once broke a promise."""

import asyncio
from contextlib import suppress

import pytest

from shared import subjects
from shared.changes import GENESIS
from shared.replication import Member, decode_epoch, encode
from shared.snapshots import Index, decode_index
from shared.streams import Superseded
from tests.sim.clockwork import World
from tests.sim.network import Stream
from tests.sim.parts import KeysProcess, PolicyProcess, Site
from tests.sim.scenario import patched, quiet

KEY = bytes(31) + b"\x01"
LEASE_S = 1.0


class Stage:
    """A world in which nothing happens but what the test says."""

    def __init__(self):
        self.world = World(1, tracing=True)
        self.site = Site(self.world, lease_s=LEASE_S, margin_s=0.1, snapshot_every=2)
        self.processes = []

    def start(self, kind, name):
        process = kind(self.site, name)
        for link in process.links:
            link.spikes = 0.0
        self.processes.append(process)
        return process

    def go_on(self, seconds):
        self.world.run_until(self.world.now + seconds)

    def write(self, keys, request, *, allowed):
        keys.spawn(keys.write(request, KEY, allowed=allowed), "a write")
        self.go_on(2 * LEASE_S)
        assert request in self.site.facts.acknowledged.values()


@pytest.fixture
def stage():
    with quiet(), patched(Site):
        stage = Stage()
        yield stage
        stage.world.is_over = True
        for process in stage.processes:
            process.bury()


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


def snapshots_on(site):
    index = site.server.streams["SNAPSHOTS"].messages["snapshot.index"][1]
    return [manifest.rev for manifest in decode_index(index).snapshots]


def test_a_keys_replica_that_is_behind_does_not_push_out_newer_snapshots(stage):
    writer = stage.start(KeysProcess, "writer")
    stage.go_on(3.0)
    for number in range(2):
        stage.write(writer, f"early{number}", allowed=True)
    behind = stage.start(KeysProcess, "behind")
    stage.go_on(3.0)
    for task in behind._tasks:  # it looks at nothing by itself from now on
        task.cancel()
    for number in range(6):
        stage.write(writer, f"late{number}", allowed=True)
    assert behind.journal.state.rev < 8
    assert snapshots_on(stage.site)[0] == 8

    behind.spawn(behind.snapshots.write("e"), "a snapshot")
    stage.go_on(2.0)

    assert stage.world.violation is None, "\n".join(stage.world.trace)
    assert snapshots_on(stage.site)[0] == 8


def test_a_sweep_for_an_index_that_was_lost_takes_nothing_of_the_next(stage):
    keys = stage.start(KeysProcess, "keys")
    stage.go_on(3.0)
    for number in range(5):
        stage.write(keys, f"r{number}", allowed=True)

    async def sweep():
        with suppress(Superseded):
            await keys.snapshots._settle(Index(), 1000)

    keys.spawn(sweep(), "a sweep after the stream was lost")
    stage.go_on(2.0)

    assert stage.world.violation is None, "\n".join(stage.world.trace)
    assert len(snapshots_on(stage.site)) == 2


def before_the_next_index(keys, happens):
    """Let this happen when the chunks are stored and the index that names them is not."""
    stream = keys.snapshots._stream
    put = stream.put

    async def happen_first(subject, data, **condition):
        if subject == subjects.SNAPSHOT_INDEX:
            stream.put = put
            await happens()
        return await put(subject, data, **condition)

    stream.put = happen_first


def test_a_first_snapshot_whose_chunks_were_lost_before_its_index_is_written_again(stage):
    keys = stage.start(KeysProcess, "keys")
    stage.go_on(3.0)

    async def lost():
        stage.site.server.wipe("SNAPSHOTS")
        await keys.snapshots._create()

    before_the_next_index(keys, lost)
    for number in range(2):
        stage.write(keys, f"r{number}", allowed=True)
    stage.go_on(5.0)

    messages = stage.site.server.streams["SNAPSHOTS"].messages
    newest = decode_index(messages["snapshot.index"][1]).snapshots[0]
    assert newest.rev == 2
    assert f"snapshot.chunk.{newest.id}.0" in messages


def test_an_index_written_for_a_stream_that_was_lost_replaces_none_in_the_next(stage):
    slow = stage.start(KeysProcess, "slow")
    stage.go_on(3.0)
    for number in range(2):
        stage.write(slow, f"early{number}", allowed=True)
    assert snapshots_on(stage.site) == [2]
    waits = asyncio.Event()
    before_the_next_index(slow, waits.wait)
    for number in range(2):
        stage.write(slow, f"late{number}", allowed=True)
    assert snapshots_on(stage.site) == [2]

    stage.site.server.wipe("SNAPSHOTS")
    other = stage.start(KeysProcess, "other")
    stage.go_on(5.0)
    of_the_other = stage.site.server.streams["SNAPSHOTS"].messages["snapshot.index"]
    waits.set()
    stage.go_on(0.5)

    assert other.journal.state.rev == 4
    assert stage.site.server.streams["SNAPSHOTS"].messages["snapshot.index"] == of_the_other


def test_a_new_epoch_is_not_trimmed_for_snapshots_of_the_one_before(stage):
    keys = stage.start(KeysProcess, "keys")
    stage.go_on(3.0)
    for number in range(5):
        stage.write(keys, f"r{number}", allowed=True)
    assert keys.publisher.epoch.first_rev > 1

    keys.publisher.base = from_the_first
    stage.site.server.wipe()
    stage.go_on(10.0)

    assert stage.world.violation is None, "\n".join(stage.world.trace)
    assert keys.publisher.epoch.complete
    assert keys.publisher.epoch.first_rev == 1


async def from_the_first():
    return 1


def test_snapshots_of_what_is_not_published_do_not_push_out_the_one_that_serves(stage):
    keys = stage.start(KeysProcess, "keys")
    stage.go_on(3.0)
    for number in range(5):
        stage.write(keys, f"r{number}", allowed=True)
    keys.publisher._push = never
    for number in range(8):
        keys.spawn(keys.write(f"unpublished{number}", KEY, allowed=True), "a write")
        stage.go_on(3.0)
    fresh = stage.start(PolicyProcess, "fresh")
    stage.go_on(3.0)

    assert stage.world.violation is None, "\n".join(stage.world.trace)
    assert fresh.feed.table.rev == 5
    assert fresh.lease.holds(fresh.clock()), fresh.readiness.parts()


async def never():
    """Publish nothing."""
