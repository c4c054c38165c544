"""What upstreams say they serve: `GET /models` of a deployment, asked seldom and never trusted.

A name from an upstream is a question to policy, nothing more. Whatever goes wrong here is "not
known", so that the deployment lists as its pattern; no failure reaches a client.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import structlog

from services.gateway.answer import Answer, Broken, Unreachable
from services.gateway.pool import Pools
from services.gateway.target import target_of
from services.gateway.upstreams import Upstream
from shared.catalogue import MAX_ENTRY
from shared.decisions import MAX_OFFERED
from shared.decoding import UNDECODABLE
from shared.upstream_checks import VISIBLE

log = structlog.get_logger()

KEPT_S = 300.0
"""How long an upstream's list is taken for what it serves."""

FAILED_S = 30.0
"""How long an upstream that gave no list is not asked again."""

LIMIT_S = 5.0
"""The longest a client's list waits for upstreams."""

_MAX_BODY = 4 * 1024 * 1024
_MAX_KNOWN = 256
_OK = 200


class Upstreams(Protocol):
    """Every upstream known here, by the ref a decision names its deployment with."""

    def get(self, ref: str) -> Upstream | None:
        """The upstream, or None."""
        ...


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    """OpenAI's list of models and Anthropic's alike. `has_more`: it is not the whole list."""

    data: list[_Model]
    has_more: bool | None = None


class _Known(NamedTuple):
    names: tuple[str, ...] | None
    until: float


class _NotAList(Exception):
    """The upstream's answer tells nothing; the text says why, without anything it sent."""


_decode = msgspec.json.Decoder(_Models).decode


class Discovery:
    """The names each deployment has, as they are asked for here. Remembered, and bounded."""

    def __init__(
        self,
        pools: Pools,
        upstreams: Upstreams,
        bring: Callable[[Sequence[str]], Awaitable[None]] | None = None,
        *,
        limit_s: float = LIMIT_S,
        kept_s: float = KEPT_S,
        failed_s: float = FAILED_S,
    ) -> None:
        """Ask through `pools`; `bring` makes `upstreams` know deployments they may not know."""
        self._pools = pools
        self._upstreams = upstreams
        self._bring = bring
        self._limit_s = limit_s
        self._kept_s = kept_s
        self._failed_s = failed_s
        # By the upstream itself: one that leads elsewhere now is another question.
        self._known: dict[Upstream, _Known] = {}
        self._asking: dict[Upstream, asyncio.Task[tuple[str, ...] | None]] = {}

    def close(self) -> None:
        """Ask no further."""
        for task in self._asking.values():
            task.cancel()

    async def names(self, refs: Iterable[str]) -> Mapping[str, tuple[str, ...] | None]:
        """The names clients can ask for at each deployment; None where that is not known."""
        wanted = tuple(dict.fromkeys(refs))
        try:
            async with asyncio.timeout(self._limit_s):
                if self._bring is not None:
                    await self._bring(wanted)
                found = await asyncio.gather(*map(self._names_at, wanted))
        except TimeoutError:
            # What has come in meanwhile counts; the others go on for whoever asks next.
            found = [self._remembered(ref) for ref in wanted]
        return dict(zip(wanted, found, strict=True))

    def _remembered(self, ref: str) -> tuple[str, ...] | None:
        upstream = self._upstreams.get(ref)
        known = None if upstream is None else self._known.get(upstream)
        return None if known is None else known.names

    async def _names_at(self, ref: str) -> tuple[str, ...] | None:
        """One request for all who wait for the same list; it goes on when one of them leaves."""
        upstream = self._upstreams.get(ref)
        if upstream is None or upstream.models_url is None:
            return None
        known = self._known.get(upstream)
        if known is not None and asyncio.get_running_loop().time() < known.until:
            return known.names
        task = self._asking.get(upstream)
        if task is None:
            task = self._asking[upstream] = asyncio.ensure_future(self._ask(upstream))
            task.add_done_callback(lambda _: self._asking.pop(upstream, None))
        return await asyncio.shield(task)

    async def _ask(self, upstream: Upstream) -> tuple[str, ...] | None:
        names: tuple[str, ...] | None = None
        try:
            async with asyncio.timeout(2 * self._limit_s):
                names = _requested_names(upstream, await self._fetch(upstream))
        except (_NotAList, Unreachable, Broken, TimeoutError) as error:
            problem = str(error) or type(error).__name__
            log.warning("models_not_discovered", deployment=upstream.id, problem=problem)
        keep_s = self._failed_s if names is None else self._kept_s
        self._known.pop(upstream, None)
        if len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[upstream] = _Known(names, asyncio.get_running_loop().time() + keep_s)
        return names

    async def _fetch(self, upstream: Upstream) -> _Models:
        """The upstream's list. Raises _NotAList, Unreachable, Broken, TimeoutError."""
        target = target_of(upstream.id, upstream.models_url or "", is_checked=upstream.is_stored)
        head = [b"GET ", self._pools.request_target(target), b" HTTP/1.1\r\nhost: "]
        head += [target.authority, b"\r\naccept: application/json\r\naccept-encoding: identity\r\n"]
        headers = dict(upstream.headers)
        if upstream.speaks == "anthropic":
            headers.setdefault("anthropic-version", "2023-06-01")
        head += [f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items()]
        answer = await self._pools.exchange(
            target,
            [b"".join(head) + b"\r\n"],
            first_byte_s=self._limit_s,
            idle_s=self._limit_s,
        )
        try:
            return await _read(answer)
        finally:
            answer.close()


async def _read(answer: Answer) -> _Models:
    """The list in a response. A redirect is an answer like any other that is no list."""
    if answer.status != _OK:
        msg = f"status {answer.status}"
        raise _NotAList(msg)
    body = bytearray()
    while piece := await answer.chunk():
        body += piece
        if len(body) > _MAX_BODY:
            msg = f"more than {_MAX_BODY} bytes"
            raise _NotAList(msg)
    try:
        return _decode(body)
    except UNDECODABLE:
        msg = "no list of models in JSON"
        raise _NotAList(msg) from None


def _requested_names(upstream: Upstream, models: _Models) -> tuple[str, ...]:
    """What a client would ask for to get each of the upstream's models. Raises _NotAList."""
    if models.has_more or len(models.data) > MAX_OFFERED:
        msg = "too long to be read whole"
        raise _NotAList(msg)
    found: dict[str, None] = {}
    for model in models.data:
        name = upstream.requested_name(model.id)
        if name is not None and len(name) <= MAX_ENTRY and VISIBLE.fullmatch(name):
            found[name] = None
    if not found:
        # Perhaps it calls them otherwise than it lists them.
        msg = "no name that the deployment's pattern serves"
        raise _NotAList(msg)
    return tuple(found)
