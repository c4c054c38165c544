"""Puts a keys replica together, and takes it apart in reverse."""

import asyncio
import os
import secrets
import time
import uuid
from contextlib import AsyncExitStack
from typing import Literal

import structlog
from aiohttp import web
from nats.aio.client import Client
from prometheus_client import Gauge

from services.keys import internal, members, upstream_secrets
from services.keys.api import ManagementApi
from services.keys.barrier import Barrier
from services.keys.declared import declared_models
from services.keys.declaring import Declaring
from services.keys.journal import Journal
from services.keys.projector import Projector
from services.keys.propagation import Propagation
from services.keys.publisher import Publisher
from services.keys.snapshots import Snapshots
from services.keys.store import open_store
from services.keys.vault import Vault
from shared import bus
from shared.addresses import Reach
from shared.config import Config
from shared.credentials import Secret, internal_token
from shared.http import Readiness, internal_routes, listen
from shared.reloading import Reloader
from shared.service import Stopping, boottime, owned_task
from shared.streams import ChangeStream, SnapshotStream
from shared.tls import for_nats

log = structlog.get_logger()

HEAD = Gauge("keys_head_revision", "The revision of the newest committed change")
UNPUBLISHED = Gauge("keys_unpublished_changes", "Committed changes the stream does not hold yet")
REFUSING = Gauge("keys_refusing_writes", "1 while an operator has to look before any write")
_MAX_BODY = 1024 * 1024


async def start(
    config: Config, master_key: Secret, stack: AsyncExitStack, stopping: Stopping
) -> None:
    """Open everything on `stack`; management is served to the holder of `master_key`."""
    settings = config.settings
    readiness = Readiness("log", "stream", "port")
    store = await stack.enter_async_context(open_store(settings.mongo_url, settings.mongo_database))

    async def enforce(rev: int) -> Literal["enforced", "pending"]:
        return await barrier.enforced(rev)

    journal = Journal(store, clock=time.time, new_id=_new_id, enforce=enforce)
    client = Client()
    stream = ChangeStream(client, replicas=settings.nats_replicas)
    publisher = Publisher(
        journal,
        stream,
        lease_s=settings.lease_s,
        margin_s=settings.margin_s,
        boottime=boottime,
        new_id=_new_id,
    )
    barrier = Barrier(client, stream, publisher, boottime)
    snapshots = Snapshots(
        journal,
        SnapshotStream(client, replicas=settings.nats_replicas),
        every=settings.snapshot_every,
        every_bytes=settings.snapshot_every_bytes,
        new_id=_new_id,
    )
    publisher.base = snapshots.base
    publisher.claim_first = store.claim_first
    publisher.oldest_schema = barrier.members.oldest_schema
    journal.before_writes = publisher.compared
    journal.writable_schema = publisher.writable_schema
    propagation = Propagation(journal, publisher, barrier.members, boottime)
    vault = Vault(settings.salt_key or master_key)
    token = internal_token(settings.internal_token, master_key)
    api = ManagementApi(
        journal,
        master_key,
        clock=time.time,
        choose=secrets.choice,
        new_id=_new_id,
        vault=vault,
        reach=Reach(settings.allow_private_upstreams),
    )

    def refresh() -> None:
        HEAD.set(journal.state.rev)
        UNPUBLISHED.set(journal.state.rev - publisher.published_rev)
        REFUSING.set(journal.refusal is not None)

    app = web.Application(client_max_size=_MAX_BODY, middlewares=[api.middleware])
    app.add_routes([*internal_routes(readiness, refresh), *api.routes()])
    app.add_routes(internal.routes(journal, settings.snapshot_token, _new_id))
    app.add_routes(upstream_secrets.routes(journal, vault, token))
    app.add_routes(propagation.routes(token))
    port = await stack.enter_async_context(
        listen(
            app,
            settings.keys_host,
            settings.keys_port,
            what="management",
            drain_s=settings.drain_s,
        )
    )

    def died(problem: BaseException | None) -> None:
        log.error("task_ended", error=repr(problem))
        stopping.ask(1)

    declaring = Declaring(store, journal, readiness, declared_models(config.models))
    await stack.enter_async_context(owned_task(declaring.run(), "log", died))
    reloader = Reloader(
        config, lambda found: declared_models(found.models), declaring.want, os.environ
    )
    await stack.enter_async_context(
        bus.connect(
            client,
            settings.nats_url,
            settings.nats_user or "keys",
            settings.nats_proof(),
            tls=for_nats(settings),
            on_closed=lambda: stopping.ask(1),
            on_reconnected=publisher.look_again,
        )
    )
    await barrier.open()
    for name, work in (
        ("reload", reloader.run()),
        ("publisher", publisher.run()),
        ("members", members.watch(barrier.members)),
        ("snapshots", snapshots.run(publisher)),
        ("watch", _watch(publisher, readiness)),
        ("projector", Projector(journal, store).run()),
    ):
        await stack.enter_async_context(owned_task(work, name, died))

    async def leave() -> None:
        # Before everything a write in flight still needs: it is answered first.
        readiness.set("port", False, "stopping")
        await asyncio.sleep(settings.drain_delay_s)
        await port.close()

    stack.push_async_callback(leave)
    readiness.set("port", True)


async def _watch(publisher: Publisher, readiness: Readiness) -> None:
    while True:
        readiness.set("stream", publisher.trouble is None, publisher.trouble or "")
        await asyncio.sleep(0.2)


def _new_id() -> str:
    return str(uuid.uuid4())
