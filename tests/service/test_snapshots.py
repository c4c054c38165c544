"""Whole tables: written by keys, read by a starting replica, and what is trimmed behind them."""

import asyncio
import shutil
import time
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from msgspec.structs import replace

from services.dev.bundled import NATS_CONF
from services.keys import internal
from services.keys.snapshots import Snapshots
from services.policy.own_copy import OwnCopy
from services.policy.sources import KeysOverHttp, keep_copy
from shared import snapshots, subjects
from shared.catalogue import Deployment
from shared.changes import KeyGrant, TeamGrant, decode_change, decode_mutations, encode_change
from shared.credentials import Secret
from shared.http import listen
from shared.service import boottime
from shared.snapshots import BadSnapshot
from shared.streams import ChangeStream, SnapshotStream
from tests.parts import free_port, nats_server, until, written
from tests.service.delivery_world import (
    LEASE_S,
    MemoryStore,
    World,
    journal_on,
    new_id,
    record,
    task,
    write,
)


@pytest.fixture
async def world(nats_server):
    async with AsyncExitStack() as stack:
        yield World(nats_server, stack)


@pytest.fixture
async def journal():
    return await journal_on(MemoryStore())


async def filled(journal, count, publisher=None):
    """Have the log grow, and the stream with it when there is a publisher."""
    journal.store.fill(count)
    await journal.current()
    if publisher is not None:
        await until(lambda: publisher.published_rev == journal.state.rev, "publication")


async def keys_side(world, journal):
    publisher, barrier = await world.publisher(journal)
    await world.stack.enter_async_context(task(publisher.snapshots.run(publisher)))
    await until(lambda: publisher.epoch and publisher.epoch.complete, "the epoch")
    await until(lambda: publisher.published_rev == journal.state.rev, "publication")
    return publisher, barrier


def holds(feed, journal):
    """Whether the replica's table is the log's state."""
    return (
        feed.table.rev == journal.state.rev
        and feed.table.chain == journal.state.chain
        and feed.table.sizes()["keys"] == len(journal.state.keys)
    )


async def stream_state(world):
    """The first and last revision the stream holds, and its epoch's first."""
    stream = ChangeStream(await world.connect("keys"))
    found = await stream.subjects_under(subjects.CHANGES)
    return sorted(int(subject.rsplit(".", 1)[1]) for subject in found)


async def test_a_snapshot_is_written_when_the_log_has_grown_and_the_last_two_are_kept(
    world, journal
):
    publisher, _ = await keys_side(world, journal)
    bucket = (await world.policy()).bucket
    for count in (1, 2, 2):
        await filled(journal, 60, publisher)

        async def snapshots_up_to(head=journal.state.rev, count=count):
            index = await bucket.index()
            return [m.rev for m in index.snapshots][:1] == [head] and index.snapshots[:count]

        await until(snapshots_up_to, "the snapshot")

    index = await bucket.index()
    assert [manifest.rev for manifest in index.snapshots] == [180, 120]
    stream = SnapshotStream(await world.connect("keys"))

    async def only_theirs():
        there = await stream.subjects_under(subjects.SNAPSHOT_CHUNKS)
        return {subjects.snapshot_of(s) for s in there} == {m.id for m in index.snapshots}

    await until(only_theirs, "the older chunks to go")
    for manifest in index.snapshots:
        found = [chunk async for chunk in bucket.chunks(manifest)]
        for number, chunk in enumerate(found):
            snapshots.check(manifest, number, chunk)
        assert len(found) == len(manifest.chunks)
        assert manifest.epoch == publisher.epoch.id


async def test_the_stream_is_trimmed_below_the_older_snapshot_and_replicas_start_all_the_same(
    world, journal
):
    publisher, barrier = await keys_side(world, journal)
    early = await world.policy()
    await until(lambda: early.responder.is_open, "the lease")
    for _ in range(2):
        await filled(journal, 60, publisher)
        await written(publisher.snapshots, publisher.epoch.id)
    await until(lambda: publisher.epoch.first_rev == 60, "the trimming")
    assert await until(lambda: stream_state(world), "the stream") == list(range(60, 121))

    late = await world.policy()

    await until(lambda: late.responder.is_open, "the lease")
    assert holds(late, journal)
    rev = await write(journal, record(1, blocked=True))
    assert await barrier.enforced(rev) == "enforced"
    assert holds(late, journal)
    assert holds(early, journal)


