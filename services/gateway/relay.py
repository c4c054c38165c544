"""Sends what was admitted to an upstream and brings the answer back as it arrives.

`Relay.send` takes the proof of a decision; there is no other way for a request to an upstream.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

import structlog

from services.gateway.admission import Admitted
from services.gateway.answer import Answer, Broken, ConnectTimeout, Unreachable
from services.gateway.errors import Rejected
from services.gateway.headers import Inbound
from services.gateway.line import Line, Upstream
from services.gateway.pool import Pools
from services.gateway.requests import FormBody, JsonBody, Rendered
from services.gateway.routes import Dialect, Route
from services.gateway.target import target_of

log = structlog.get_logger()

_AT_ONCE = 256 * 1024
"""Bytes of a request that are written at once; a longer one goes in slices of this."""

_BRING_S = 0.25
"""How long a request that can be served waits for deployments that are not known here yet."""

_MAX_MEMO = 4096
_SAME_FILE = "give every gateway and keys replica the same configuration file"
_ROUTE_FOR: Mapping[Dialect, str] = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


class Upstreams(Protocol):
    """Every configured upstream, by deployment."""

    def get(self, deployment_id: str) -> Upstream | None:
        """The upstream of a deployment, or None when this gateway's file does not have it."""
        ...


class Relay:
    """The way to every upstream, over pooled connections that know no caller."""

    def __init__(
        self,
        pools: Pools,
        upstreams: Upstreams,
        *,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
        total_timeout_s: float | None = None,
        bring: Callable[[tuple[str, ...]], Coroutine[None, None, None]] | None = None,
    ) -> None:
        """Send through `pools`, which their maker closes.

        `bring` makes `upstreams` know deployments that they may not know yet.
        """
        self._pools = pools
        self._upstreams = upstreams
        self._bring = bring
        self._first_byte_timeout_s = first_byte_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._total_timeout_s = total_timeout_s
        self._bringing: set[asyncio.Future[None]] = set()
        self._turns: dict[tuple[str, ...], int] = {}
        self._lines: dict[tuple[str, str, str], Line] = {}

    def forget(self) -> None:
        """Keep nothing of upstreams that are no longer configured."""
        self._lines.clear()

    async def send(
        self, admitted: Admitted, route: Route, inbound: Inbound, body: JsonBody | FormBody
    ) -> Answer:
        """The upstream's answer from its head on: read it, then close it.

        Tries the allowed deployments in turn while no connection can be made. Raises Rejected:
        400 when none speaks the route's API, 502 and 504 when none answers, 503 when this gateway
        does not know what was decided.
        """
        problem: Unreachable | None = None
        ids = admitted.allow.deployments
        if self._bring is not None and None in map(self._upstreams.get, ids):
            is_needed = not any(map(self._upstreams.get, ids))
            await self._bring_missing(self._bring(ids), is_needed=is_needed)
        for upstream in self._in_turn(admitted, route.dialect):
            line = self._line(upstream, route.suffix, admitted.allow.model)
            try:
                return await self._send_to(line, body.render(line.model), inbound)
            # Nothing of the request was sent, so another deployment may have it.
            except Unreachable as error:
                problem = error
                cause = type(error.__cause__ or error).__name__
                log.warning("upstream_unreachable", deployment=upstream.id, problem=cause)
        if isinstance(problem, ConnectTimeout):
            raise timed_out()
        raise broken(because="The upstream provider cannot be reached.")

    async def _bring_missing(self, bring: Coroutine[None, None, None], *, is_needed: bool) -> None:
        """Wait until the missing deployments are known, unless others can serve meanwhile.

        Whoever is asked for them may be away: then one request waits, and not for long.
        """
        if is_needed:
            await bring
            return
        is_first = not self._bringing
        bringing = asyncio.ensure_future(bring)
        self._bringing.add(bringing)
        bringing.add_done_callback(self._bringing.discard)
        if is_first:
            await asyncio.wait({bringing}, timeout=_BRING_S)

    def _in_turn(self, admitted: Admitted, dialect: Dialect) -> list[Upstream]:
        """The allowed deployments that speak this dialect, each request beginning one further."""
        ids = admitted.allow.deployments
        if len(ids) == 1:
            only = self._upstreams.get(ids[0])
            if only is not None and only.speaks == dialect:
                return [only]
        known = [found for found in map(self._upstreams.get, ids) if found is not None]
        if len(known) < len(ids):
            missing = [each for each in ids if self._upstreams.get(each) is None]
            log.error("deployment_unknown", deployments=missing, cure=_SAME_FILE)
        if not known:
            raise _mismatch()
        able = [upstream for upstream in known if upstream.speaks == dialect]
        if not able:
            message = f"This model is not served on this route; use {_ROUTE_FOR[known[0].speaks]}."
            raise Rejected(400, message, param="model")
        if len(able) == 1:
            return able
        if len(self._turns) > _MAX_MEMO:
            self._turns.clear()
        turn = self._turns.get(ids, 0)
        self._turns[ids] = turn + 1
        first = turn % len(able)
        return able[first:] + able[:first]

    async def _send_to(self, line: Line, rendered: Rendered, inbound: Inbound) -> Answer:
        upstream = line.upstream
        try:
            answer = await self._pools.exchange(
                line.target,
                _pieces(line.head(inbound, rendered), rendered),
                first_byte_s=upstream.timeout_s or self._first_byte_timeout_s,
                idle_s=self._idle_timeout_s,
                total_s=self._total_timeout_s,
            )
        except TimeoutError:
            log.warning("upstream_timeout", deployment=upstream.id)
            raise timed_out() from None
        except Broken as error:
            log.warning("upstream_broke_off", deployment=upstream.id, problem=str(error))
            raise broken(because="The upstream provider broke off before it answered.") from None
        _check_status(upstream, answer)
        answer.secrets = line.secrets
        answer.deployment = line.deployment
        return answer

    def _line(self, upstream: Upstream, suffix: str, requested: str) -> Line:
        """The line for the model that was asked for. Raises Rejected (503): it is not there."""
        found = self._lines.get((upstream.id, suffix, requested))
        # An id may have got another address meanwhile: a credential goes to its own alone.
        if found is None or found.upstream is not upstream:
            model = _name_at(upstream, requested)
            url = upstream.url_for(suffix, model)
            target = target_of(upstream.id, url, is_checked=upstream.is_stored)
            found = Line(upstream, model, target, self._pools.request_target(target))
            if self._upstreams.get(upstream.id) is upstream:
                if len(self._lines) >= _MAX_MEMO:
                    self._lines.clear()
                self._lines[upstream.id, suffix, requested] = found
        return found


