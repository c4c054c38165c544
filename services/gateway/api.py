"""Every request to the public port, from its first check to its last byte."""

import os
import time
from contextlib import suppress
from functools import partial

import structlog

from services.gateway import answers, headers, requests, telemetry
from services.gateway.about import PUBLIC, About
from services.gateway.admission import Admission, Caller, Policy
from services.gateway.answers import Stamp
from services.gateway.discovery import Discovery
from services.gateway.errors import PolicyUnavailable, Rejected
from services.gateway.headers import Inbound
from services.gateway.load import Load, Note
from services.gateway.management import MAX_BODY, Management
from services.gateway.model_lists import ModelLists
from services.gateway.refusals import SHAPES, message_for, shown
from services.gateway.relay import Relay
from services.gateway.request_reader import Incoming
from services.gateway.revocations import Revocations
from services.gateway.routes import Kind, Route, dialect_at, dialect_of, resolve
from services.gateway.streaming import Streamed, pass_on
from services.gateway.uploads import comes_soon, is_large, read_body, too_large
from services.gateway.whole import Whole
from shared.decisions import Allow, Deny, DenyReason, Listing
from shared.limiter import Limiter
from shared.settings import Settings

log = structlog.get_logger()

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLIENT_LEFT = 499
"""nginx's word for it: logged when the client was gone before any status was known."""