async def test_a_replica_that_was_away_while_its_next_change_was_trimmed_builds_anew(
    world, journal
):
    publisher, _ = await keys_side(world, journal)
    feed = await world.policy()
    await filled(journal, 10)
    await until(lambda: feed.table.rev == 10, "the first changes")
    old = feed.table
    # As if it had been frozen: what is pushed now is not heard.
    feed.stop()
    for _ in range(2):
        await filled(journal, 60, publisher)
        await written(publisher.snapshots, publisher.epoch.id)
    await until(lambda: publisher.epoch.first_rev == 70, "the trimming")

    await world.stack.enter_async_context(task(feed.run(feed.responder)))

    await until(lambda: feed.table.rev == 130, "the table")
    assert holds(feed, journal)
    assert feed.table is not old


async def test_a_wiped_store_with_a_long_log_is_begun_with_a_snapshot(
    world, journal, nats_server, tmp_path
):
    await filled(journal, 700)
    publisher, _ = await keys_side(world, journal)
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    assert publisher.epoch.first_rev == 700
    before, table = publisher.epoch.id, feed.table

    await nats_server.kill()
    shutil.rmtree(tmp_path / "jetstream")
    await nats_server.start()

    await until(lambda: publisher.epoch.id != before and publisher.epoch.complete, "a new epoch")
    assert await until(lambda: stream_state(world), "the stream") == [700]
    await until(lambda: feed.epoch and feed.epoch.id == publisher.epoch.id, "the replica")
    assert feed.table is table  # the same history: nothing to build
    late = await world.policy()
    await until(lambda: late.responder.is_open, "the lease of a new one")
    assert holds(late, journal)


LISTS = tuple(f"a-model-name-of-thirty-bytes-{n:04}" for n in range(1000))


@pytest.mark.parametrize(
    "record",
    [
        TeamGrant(id="t", member_models={f"m{n}": LISTS[:100] for n in range(10)}),
        TeamGrant(id="t", model_aliases=dict(zip(LISTS, LISTS, strict=True))),
        KeyGrant(id=bytes(32), aliases=dict(zip(LISTS, LISTS, strict=True))),
        KeyGrant(id=bytes(32), allowed_routes=LISTS),
        Deployment(id="d", name="d", access_groups=LISTS),
        KeyGrant(id=bytes(32)),
    ],
)
def test_no_chunk_is_longer_than_its_bound_whatever_makes_the_records_large(record):
    records = [record] * 1000

    chunks = list(snapshots.cut(records))

    assert max(map(len, chunks)) <= snapshots.CHUNK_BYTES + 8
    assert list(snapshots.cut(records)) == chunks
    assert [m for chunk in chunks for m in decode_mutations(chunk)[0]] == records


def test_a_record_that_is_longer_than_a_chunk_is_one():
    large = TeamGrant(id="t", models=LISTS * 20)

    chunks = list(snapshots.cut([KeyGrant(id=bytes(32)), large, large]))

    assert [len(decode_mutations(chunk)[0]) for chunk in chunks] == [1, 1, 1]


async def test_a_damaged_chunk_is_noticed_and_the_older_snapshot_taken(world, journal):
    publisher, _ = await keys_side(world, journal)
    for _ in range(2):
        await filled(journal, 60, publisher)
        index = await written(publisher.snapshots, publisher.epoch.id)
    newest = index.snapshots[0]
    stream = SnapshotStream(await world.connect("keys"))
    await stream.put(subjects.snapshot_chunk(newest.id, 0), b"\x90")

    feed = await world.policy()

    await until(lambda: feed.responder.is_open, "the lease")
    assert holds(feed, journal)


async def test_a_replica_starts_from_its_own_copy_when_the_bus_has_none(world, journal, tmp_path):
    publisher, _ = await keys_side(world, journal)
    for _ in range(2):
        await filled(journal, 60, publisher)
        await written(publisher.snapshots, publisher.epoch.id)
    await until(lambda: publisher.epoch.first_rev == 60, "the trimming")
    bucket = (await world.policy()).bucket
    copy = OwnCopy(tmp_path / "policy")

    async def is_copied():
        manifest = await copy.manifest()
        return manifest is not None and manifest.rev == 120

    async with task(keep_copy(bucket, copy)):
        await until(is_copied, "the copy")
    await SnapshotStream(await world.connect("keys")).purge()

    feed = await world.policy(copy=copy)

    await until(lambda: feed.responder.is_open, "the lease")
    assert holds(feed, journal)


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "other"])
async def test_a_damaged_own_copy_is_ignored(world, journal, tmp_path, damage):
    publisher, _ = await keys_side(world, journal)
    await filled(journal, 60, publisher)
    index = await written(publisher.snapshots, publisher.epoch.id)
    feed = await world.policy()
    copy = OwnCopy(tmp_path)
    await copy.write(index.snapshots[0], feed.bucket.chunks(index.snapshots[0]))
    path = tmp_path / "snapshot"
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "half": data[: len(data) // 2],
            "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
            "other": b"something else entirely",
        }[damage]
    )

    late = await world.policy(copy=copy)

    await until(lambda: late.responder.is_open, "the lease")
    assert holds(late, journal)


