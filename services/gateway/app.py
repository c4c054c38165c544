"""Puts a gateway together, and takes it apart in reverse: what is in flight goes first."""

import asyncio
import os
import secrets
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager

import aiohttp
import structlog
from aiohttp import web
from prometheus_client import Gauge

from services.gateway import telemetry
from services.gateway.admission import Admission, Policy
from services.gateway.api import Gateway
from services.gateway.certificate import certificate_for
from services.gateway.discovery import Discovery
from services.gateway.errors import PolicyUnavailable
from services.gateway.management import Management
from services.gateway.policy_client import PolicyClient
from services.gateway.pool import Pools
from services.gateway.relay import Relay
from services.gateway.server import StrictServer, public_port
from services.gateway.stored_upstreams import StoredUpstreams
from services.gateway.tunnels import Proxies
from services.gateway.upstream_tls import UpstreamTls
from services.gateway.upstreams import Upstreams, build
from shared import subjects
from shared.addresses import Reach
from shared.catalogue import VERSIONED
from shared.config import Config
from shared.courier import Courier
from shared.credentials import internal_token
from shared.http import Readiness, internal_routes, listen, refuse_without_c_parser
from shared.reloading import Reloader
from shared.service import Stopping, owned_task
from shared.settings import Settings
from shared.tls import TRUSTED, for_nats, usable

log = structlog.get_logger()

IN_FLIGHT = Gauge("grantgate_gateway_requests_in_flight", "Requests in flight, health aside")

_POLICY_EVERY_S = 1.0
_MANAGEMENT_S = 60.0
"""Far above the longest a write waits to be enforced."""

_REPLACED_S = 300.0
"""How long decisions may still name what only the file before had: until keys, perhaps on another
machine that gets its file later, has declared the new one."""

_UPSTREAM_IDLE_S = 4.0
"""How long a connection to an upstream is kept unused: below the shortest common server's limit,
so that a request seldom meets a connection that is being closed under it."""


def check(settings: Settings) -> None:
    """Raise ConfigError for a file that a setting names and that `start` could not use."""
    certificate_for(settings)
    for_nats(settings)
    _upstream_tls(settings)


