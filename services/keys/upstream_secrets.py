"""Where stored models lead, for gateways: the one way their credentials leave keys."""

from typing import Protocol

import msgspec
import structlog
from aiohttp import web

from services.keys.model_management import upstream_of
from services.keys.state import State
from services.keys.vault import Unreadable, Vault
from shared.catalogue import VERSIONED
from shared.credentials import Secret
from shared.http import guarded

log = structlog.get_logger()


class Journal(Protocol):
    """What is read: the state at the log's head."""

    async def current(self) -> State:
        """Give the state at the log's head. Raises Unavailable."""


def routes(journal: Journal, vault: Vault, token: Secret | None) -> list[web.RouteDef]:
    """`/internal/upstream?id=&version=`, for the internal token's holders.

    A version that is no longer, or not yet, the stored one is a 404.
    """

    async def upstream(request: web.Request) -> web.Response:
        model_id, version = request.query.get("id", ""), request.query.get("version", "")
        record = (await journal.current()).models.get(model_id)
        if record is None or record.grant.ref != f"{model_id}{VERSIONED}{version}":
            raise web.HTTPNotFound
        try:
            params = vault.open(model_id, record.details.sealed)
        except Unreadable:
            log.error("credentials_unreadable", model=model_id, cure="restore GRANTGATE_SALT_KEY")  # noqa: TRY400
            raise web.HTTPNotFound from None
        body = msgspec.json.encode(upstream_of(record, params))
        return web.Response(body=body, content_type="application/json")

    return [web.get("/internal/upstream", guarded(upstream, token), allow_head=False)]