async def test_a_copy_whose_records_cannot_be_named_keeps_no_other_from_being_tried(
    world, journal, tmp_path
):
    publisher, _ = await keys_side(world, journal)
    for _ in range(2):
        await filled(journal, 60, publisher)
        index = await written(publisher.snapshots, publisher.epoch.id)
    await until(lambda: publisher.epoch.first_rev == 60, "the trimming")
    newest, unnamed = index.snapshots[0], b"\x91\xc0"

    async def chunks():
        yield unnamed

    copy = OwnCopy(tmp_path)
    await copy.write(replace(newest, chunks=(snapshots.digest(unnamed),)), chunks())

    late = await world.policy(copy=copy)

    await until(lambda: late.responder.is_open, "the lease")
    assert holds(late, journal)


async def test_a_copy_of_damaged_chunks_never_replaces_a_good_one(world, journal, tmp_path):
    publisher, _ = await keys_side(world, journal)
    await filled(journal, 60, publisher)
    index = await written(publisher.snapshots, publisher.epoch.id)
    feed = await world.policy()
    copy, manifest = OwnCopy(tmp_path), index.snapshots[0]
    await copy.write(manifest, feed.bucket.chunks(manifest))

    async def damaged():
        yield b"\x90"

    with pytest.raises(BadSnapshot):
        await copy.write(manifest, damaged())

    assert await copy.manifest() == manifest
    assert [path.name for path in tmp_path.glob("snapshot*")] == ["snapshot"]


@pytest.fixture
async def keys_http(journal):
    """`/internal/*` of keys on a port of its own; a function of the token."""
    async with AsyncExitStack() as stack:

        async def serve(token):
            app = web.Application()
            app.add_routes(internal.routes(journal, token, new_id))
            port = free_port()
            await stack.enter_async_context(listen(app, "127.0.0.1", port))
            return f"http://127.0.0.1:{port}"

        yield serve


async def test_a_replica_starts_from_keys_when_the_bus_has_no_snapshot(world, journal, keys_http):
    publisher, _ = await keys_side(world, journal)
    for _ in range(2):
        await filled(journal, 60, publisher)
        await written(publisher.snapshots, publisher.epoch.id)
    await until(lambda: publisher.epoch.first_rev == 60, "the trimming")
    await SnapshotStream(await world.connect("keys")).purge()
    token = Secret("a-token-of-the-tests")
    url = await keys_http(token)

    feed = await world.policy(keys=KeysOverHttp(url, token))

    await until(lambda: feed.responder.is_open, "the lease")
    assert holds(feed, journal)


async def test_a_hole_in_the_stream_is_filled_from_keys(world, journal, keys_http):
    await keys_side(world, journal)
    await filled(journal, 30)

    async def is_there():
        return len(await stream_state(world)) == 30

    await until(is_there, "publication")
    await ChangeStream(await world.connect("keys")).purge(subject=subjects.change(17))

    token = Secret("a-token-of-the-tests")
    feed = await world.policy(keys=KeysOverHttp(await keys_http(token), token))

    await until(lambda: feed.responder.is_open, "the lease")
    assert holds(feed, journal)


async def test_internal_routes_answer_the_token_alone(journal, keys_http):
    await filled(journal, 3)
    token = Secret("a-token-of-the-tests")
    url = await keys_http(token)

    found = await KeysOverHttp(url, token).changes(1)
    assert [decode_change(data).rev for data in found] == [2, 3]
    for wrong in (None, Secret("another-token")):
        with pytest.raises(Exception, match="401"):
            await KeysOverHttp(url, wrong).changes(1)


