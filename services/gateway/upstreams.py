"""The upstreams of the deployments: address, credential and model name, resolved and checked."""

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote

import msgspec

from shared.credentials import Secret
from shared.model_list import ModelEntry, check_timeout, check_upstream_model
from shared.patterns import Pattern, fill, is_pattern
from shared.providers import Provider, Speaks
from shared.reading import Place, resolve
from shared.upstream_checks import (
    base_of,
    check_credential,
    check_header,
    check_version,
    chosen_provider,
)

DEFAULT_AZURE_VERSION = "2025-02-01-preview"
"""Azure's `api-version` when neither `api_version` nor AZURE_API_VERSION says one."""

_NOT_PER_MODEL = frozenset({"/responses"})
"""Azure's routes that take the model from the body and stand outside of /deployments."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """Where a deployment's requests go. `headers` hold the credential; printing shows none of it.

    `name` is the deployment's model name, `model` what is sent in its place, both perhaps with
    stars. `azure_version` is set for Azure's way of addressing. `timeout_s` is in seconds.
    `lists_models` says that its `/models` names what can be called: Azure's does not. `is_stored`
    marks a model made at run time, by somebody who may not choose any address.
    """

    id: str
    speaks: Speaks
    base_url: str
    name: str
    model: str
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float | None = None
    azure_version: str | None = None
    lists_models: bool = True
    is_stored: bool = False

    def __repr__(self) -> str:
        """Show what may stand in a log: neither address nor credential."""
        return f"Upstream(id={self.id!r}, speaks={self.speaks!r})"

    def upstream_model(self, requested: str) -> str:
        """The model name to send: each star filled with what its star in `name` stands for.

        ValueError when the deployment does not serve `requested`.
        """
        captures = Pattern(self.name).captures(requested) if is_pattern(self.name) else ()
        if captures is None or (captures == () and requested != self.name):
            msg = "the deployment does not serve this name"
            raise ValueError(msg)
        return fill(self.model, captures)

    def requested_name(self, theirs: str) -> str | None:
        """What a client asks for to get the upstream's model `theirs`: `upstream_model` undone.

        None when there is no such name.
        """
        captures = Pattern(self.model).captures(theirs) if is_pattern(self.model) else None
        if captures is None or self.name.count("*") != len(captures):
            return None
        name = fill(self.name, captures)
        # Several stars may share out a name in more than one way.
        return name if self.upstream_model(name) == theirs else None

    @property
    def models_url(self) -> str | None:
        """Where to ask for the names behind the deployment's pattern; None: it cannot be told."""
        stars = self.name.count("*")
        if not self.lists_models or not stars or self.model.count("*") != stars:
            return None
        return self.base_url + ("/models?limit=1000" if self.speaks == "anthropic" else "/models")

    def url_for(self, route_suffix: str, upstream_model: str) -> str:
        """The address for a route, given its part after /v1 (`/chat/completions`)."""
        if self.azure_version is None:
            return self.base_url + route_suffix
        model = "" if route_suffix in _NOT_PER_MODEL else f"/deployments/{_segment(upstream_model)}"
        return f"{self.base_url}/openai{model}{route_suffix}?api-version={self.azure_version}"


class Upstreams:
    """Every upstream by its deployment's id."""

    def __init__(self, by_id: Mapping[str, Upstream]) -> None:
        """Keep a copy of `by_id`."""
        self._by_id = dict(by_id)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def get(self, deployment_id: str) -> Upstream | None:
        """The upstream of a deployment, or None when the config file here does not have it."""
        return self._by_id.get(deployment_id)

    def without(self, other: "Upstreams") -> dict[str, Upstream]:
        """Those whose deployments `other` does not have."""
        return {name: found for name, found in self._by_id.items() if other.get(name) is None}


class Models(Protocol):
    """What `build` needs of a config."""

    @property
    def file(self) -> str:
        """The file's name, for messages."""

    @property
    def models(self) -> tuple[ModelEntry, ...]:
        """The entries of `model_list`."""

    @property
    def environment(self) -> dict[str, Secret]:
        """The file's `environment_variables`; real ones go over them."""


