"""Where a request goes: host, port and path, read from a URL once."""

from typing import NamedTuple
from urllib.parse import urlsplit


class Target(NamedTuple):
    """Where a request goes. `path` (with its query) and `authority` are as they are sent.

    `pool` names the connections that may carry it: those of one deployment at one address.
    `is_checked`: the host was chosen at run time, so that its addresses must be in reach.
    """

    pool: str
    secure: bool
    host: str
    port: int
    path: bytes
    authority: bytes
    is_checked: bool = False


def target_of(deployment: str, url: str, *, is_checked: bool = False) -> Target:
    """Read an http(s) URL, whose path is sent as it is written. ValueError when it is not ASCII."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        f"{parts.scheme}://{parts.netloc} {deployment}",
        secure,
        parts.hostname or "",
        parts.port or (443 if secure else 80),
        path.encode("ascii"),
        parts.netloc.encode("ascii"),
        is_checked,
    )