async def test_without_a_token_of_its_own_keys_gives_no_snapshot_to_anybody(keys_http):
    url = await keys_http(None)
    for shown in (None, Secret(""), Secret("any-token")):
        with pytest.raises(Exception, match="401"):
            await KeysOverHttp(url, shown).changes(0)


LISTED = 100_000
"""Subjects that the server names in one answer."""


class Together(SnapshotStream):
    """Each of these puts nothing before all have read what is there."""

    def __init__(self, client, all_have_read):
        super().__init__(client)
        self._all_have_read = all_have_read

    async def put(self, subject, data, *, after=None):
        if self._all_have_read is not None:
            await self._all_have_read.wait()
            self._all_have_read = None
        return await super().put(subject, data, after=after)


def writer(journal, stream):
    return Snapshots(journal, stream, every=50, every_bytes=2**30, new_id=new_id)


async def test_two_writers_at_once_leave_one_complete_snapshot(world, journal):
    await keys_side(world, journal)
    await filled(journal, 40)
    barrier = asyncio.Barrier(2)
    one, other = [writer(journal, Together(await world.connect("keys"), barrier)) for _ in range(2)]

    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(written(one), written(other), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Index", "Superseded"]
    bucket = (await world.policy()).bucket
    manifest = (await bucket.index()).snapshots[0]
    found = [chunk async for chunk in bucket.chunks(manifest)]
    for number, chunk in enumerate(found):
        snapshots.check(manifest, number, chunk)
    assert len(found) == len(manifest.chunks)


async def test_chunks_left_over_beyond_what_the_server_lists_end_no_snapshot(lazy_world, journal):
    await filled(journal, 40)
    client = await lazy_world.connect("keys")
    stream = SnapshotStream(client)
    await stream.create()
    began = await stream.last_sequence()
    for number in range(LISTED + 1):
        await client.publish(subjects.snapshot_chunk("000000000000", number), b"")
        if number % 1000 == 0:
            await client.flush()
    await until(lambda: has_stored(stream, began + LISTED + 1), "the chunks", 30)

    index = await written(writer(journal, stream))

    only = subjects.snapshot_chunk(index.snapshots[0].id, 0)
    assert await stream.subjects_under(subjects.SNAPSHOT_CHUNKS) == [only]


async def has_stored(stream, last):
    return await stream.last_sequence() >= last


RATE, BURST = 2000, 50
FOR_S = 2.5 * LEASE_S


async def sent_steadily(client, entries):
    """Send these at RATE, in bursts, without waiting for each acknowledgement."""
    began = time.monotonic()
    for at in range(0, len(entries), BURST):
        await asyncio.sleep(max(0.0, began + at / RATE - time.monotonic()))
        for entry in entries[at : at + BURST]:
            await client.publish(subjects.change(entry.rev), encode_change(entry.as_change()))
    return time.monotonic() - began


async def watched(feed, samples):
    """Note every few milliseconds whether the lease holds, until when, and how far the table is."""
    while True:
        now = boottime()
        samples.append((feed.lease.holds(now), feed.lease.valid_until, feed.table.rev))
        await asyncio.sleep(0.005)


@pytest.fixture
async def lazy_world(tmp_path):
    """A NATS that syncs its disk now and then: one disk may sync hundreds a second, no more."""
    conf = tmp_path / "nats.conf"
    conf.write_text(NATS_CONF.read_text().replace("sync_interval: always", ""))
    async with nats_server(tmp_path, conf).running() as server, AsyncExitStack() as stack:
        yield World(server, stack)


async def test_two_thousand_changes_a_second_are_folded_without_missing_a_lease(
    lazy_world, journal
):
    world = lazy_world
    publisher, _ = await keys_side(world, journal)
    feed = await world.policy()
    await until(lambda: feed.responder.is_open, "the lease")
    publisher.stop()
    sender = await world.connect("keys")
    journal.store.fill(int(RATE * FOR_S))
    samples = []

    async with task(watched(feed, samples)):
        spent = await sent_steadily(sender, journal.store.entries)
        await until(lambda: feed.table.rev == len(journal.store.entries), "the fold")

    assert spent < 1.2 * FOR_S, "the machine could not even send so many"
    assert all(holds for holds, _, _ in samples)
    # Renewed under the load, not lived through on the lease of before it.
    while_folding = {until for _, until, rev in samples if 0 < rev < len(journal.store.entries)}
    assert len(while_folding) > FOR_S / LEASE_S
    assert feed.table.chain == journal.store.entries[-1].chain