def build(config: Models, environ: Mapping[str, str]) -> Upstreams:
    """Resolve every entry's address, credential and headers. Raises ConfigError."""
    known = {name: value.reveal() for name, value in config.environment.items()} | dict(environ)
    return Upstreams(
        {
            entry.id: _Builder(entry, known, Place(config.file, entry.path)).build()
            for entry in config.models
        }
    )


class _Builder:
    """One entry on its way to an upstream."""

    def __init__(self, entry: ModelEntry, environ: Mapping[str, str], at: Place) -> None:
        self._entry, self._environ, self._at = entry, environ, at.field("litellm_params")

    def build(self) -> Upstream:
        entry = self._entry
        at_model = self._at.field("model")
        model = resolve(entry.model, self._environ, at_model)
        check_upstream_model(model, entry.model_name, at_model)
        custom = self._resolved("custom_llm_provider", entry.custom_llm_provider)
        given = self._resolved("api_base", entry.api_base)
        provider, sent = chosen_provider(model, custom, given, self._at)
        base_url, azure = base_of(provider, given, self._at.field("api_base"))
        return Upstream(
            id=entry.id,
            speaks=provider.speaks,
            base_url=base_url,
            name=entry.model_name,
            model=sent,
            headers=self._headers(provider),
            timeout_s=self._timeout(),
            azure_version=self._azure_version() if azure else None,
            lists_models=provider.paths != "azure",
        )

    def _resolved(self, name: str, value: str | None) -> str | None:
        return None if value is None else resolve(value, self._environ, self._at.field(name))

    def _azure_version(self) -> str:
        version = self._resolved("api_version", self._entry.api_version)
        version = version or self._environ.get("AZURE_API_VERSION") or DEFAULT_AZURE_VERSION
        check_version(version, self._at.field("api_version"))
        return version

    def _headers(self, provider: Provider) -> tuple[tuple[str, str], ...]:
        """The credential and the extra headers; an extra header replaces one of the same name."""
        headers: dict[str, str] = {}
        at = self._at.field("extra_headers")
        extra: dict[str, str] = {}
        for name, secret in self._entry.extra_headers.items():
            value = resolve(secret.reveal(), self._environ, at.field(name))
            check_header(name, value, extra, at.field(name))
            extra[name.lower()] = value
        key = self._key(provider, needed=provider.credential not in extra)
        if key is not None:
            scheme = "Bearer " if provider.credential == "authorization" else ""
            headers[provider.credential] = scheme + key
        organization = self._resolved("organization", self._entry.organization)
        if organization is not None:
            check_header("openai-organization", organization, {}, self._at.field("organization"))
            headers["openai-organization"] = organization
        return tuple((headers | extra).items())

    def _key(self, provider: Provider, *, needed: bool) -> str | None:
        """The entry's key, else the provider's own variable.

        A provider's own key goes only where it belongs: not to an api_base that replaces the
        provider's default, which may be anybody's.
        """
        at = self._at.field("api_key")
        given = self._entry.api_key
        if given is not None:
            key = resolve(given.reveal(), self._environ, at)
        else:
            belongs = self._entry.api_base is None or provider.base_url is None
            variables = provider.key_variables if belongs else ()
            found = next((self._environ[v] for v in variables if self._environ.get(v)), None)
            if found is None:
                if needed and provider.key_needed and belongs:
                    what = f"is missing, and {variables[0]} is not set"
                    raise at.error(what, f"write api_key: os.environ/NAME, or set {variables[0]}")
                return None
            key = found
        check_credential(key, at)
        return key

    def _timeout(self) -> float | None:
        timeout, at = self._entry.timeout, self._at.field("timeout")
        if not isinstance(timeout, str):
            return timeout
        try:
            seconds = float(resolve(timeout, self._environ, at))
        except ValueError:
            what = "the variable does not hold a number of seconds"
            raise at.error(what, "set it to one") from None
        return check_timeout(seconds, at)


def _segment(name: str) -> str:
    return quote(name, safe="")
