"""Upstreams of models that were made at run time: fetched from keys when a decision names one.

What a decision names is a model's id with its version, so what was fetched once is never stale:
a changed model has another name. Keys alone stores the credentials; here they stay in memory.
"""

import asyncio
from collections.abc import Mapping, Sequence

import aiohttp
import msgspec
import structlog

from services.gateway.upstreams import Upstream, Upstreams, build
from shared.catalogue import VERSIONED
from shared.credentials import TOKEN_HEADER, Secret, is_ours
from shared.decoding import UNDECODABLE
from shared.model_list import ModelEntry, read_models
from shared.reading import ConfigError, Notes, Place

log = structlog.get_logger()

_PATH = "/internal/upstream"
_TIMEOUT = aiohttp.ClientTimeout(total=3.0)
"""A request waits for it, so a keys that hangs must not hold it for long."""


class _Stored(msgspec.Struct, frozen=True):
    """What keys tells of a stored model. Secret."""

    id: str
    version: int
    model_name: str
    litellm_params: dict[str, object]

    def __repr__(self) -> str:
        """Show which model it is, and no parameter."""
        return f"_Stored(id={self.id!r}, version={self.version})"


class _OneModel(msgspec.Struct, frozen=True):
    """A configuration of one model."""

    file: str
    models: tuple[ModelEntry, ...]
    environment: dict[str, Secret]


_decode = msgspec.json.Decoder(_Stored).decode


class StoredUpstreams:
    """The config file's upstreams, and the stored ones as they are needed."""

    def __init__(
        self,
        declared: Upstreams,
        session: aiohttp.ClientSession,
        keys_url: str,
        token: Secret | None,
        environ: Mapping[str, str],
    ) -> None:
        """Fetch from `keys_url` through `session`, which its maker closes.

        Credentials may refer to `environ`, but for Grantgate's own variables.
        """
        self._declared = declared
        self._replaced: dict[str, Upstream] = {}
        self._session = session
        self._url = keys_url.rstrip("/") + _PATH
        self._token = token
        self._environ = {name: value for name, value in environ.items() if not is_ours(name)}
        self._fetched: dict[str, Upstream] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}

    def get(self, ref: str) -> Upstream | None:
        """The upstream of a deployment as a decision names it, when it is known here."""
        return self._declared.get(ref) or self._fetched.get(ref) or self._replaced.get(ref)

    def declare(self, declared: Upstreams) -> dict[str, Upstream]:
        """Put a new file's upstreams in the place of the old one's; the value is what it lacks.

        That stays known until `drop`: keys decides what is in force, and may read the file later.
        """
        gone = self._declared.without(declared)
        self._replaced.update(gone)
        self._declared = declared
        return gone

    def drop(self, gone: Mapping[str, Upstream]) -> None:
        """Forget upstreams that `declare` replaced."""
        for ref, upstream in gone.items():
            if self._replaced.get(ref) is upstream:
                del self._replaced[ref]

    async def bring(self, refs: Sequence[str]) -> None:
        """Fetch the stored ones among `refs` that are not known here; what fails is logged."""
        missing = [ref for ref in refs if VERSIONED in ref and self.get(ref) is None]
        await asyncio.gather(*(self._bring_one(ref) for ref in missing))

    async def _bring_one(self, ref: str) -> None:
        """One request for all who wait for the same one; it goes on when one of them leaves."""
        task = self._fetching.get(ref)
        if task is None:
            task = self._fetching[ref] = asyncio.ensure_future(self._fetch(ref))
            task.add_done_callback(lambda _: self._fetching.pop(ref, None))
        await asyncio.shield(task)

    async def _fetch(self, ref: str) -> None:
        model_id, _, version = ref.partition(VERSIONED)
        problem = "no internal token: give the gateway the master key or internal_token"
        if self._token is not None:
            try:
                async with self._session.get(
                    self._url,
                    params={"id": model_id, "version": version},
                    headers={TOKEN_HEADER: self._token.reveal()},
                    timeout=_TIMEOUT,
                    allow_redirects=False,
                ) as answer:
                    if answer.status == 200:  # noqa: PLR2004
                        self._take(ref, model_id, _decode(await answer.read()))
                        return
                    problem = f"keys answered {answer.status}"
            except (aiohttp.ClientError, OSError, *UNDECODABLE) as error:
                problem = type(error).__name__
            except ConfigError as error:
                problem = str(error)
        log.error("stored_upstream_not_fetched", deployment=model_id, problem=problem)

    def _take(self, ref: str, model_id: str, stored: _Stored) -> None:
        raw = {
            "model_name": stored.model_name,
            "litellm_params": stored.litellm_params,
            "model_info": {"id": model_id},
        }
        entries = read_models([raw], {}, Place("stored model"), Notes())
        one = _OneModel(file="stored model", models=entries, environment={})
        upstream = build(one, self._environ).get(model_id)
        if upstream is None:
            return
        for known in [k for k in self._fetched if k.startswith(model_id + VERSIONED)]:
            del self._fetched[known]
        self._fetched[ref] = msgspec.structs.replace(upstream, id=ref, is_stored=True)