def _pieces(head: bytes, rendered: Rendered) -> list[bytes | memoryview]:
    """The request as it is written: whole when it is small, else in slices."""
    if len(rendered.pieces) == 1 and rendered.length <= _AT_ONCE:
        return [head + rendered.pieces[0]]
    pieces: list[bytes | memoryview] = [head]
    for piece in rendered.pieces:
        view = memoryview(piece)
        pieces += [view[start : start + _AT_ONCE] for start in range(0, len(view), _AT_ONCE)]
    return pieces


def _name_at(upstream: Upstream, model: str) -> str:
    try:
        return upstream.upstream_model(model)
    except ValueError:
        log.error("deployment_serves_another_name", deployment=upstream.id, cure=_SAME_FILE)  # noqa: TRY400
        raise _mismatch() from None


def _mismatch() -> Rejected:
    message = "This gateway does not know the model's deployment. The operator has been told."
    return Rejected(503, message, kind="configuration_mismatch", headers=(("retry-after", "5"),))


def _check_status(upstream: Upstream, answer: Answer) -> None:
    """Keep from the client what is between the gateway and its upstream. Raises Rejected (502)."""
    status = answer.status
    if status in (401, 403, 407):
        answer.close()
        log.error("upstream_refused_credential", deployment=upstream.id, status=status)
        raise broken(because="The upstream provider refused the gateway; its operator was told.")
    if 300 <= status < 400:  # noqa: PLR2004
        answer.close()
        log.error("upstream_redirected", deployment=upstream.id, status=status)
        raise broken(because="The upstream provider gave an answer that cannot be passed on.")


def broken(*, because: str) -> Rejected:
    """502: the upstream failed, in words that tell nothing of it."""
    return Rejected(502, because, kind="upstream_error")


def timed_out() -> Rejected:
    """504: the upstream did not answer in time."""
    return Rejected(504, "The upstream provider did not answer in time.", kind="upstream_timeout")
