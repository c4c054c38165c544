"""The management API over HTTP: LiteLLM's paths, for whoever the table of roles lets in."""

import hmac
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Protocol

import msgspec
import structlog
from aiohttp import web

from services.keys import callers, incoming, once, openapi
from services.keys.callers import Caller
from services.keys.endpoints import READS, WRITES, Read, Write
from services.keys.errors import Conflict, ManagementError, Unavailable
from services.keys.incoming import Refused, unauthorised
from services.keys.json_body import read_object
from services.keys.management import Context, Plan
from services.keys.reading import read_body, read_query
from services.keys.replies import envelope, http_error, json_reply, management_error, raw_reply
from services.keys.requests import IDEMPOTENCY_KEY
from services.keys.state import Once, State
from services.keys.vault import Unreadable, Vault
from shared.addresses import PUBLIC, Reach
from shared.credentials import Secret, is_wellformed
from shared.http import where

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Committed(Protocol):
    """What became of a plan. `propagation` is `enforced` or `pending`."""

    @property
    def plan(self) -> Plan:
        """The plan as it was committed."""

    @property
    def revision(self) -> int:
        """The revision it is in."""

    @property
    def propagation(self) -> str:
        """Whether it is in force everywhere."""


class Journal(Protocol):
    """What the API needs of the change log."""

    @property
    def state(self) -> State:
        """The state as far as this process knows it."""

    async def current(self) -> State:
        """Give the state at the log's head. Raises Unavailable."""

    async def commit(
        self,
        plan: Callable[[State], Plan],
        *,
        actor: str,
        request_id: str,
        wait: bool = True,
    ) -> Committed:
        """Commit what `plan` makes of the head, and wait for its force unless told not to.

        Raises what `plan` raises, Unavailable, TooLarge.
        """


REQUEST_ID = web.RequestKey("request_id", str)
RETIRES_AT = web.RequestKey("retires_at", float)
"""Where a request carries its id: the caller's when it is harmless, else a new one."""

_HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class ManagementApi:
    """The management routes, and the middleware that gives every answer its shape."""

    def __init__(
        self,
        journal: Journal,
        master_key: Secret,
        *,
        clock: Callable[[], float],
        choose: Callable[[str], str],
        new_id: Callable[[], str],
        vault: Vault,
        reach: Reach = PUBLIC,
    ) -> None:
        """`clock` gives epoch seconds, `choose` an unpredictable character, `new_id` a UUID."""
        self._journal = journal
        self._master = master_key.digest()
        self._clock = clock
        self._choose = choose
        self._new_id = new_id
        self._vault = vault
        self._reach = reach
        self._answers = once.Answers(clock)

    def routes(self) -> list[web.RouteDef]:
        """Every management route. Fixed paths go before those with a name in them."""
        described = openapi.document(version("grantgate"))

        async def describe(_: web.Request) -> web.Response:
            return raw_reply(200, described)

        found = [
            web.get("/openapi.json", describe, allow_head=False),
            *(web.route(write.method, write.path, self._writing(write)) for write in WRITES),
            *(web.route(read.method, read.path, self._reading(read)) for read in READS),
        ]
        return sorted(found, key=lambda route: "{" in route.path)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every failure into the error envelope, and name the request in every answer."""
        sent = request.headers.get("x-request-id", "")
        request_id = sent if _HARMLESS_ID.fullmatch(sent) else self._new_id()
        request[REQUEST_ID] = request_id
        try:
            response = await handler(request)
        except ManagementError as error:
            response = management_error(error)
        except Refused as error:
            response = envelope(error.status, error.error_type, error.message, error.param)
        except web.HTTPException as error:
            response = http_error(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote a secret
            problem = type(error).__name__
            log.error(  # noqa: TRY400
                "request_failed", request_id=request_id, problem=problem, where=where(error)
            )
            response = envelope(500, "internal_server_error", "Internal Server Error")
        if not response.prepared:
            response.headers["x-request-id"] = request_id
            response.headers.setdefault("x-grantgate-revision", str(self._journal.state.rev))
            if RETIRES_AT in request:
                at = datetime.fromtimestamp(request[RETIRES_AT], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                response.headers["x-grantgate-key-retires-at"] = at
        return response

    def _writing(self, write: Write) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            digest, caller = await self._authorise(request, write.call)
            wait = incoming.wait_asked(request)
            least = incoming.least_revision(request)
            raw = await incoming.read(request)
            members = {} if write.may_be_empty and not raw else read_object(raw)
            body, ignored = read_body(
                incoming.with_path(members, request, write.named), write.request
            )
            key = request.headers.get(IDEMPOTENCY_KEY)
            named = once.named(key, digest, f"{write.method} {request.path}", raw)

            def plan(state: State) -> Plan:
                _check_reached(state, least)
                if named is not None:
                    once.check_not_done(named, state.done(named))
                made = write.plan(state, body, self._context(state, request, digest, write.call))
                return msgspec.structs.replace(made, once=named)

            asked_for = incoming.changed_by(request) if caller.is_admin else ""
            actor = f"{caller.name} for {asked_for}" if asked_for else caller.name
            if named is None:
                committed = await self._commit(plan, actor, request, wait=wait)
                return _committed(committed, write.status, ignored)

            async def carry_out() -> web.Response:
                async with self._answers.turn(named):
                    try:
                        committed = await self._commit(plan, actor, request, wait=wait)
                    except once.AlreadyDone as done:
                        return await self._again(named, done.revision, request, wait=wait)
                    response = _committed(committed, write.status, ignored)
                    body_sent = response.body if isinstance(response.body, bytes) else b""
                    self._answers.keep(named, write.status, body_sent)
                    return response

            return await self._answers.to_its_end(carry_out())

        return handle

    async def _commit(
        self, plan: Callable[[State], Plan], actor: str, request: web.Request, *, wait: bool
    ) -> Committed:
        request_id = request[REQUEST_ID]
        return await self._journal.commit(plan, actor=actor, request_id=request_id, wait=wait)

    async def _again(
        self, named: Once, revision: int, request: web.Request, *, wait: bool
    ) -> web.Response:
        """Answer a write that was carried out before as it was answered then."""
        status, body = self._answers.again(named, revision)
        nothing = Plan(writes=(), answer={}, reason="again")
        committed = await self._commit(lambda _: nothing, "", request, wait=wait)
        headers = {
            "x-grantgate-revision": str(committed.revision),
            "x-grantgate-propagation": committed.propagation,
            "x-grantgate-replayed": "true",
        }
        is_enforced = committed.propagation == "enforced"
        return raw_reply(status if is_enforced else 202, body, headers)

    def _reading(self, read: Read) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            digest, _ = await self._authorise(request, read.call)
            if read.method == "GET":
                values = incoming.query_values(request)
                query = read_query(incoming.with_path(values, request, read.named), read.request)
            else:
                incoming.check_query(request)
                raw = await incoming.read(request)
                query, _ = read_body(read_object(raw) if raw else {}, read.request)
            least = incoming.least_revision(request)
            state = await self._journal.current()
            _check_reached(state, least)
            answer = read.look(state, query, self._context(state, request, digest, read.call))
            return json_reply(200, answer, {"x-grantgate-revision": str(state.rev)})

        return handle

    def _context(self, state: State, request: web.Request, digest: bytes, call: str) -> Context:
        """Who asks and what a plan needs, as of this state. Raises what `identify` raises."""
        now = self._clock()
        caller = callers.MASTER
        if digest != self._master:
            caller = callers.identify(state, digest, call, request.path, now)
        return Context(
            now=now,
            # Only who may do everything may say that it is for somebody else.
            actor=(caller.is_admin and incoming.changed_by(request)) or caller.name,
            choose=self._choose,
            new_id=self._new_id,
            reserved=frozenset({self._master}),
            caller=caller,
            seal=self._vault.seal,
            unseal=self._unseal,
            reach=self._reach,
        )

    def _unseal(self, record: str, sealed: bytes) -> bytes:
        try:
            return self._vault.open(record, sealed)
        except Unreadable as error:
            msg = (
                "The stored credentials of this model cannot be opened: GRANTGATE_SALT_KEY is not"
                " what it was when they were stored. Delete the model and make it again"
            )
            raise Conflict(msg, "litellm_params") from error

    async def _authorise(self, request: web.Request, call: str) -> tuple[bytes, Caller]:
        """Give who calls, when they may make such calls. Raises Refused, Denied, MayNotCall."""
        secret = incoming.credential(request)
        digest = secret.digest()
        if hmac.compare_digest(digest, self._master):
            return self._master, callers.MASTER
        if not is_wellformed(secret.reveal()):
            msg = "Malformed API Key passed in. Keys start with 'sk-'."
            raise unauthorised(msg)
        # Looked at again when the call is carried out: they may have lost the right by then.
        state = await self._journal.current()
        caller = self._context(state, request, digest, call).caller
        if digest in state.retired:
            request[RETIRES_AT] = state.retired[digest].until
        return digest, caller


def _check_reached(state: State, least: int) -> None:
    """Raise Unavailable when the log is not as far as the caller has seen it."""
    if state.rev < least:
        msg = f"the log of changes is at revision {state.rev}, not yet at {least}; try again"
        raise Unavailable(msg)


def _committed(committed: Committed, status: int, ignored: tuple[str, ...]) -> web.Response:
    """Answer a write with `status` once it is in force, else with 202."""
    headers = {
        "x-grantgate-revision": str(committed.revision),
        "x-grantgate-propagation": committed.propagation,
    }
    given = status if committed.propagation == "enforced" else web.HTTPAccepted.status_code
    if status == web.HTTPNoContent.status_code:
        return raw_reply(given, b"", headers)
    answer = committed.plan.answer
    if ignored:
        warnings = answer.get("warnings", [])
        kept = warnings if isinstance(warnings, list) else ()
        answer = {**answer, "warnings": [*ignored, *kept]}
    return json_reply(given, answer, headers)