async def start(
    config: Config, upstreams: Upstreams, stack: AsyncExitStack, stopping: Stopping
) -> None:
    """Open everything on `stack`; the public port last, so that it closes first.

    Raises ConfigError for a file that a setting names and that cannot be used.
    """
    refuse_without_c_parser()
    settings = config.settings
    certificate = certificate_for(settings)
    readiness = Readiness("policy", "port")
    internal = web.Application()
    internal.add_routes(internal_routes(readiness))
    await stack.enter_async_context(
        listen(
            internal,
            settings.gateway_internal_host,
            settings.gateway_internal_port,
            what="internal",
        )
    )

    def died(problem: BaseException | None) -> None:
        log.error("task_ended", error=repr(problem))
        stopping.ask(1)

    user = settings.nats_user or "gateway"
    courier = Courier(settings.nats_url, user, settings.nats_proof(), tls=for_nats(settings))
    inbox = f"_INBOX_{user}.{secrets.token_hex(12)}"
    policy = PolicyClient(courier, inbox=inbox, timeout_s=settings.decision_timeout_s)
    await stack.enter_async_context(owned_task(courier.run(), "courier", died))
    await stack.enter_async_context(owned_task(_watch(policy, readiness), "policy-watch", died))
    pools = stack.enter_context(upstream_pools(settings))
    keys_session = await stack.enter_async_context(keys_session_for(settings))
    token = internal_token(settings.internal_token, config.master_key)
    stored = StoredUpstreams(upstreams, keys_session, settings.keys_url, token, os.environ)

    async def bring(refs: Sequence[str]) -> None:
        if any(VERSIONED not in ref and stored.get(ref) is None for ref in refs):
            # keys may have read a new file before this process did.
            await reloader.look()
        await stored.bring(refs)

    relay = Relay(
        pools,
        stored,
        first_byte_timeout_s=settings.upstream_first_byte_timeout_s,
        idle_timeout_s=settings.upstream_idle_timeout_s,
        total_timeout_s=settings.upstream_total_timeout_s,
        bring=bring,
    )
    reloader = Reloader(
        config,
        lambda found: build(found, os.environ),
        lambda found: _replace(stored, relay, found),
        os.environ,
    )
    await stack.enter_async_context(owned_task(reloader.run(), "reload", died))
    management = Management(keys_session, settings.keys_url, policy)
    discovery = Discovery(pools, stored, bring) if settings.discover_models else None
    if discovery is not None:
        stack.callback(discovery.close)
    admission = Admission(policy, config.master_key)
    note = telemetry.shedding(settings.refusals_logged_per_s, time.monotonic)
    gateway = Gateway(policy, admission, relay, management, settings, discovery, note)
    IN_FLIGHT.set_function(lambda: gateway.load.in_flight)

    if settings.abort_streams:
        courier.subscribe(subjects.APPLIED, gateway.revocations.heard)
        watching = owned_task(gateway.revocations.run(), "revocations", died)
        await stack.enter_async_context(watching)

    if certificate is not None:
        await stack.enter_async_context(owned_task(certificate.run(), "certificate", died))

    def leave() -> None:
        gateway.is_stopping = True
        readiness.set("port", False, "stopping")

    await stack.enter_async_context(
        public_port(
            StrictServer(
                gateway.handle,
                stall_s=settings.client_stall_timeout_s,
                most_per_address=settings.max_connections_per_address,
                note=note,
            ),
            settings.gateway_host,
            settings.gateway_port,
            drain_s=settings.drain_s,
            drain_delay_s=settings.drain_delay_s,
            tls=None if certificate is None else certificate.context,
            on_stopping=leave,
        )
    )
    readiness.set("port", True)


def _replace(stored: StoredUpstreams, relay: Relay, found: Upstreams) -> None:
    """Put a new file's upstreams into use; the old file's stay known for a while."""
    gone = stored.declare(found)
    relay.forget()

    def drop() -> None:
        stored.drop(gone)
        relay.forget()

    asyncio.get_running_loop().call_later(_REPLACED_S, drop)


@contextmanager
def upstream_pools(settings: Settings) -> Iterator[Pools]:
    """The connections to upstreams, with the environment's HTTP(S)_PROXY and NO_PROXY.

    Raises ConfigError when a proxy or the certificates to trust cannot be used.
    """
    environment = urllib.request.getproxies_environment()
    pools = Pools(
        tls=_upstream_tls(settings),
        connect_timeout_s=settings.connect_timeout_s,
        keep_idle_s=_UPSTREAM_IDLE_S,
        most=settings.upstream_max_connections,
        proxies=Proxies(
            {scheme: environment.get(scheme, "") for scheme in ("http", "https")},
            lambda host: bool(urllib.request.proxy_bypass(host)),
        ),
        reach=Reach(settings.allow_private_upstreams),
    )
    try:
        yield pools
    finally:
        pools.close()


def _upstream_tls(settings: Settings) -> UpstreamTls:
    with usable("upstream_ca_file", TRUSTED):
        return UpstreamTls(settings.upstream_ca_file)


def keys_session_for(settings: Settings) -> aiohttp.ClientSession:
    """Connections to keys; a request is sent once and never repeated."""
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_MANAGEMENT_S, sock_connect=settings.connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
    # aiohttp repeats a PUT or DELETE whose connection was lost: one that was carried out would
    # be answered 404. It has no public switch for this.
    session._retry_connection = False  # noqa: SLF001
    return session


async def _watch(policy: Policy, readiness: Readiness) -> None:
    """Keep readiness honest about whether anyone decides."""
    while True:
        try:
            await policy.ping()
        except PolicyUnavailable as problem:
            readiness.set("policy", False, str(problem))
        else:
            readiness.set("policy", True)
        await asyncio.sleep(_POLICY_EVERY_S)
