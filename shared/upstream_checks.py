"""What an upstream's provider, address and headers must be like. No message shows a credential.

The gateway asks with every reference resolved; keys, which cannot resolve, asks of the rest.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from shared.model_list import ModelEntry
from shared.providers import COMPATIBLE, PROVIDERS, Provider, provider_of
from shared.reading import Place, is_reference

VISIBLE = re.compile(r"[\x21-\x7e]+")
"""Visible ASCII characters, without white space."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_HOST = re.compile(r"[0-9A-Za-z._-]+|[0-9a-f:.]+")

_VERSION = re.compile(r"[0-9A-Za-z.-]+")
_ROUTES = ("/chat/completions", "/completions", "/embeddings", "/responses", "/messages")

_OURS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that describe the message or the connection: the relay's to set."""


def check_upstream(entry: ModelEntry, place: Place) -> None:
    """Refuse an entry that no gateway could use, whatever the values of what it refers to.

    `place` is that of `litellm_params`. Raises ConfigError.
    """
    base = entry.api_base
    if not _refers(entry.model, entry.custom_llm_provider):
        provider, _ = chosen_provider(entry.model, entry.custom_llm_provider, base, place)
        if not _refers(base):
            base_of(provider, base, place.field("api_base"))
    elif base is not None and not is_reference(base):
        checked_url(base, place.field("api_base"))
    if entry.api_version is not None and not is_reference(entry.api_version):
        check_version(entry.api_version, place.field("api_version"))
    key = None if entry.api_key is None else entry.api_key.reveal()
    if key is not None and not is_reference(key):
        check_credential(key, place.field("api_key"))
    if entry.organization is not None and not is_reference(entry.organization):
        check_header("openai-organization", entry.organization, {}, place.field("organization"))
    seen: dict[str, str] = {}
    for name, secret in entry.extra_headers.items():
        value = "x" if is_reference(secret.reveal()) else secret.reveal()
        check_header(name, value, seen, place.field("extra_headers").field(name))
        seen[name.lower()] = value


def _refers(*values: str | None) -> bool:
    return any(value is not None and is_reference(value) for value in values)


def chosen_provider(
    model: str, custom: str | None, base: str | None, place: Place
) -> tuple[Provider, str]:
    """The provider of an entry and the model name to send it. Raises ConfigError."""
    at = place.field("model")
    provider, sent = provider_of(model, custom)
    if provider is None and base is None:
        what = f"the provider {(custom or model.partition('/')[0])!r} is not known"
        cure = f"give api_base, or begin with one of: {', '.join(sorted(PROVIDERS))}"
        raise at.error(what, cure)
    if not sent:
        what = "names a provider and no model"
        raise at.error(what, "write provider/model, such as openai/gpt-4o")
    return provider or COMPATIBLE, sent


def base_of(provider: Provider, given: str | None, at: Place) -> tuple[str, bool]:
    """The base, without a slash at its end, and whether Azure's paths go below it."""
    if given is None:
        if provider.base_url is None:
            what = "is missing, and this provider has no default"
            raise at.error(what, "write the endpoint's base URL")
        return provider.base_url, False
    base = checked_url(given, at)
    if provider.paths == "versioned":
        base = base.removesuffix("/messages")
        return (base if base.endswith("/v1") else base + "/v1"), False
    for route in _ROUTES:
        if base.endswith(route):
            what = f"ends in {route}, which is added to it for each request"
            raise at.error(what, "leave that part out")
    if provider.paths != "azure" or base.endswith("/openai/v1"):
        return base, False
    if "/openai/deployments" in base:
        what = "names an Azure deployment"
        raise at.error(what, "give the resource's address, and the deployment as azure/<name>")
    return base.removesuffix("/openai"), True


def check_version(version: str, place: Place) -> None:
    """Refuse what is no `api-version` of Azure's."""
    if not _VERSION.fullmatch(version):
        what = "is not an API version"
        raise place.error(what, "write one like 2024-10-21")


def check_credential(key: str, place: Place) -> None:
    """Refuse a key that a header cannot carry."""
    if not VISIBLE.fullmatch(key):
        what = "has white space or a character that a header cannot carry"
        raise place.error(what, "correct the key, or the variable it comes from")


def checked_url(url: str, place: Place) -> str:
    """An http(s) URL of host, port and path alone, without slashes at its end.

    The URL is in no message: it may hold a password.
    """
    cure = "write it like https://host/v1"
    if not VISIBLE.fullmatch(url) or "\\" in url:
        what = "has white space or a character that a URL cannot have"
        raise place.error(what, cure)
    unusable = place.error("has no usable host and port", cure)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise unusable from None
    if parts.scheme not in ("http", "https"):
        what = "must be an http:// or https:// URL"
        raise place.error(what, cure)
    if "@" in parts.netloc:
        what = "holds a user name or password"
        raise place.error(what, "put the credential into api_key or extra_headers")
    if not _HOST.fullmatch(parts.hostname or "") or port == 0:
        raise unusable
    if "?" in url or "#" in url:
        what = "has a query or fragment"
        raise place.error(what, "leave it out; for Azure write api_version")
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        what = "has '.' or '..' in its path"
        raise place.error(what, cure)
    return url.rstrip("/")


def check_header(name: str, value: str, seen: Mapping[str, str], place: Place) -> None:
    """Refuse a header that cannot be sent, is the relay's to set, or is among `seen`."""
    if not _HEADER_NAME.fullmatch(name):
        what = "is not a header name"
        raise place.error(what, "use letters, digits and '-'")
    if name.lower() in _OURS:
        what = "is set by Grantgate for every request"
        raise place.error(what, "remove it")
    if name.lower() in seen:
        what = "stands twice, in different letter case"
        raise place.error(what, "keep one of them")
    if not _HEADER_VALUE.fullmatch(value):
        what = "has a character that a header cannot carry, or white space at an end"
        raise place.error(what, "correct the value")