class Gateway:
    """The handler of the public port."""

    def __init__(
        self,
        policy: Policy,
        admission: Admission,
        relay: Relay,
        management: Management,
        settings: Settings,
        discovery: Discovery | None = None,
        note: Note = lambda _: None,
    ) -> None:
        """Put the parts together; `note` hears of shed load, `is_stopping` is set to leave."""
        self._policy = policy
        self._admission = admission
        self._relay = relay
        self._management = management
        self._lists = ModelLists(admission, management, discovery)
        self._about = About(management.describe, policy, clock=time.monotonic)
        self._settings = settings
        self._write_line = telemetry.writer(settings.log_level, settings.log_format)
        per_s = settings.refusals_logged_per_s
        self._write_unknown = telemetry.limited(self._write_line, Limiter(per_s), time.monotonic)
        self._warn_unavailable = telemetry.unavailable(per_s, time.monotonic)
        self.load = Load(settings.max_requests, settings.max_requests_per_key, note)
        self.is_stopping = False
        self.revocations = Revocations(admission.look_up, policy.ping, clock=time.monotonic)
        """The streams in flight; its `run` ends those whose caller may not have them any more."""

    async def handle(self, request: Incoming) -> Whole | Streamed:
        """Answer one request; whatever goes wrong on the way has an answer of its own."""
        stamp = Stamp(os.urandom(16).hex())
        route: Route | None = None
        try:
            inbound = headers.read(request.headers)
            stamp.request_id = inbound.request_id or stamp.request_id
            if not request.is_spoken:
                raise Rejected(505, "HTTP/1.1 is spoken here.", closes=True)  # noqa: TRY301
            headers.check_framing(inbound, request.method, has_body=request.has_body)
            route = resolve(request.method, request.target)
            stamp.dialect = dialect_of(route, speaks_anthropic=inbound.speaks_anthropic)
            response = await self._dispatch(request, route, inbound, stamp)
        except Rejected as rejected:
            if route is None:
                stamp.dialect = dialect_at(request.target)
            stamp.seen(self._policy.floor)
            response = answers.rejected(stamp, rejected)
            response.closes = rejected.closes
        except PolicyUnavailable:
            self._warn_unavailable({"request_id": stamp.request_id})
            stamp.seen(self._policy.floor)
            response = answers.unavailable(stamp)
        telemetry.answered(route, response.status)
        return response

    async def _dispatch(
        self, request: Incoming, route: Route, inbound: Inbound, stamp: Stamp
    ) -> Whole | Streamed:
        if route.kind in PUBLIC:
            return await self._about.answer(route.kind, stamp, is_stopping=self.is_stopping)
        self.load.enter()
        try:
            return await self._serve(request, route, inbound, stamp)
        finally:
            self.load.leave()

    async def _serve(
        self, request: Incoming, route: Route, inbound: Inbound, stamp: Stamp
    ) -> Whole | Streamed:
        if route.kind is Kind.INFERENCE:
            caller = self._caller(inbound)
            self.load.enter_key(caller.key)
            try:
                return await self._infer(request, route, inbound, caller, stamp)
            finally:
                self.load.leave_key(caller.key)
        if route.kind is Kind.MODELS:
            return await self._list_models(route, inbound, stamp)
        if route.kind is Kind.MODEL:
            return await self._get_model(route, inbound, stamp)
        return await self._manage(request, route, inbound, stamp)

    async def _infer(
        self,
        request: Incoming,
        route: Route,
        inbound: Inbound,
        caller: Caller,
        stamp: Stamp,
    ) -> Whole | Streamed:
        """One model request: who, what, may they, and only then on to an upstream."""
        body = await self._read_body(request, route, inbound, caller, stamp)
        if isinstance(body, Whole):
            return body
        begun = time.perf_counter()
        decision = await self._admission.authorize(caller, body.model, route.path)
        seconds = time.perf_counter() - begun
        if isinstance(decision, Deny):
            return self._refuse(decision, route, body.model, stamp, seconds)
        allow = decision.allow
        stamp.revision = allow.revision
        stamp.retires_at = allow.retires_at
        status = _CLIENT_LEFT
        try:
            upstream = await self._relay.send(decision, route, inbound, body)
            status = upstream.status
            stamp.deployment = upstream.deployment
        except Rejected as rejected:
            status = rejected.status
            raise
        finally:
            telemetry.decided(
                self._write_line,
                stamp,
                route,
                allow,
                model=body.model,
                status=status,
                seconds=seconds,
            )
        watch = partial(self.revocations.watched, caller, body.model, route.path, allow.revision)
        return await pass_on(request, upstream, stamp, watch)

    def _caller(self, inbound: Inbound) -> Caller:
        """Who asks, from the headers alone. Raises Rejected."""
        return Caller(self._admission.identify(headers.caller_key(inbound)), inbound.floor())

    async def _read_body(
        self,
        request: Incoming,
        route: Route,
        inbound: Inbound,
        caller: Caller,
        stamp: Stamp,
    ) -> requests.JsonBody | requests.FormBody | Whole:
        """The body with its model read, or the refusal of a caller who is not to send it."""
        boundary = requests.check_content_type(route.body, inbound.fields.get("content-type"))
        size = request.content_length
        limit = self._settings.max_body_bytes
        if size is not None and size > limit:
            raise too_large(limit)
        ask_first = await self._asks_first(request, inbound, limit)
        if ask_first:
            refusal = await self._refuse_account(caller, route, stamp)
            if refusal is not None:
                return refusal
        try:
            data = await self._read_bytes(request, inbound, limit)
            body = requests.read(boundary, data, route.model)
            if route.query_model is not None and route.query_model != body.model:
                message = "The query and the body name different models."
                raise Rejected(400, message, param="model")  # noqa: TRY301
        except Rejected:
            # Whoever may not be here at all is told that, not what is wrong with their body.
            refusal = None if ask_first else await self._refuse_account(caller, route, stamp)
            if refusal is not None:
                return refusal
            raise
        return body

    async def _asks_first(self, request: Incoming, inbound: Inbound, limit: int) -> bool:
        """Whether the key is asked about before a body is read: it is large, or does not come."""
        if "expect" in inbound.fields or is_large(request):
            return True
        if request.is_complete:
            return False
        time_s = self._settings.body_timeout_s
        return not await comes_soon(request, limit=limit, timeout_s=time_s)

    async def _read_bytes(self, request: Incoming, inbound: Inbound, limit: int) -> bytes:
        if "expect" in inbound.fields and not request.is_old and not request.is_complete:
            request.client.write(_CONTINUE)
        return await read_body(request, limit=limit, timeout_s=self._settings.body_timeout_s)

    async def _refuse_account(self, caller: Caller, route: Route, stamp: Stamp) -> Whole | None:
        """The refusal of a caller who may not use this route with any model, else None."""
        begun = time.perf_counter()
        answer = await self._admission.account(caller, route.path)
        if isinstance(answer, Deny):
            return self._refuse(answer, route, None, stamp, time.perf_counter() - begun)
        return None

    def _refuse(
        self, deny: Deny, route: Route, asked: str | None, stamp: Stamp, seconds: float
    ) -> Whole:
        """The answer to a denied request, logged."""
        shape = SHAPES[deny.reason]
        stamp.revision = deny.revision
        stamp.reason = deny.reason.value
        write = self._write_unknown if deny.reason is DenyReason.KEY_UNKNOWN else self._write_line
        telemetry.decided(
            write, stamp, route, deny, model=asked, status=shape.status, seconds=seconds
        )
        message = message_for(
            deny,
            asked=asked or "",
            route=route.path,
            list_entries=self._settings.list_models,
        )
        return answers.error(stamp, shape.status, message, kind=shape.kind, param=shape.param)

    async def _list_models(self, route: Route, inbound: Inbound, stamp: Stamp) -> Whole:
        caller = self._caller(inbound)
        begun = time.perf_counter()
        answer = await self._lists.find(caller, route, inbound, stamp)
        seconds = time.perf_counter() - begun
        if isinstance(answer, Deny):
            return self._refuse(answer, route, None, stamp, seconds)
        stamp.revision = answer.revision
        stamp.retires_at = answer.retires_at
        telemetry.decided(
            self._write_line, stamp, route, answer, model=None, status=200, seconds=seconds
        )
        return answers.model_list(stamp, answer.models)

    async def _get_model(self, route: Route, inbound: Inbound, stamp: Stamp) -> Whole:
        """One model of the list: a name is decided on, a pattern is looked up in the list."""
        caller = self._caller(inbound)
        name = route.model or ""
        begun = time.perf_counter()
        answer: Allow | Listing | Deny
        if "*" in name:
            answer = await self._admission.listing(caller, route.path)
            is_there = isinstance(answer, Listing) and name in answer.models
        else:
            answer = await self._admission.look_up(caller, name, route.path)
            is_there = isinstance(answer, Allow)
        seconds = time.perf_counter() - begun
        if isinstance(answer, Deny) and SHAPES[answer.reason].param != "model":
            return self._refuse(answer, route, name, stamp, seconds)
        stamp.revision = answer.revision
        if isinstance(answer, Deny):
            stamp.reason = answer.reason.value
        else:
            stamp.retires_at = answer.retires_at
        status = 200 if is_there else 404
        telemetry.decided(
            self._write_line, stamp, route, answer, model=name, status=status, seconds=seconds
        )
        if not is_there:
            # The same words for what is not there and what is not theirs.
            message = f"The model `{shown(name)}` does not exist or is not accessible"
            return answers.error(stamp, 404, message, kind="invalid_request_error", param="model")
        return answers.json_answer(stamp, answers.model_entry(stamp.dialect, name))

    async def _manage(
        self, request: Incoming, route: Route, inbound: Inbound, stamp: Stamp
    ) -> Whole:
        # Refused here when it cannot be a key, so that keys is not asked for nothing.
        caller = Caller(self._admission.identify(headers.caller_key(inbound)), 0)
        limit = min(MAX_BODY, self._settings.max_body_bytes)
        if (request.content_length or 0) > limit:
            raise too_large(limit)
        if not request.is_complete and await self._asks_first(request, inbound, limit):
            with suppress(PolicyUnavailable):  # which is no reason to refuse what keys can answer
                answer = await self._admission.account(caller, route.path)
                if isinstance(answer, Deny) and answer.reason is DenyReason.KEY_UNKNOWN:
                    return self._refuse(answer, route, None, stamp, 0.0)
        body = await self._read_bytes(request, inbound, limit)
        return await self._management.forward(request.method, route, inbound, body, stamp)
