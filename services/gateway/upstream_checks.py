"""What an upstream's address and headers must be like. No message shows a value."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from shared.reading import Place

VISIBLE = re.compile(r"[\x21-\x7e]+")
"""Visible ASCII characters, without white space."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_HOST = re.compile(r"[0-9A-Za-z._-]+|[0-9a-f:.]+")

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
