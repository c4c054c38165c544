"""The same of snapshots: histories too rare for chance, each of which once broke a promise."""

import asyncio
from contextlib import suppress

from shared import subjects
from shared.snapshots import Index, decode_index
from shared.streams import Superseded
from tests.parts import written
from tests.sim.parts import KeysProcess, PolicyProcess
from tests.sim.stage import KEY, stage

__all__ = ["stage"]


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

    behind.spawn(written(behind.snapshots), "a snapshot")
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
        await keys.snapshots._stream.create()

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


def test_of_two_that_write_what_is_not_published_one_does_not_push_out_what_serves(stage):
    one, two = (stage.start(KeysProcess, name) for name in ("one", "two"))
    stage.go_on(3.0)
    for number in range(5):
        stage.write(one, f"r{number}", allowed=True)
    for task in two._tasks:  # it looks at nothing by itself from now on
        task.cancel()
    one.publisher._push = never
    read = one.snapshots.read

    async def write_another():
        await two.journal.current()
        await written(two.snapshots)

    async def overtaken():
        one.snapshots.read = read
        found = await read()
        two.spawn(write_another(), "a snapshot")
        await asyncio.sleep(0.5)
        one.spawn(one.write("another", KEY, allowed=True), "a write")
        await asyncio.sleep(0.5)
        return found

    one.snapshots.read = overtaken
    one.spawn(one.write("unpublished", KEY, allowed=True), "a write")
    stage.go_on(3.0)

    assert stage.world.violation is None, "\n".join(stage.world.trace)
    assert snapshots_on(stage.site) == [6, 4]


async def never():
    """Publish nothing."""
