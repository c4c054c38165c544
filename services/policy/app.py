"""Puts a policy replica together, and takes it apart in reverse."""

import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from nats.aio.client import Client
from prometheus_client import Gauge

from services.policy import api
from services.policy.feed import Feed
from services.policy.lease import Lease
from services.policy.own_copy import OwnCopy
from services.policy.rebuild import Rebuilder
from services.policy.responder import Responder
from services.policy.sources import Bucket, KeysOverHttp, keep_copy
from shared import bus
from shared.courier import Courier
from shared.http import Readiness, listen
from shared.service import Stopping, boottime, owned_task
from shared.settings import Settings
from shared.streams import ChangeStream, SnapshotStream
from shared.tls import for_nats

log = structlog.get_logger()

APPLIED = Gauge("policy_applied_revision", "The revision this replica's table is as of")
LEASE = Gauge("policy_lease_remaining_seconds", "How long this replica may still answer")
RECORDS = Gauge("policy_records", "What the table holds", ["kind"])


async def start(settings: Settings, stack: AsyncExitStack, stopping: Stopping) -> None:
    """Open everything on `stack`; the replica answers once its lease says it may."""
    replica = secrets.token_hex(8)
    structlog.contextvars.bind_contextvars(replica=replica)
    readiness = Readiness("lease", "questions")

    def reached(is_reached: bool) -> None:
        readiness.set("questions", is_reached, "no connection on which questions come")

    lease = Lease()
    client = Client()
    stream = ChangeStream(client)
    bucket = Bucket(SnapshotStream(client))
    folder = settings.policy_data_dir
    copy = None if folder is None else OwnCopy(Path(folder))
    keys = KeysOverHttp(settings.keys_url, settings.snapshot_token)
    rebuilder = Rebuilder(stream, bucket, copy, keys)
    feed = Feed(replica, client, stream, lease, readiness, boottime, rebuilder)
    user = settings.nats_user or "policy"
    tls = for_nats(settings)
    courier = Courier(settings.nats_url, user, settings.nats_proof(), reached, tls=tls)
    responder = Responder(courier, lease, lambda: feed.table, boottime=boottime, now=time.time)

    def refresh() -> None:
        APPLIED.set(feed.table.rev)
        LEASE.set(max(0.0, lease.valid_until - boottime()))
        for kind, size in feed.table.sizes().items():
            RECORDS.labels(kind).set(size)

    def died(problem: BaseException | None) -> None:
        readiness.set("lease", False, "a part of it has ended")
        log.error("task_ended", error=repr(problem))
        stopping.ask(1)

    await stack.enter_async_context(
        listen(
            api.build(responder, readiness, refresh, settings.internal_token),
            settings.policy_host,
            settings.policy_port,
            what="internal",
        )
    )
    await stack.enter_async_context(owned_task(courier.run(), "courier", died))
    await stack.enter_async_context(
        bus.connect(
            client,
            settings.nats_url,
            user,
            settings.nats_proof(),
            tls=tls,
            on_closed=lambda: stopping.ask(1),
            on_reconnected=feed.look_again,
        )
    )
    if copy is not None:
        await stack.enter_async_context(owned_task(keep_copy(bucket, copy), "own copy", died))
    stack.push_async_callback(feed.leave, responder)
    await stack.enter_async_context(owned_task(feed.run(responder), "feed", died))
    stack.callback(readiness.set, "lease", False, "stopping")
