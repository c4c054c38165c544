"""The line to one deployment for one model: where a request goes, and how it begins."""

from typing import Protocol
from urllib.parse import quote

import msgspec

from services.gateway.headers import Inbound, for_upstream
from services.gateway.requests import Rendered
from services.gateway.routes import Dialect
from services.gateway.target import Target

_encode = msgspec.json.Encoder().encode

_SECRET_LENGTH = 8
"""A shorter value is no credential worth the name, and might stand anywhere."""

_MAX_HEADS = 8
_MAX_HEAD_KEPT = 1024


class Upstream(Protocol):
    """Where one deployment's requests go, and with which credential."""

    @property
    def id(self) -> str:
        """The deployment's id, as decisions name it."""
        ...

    @property
    def speaks(self) -> Dialect:
        """Whose API it understands."""
        ...

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Its credential and what its configuration adds. Secret."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """Seconds to the first byte of an answer, when its configuration sets them."""
        ...

    @property
    def is_stored(self) -> bool:
        """Whether it was made at run time, so that its address is checked on connecting."""
        ...

    def upstream_model(self, requested: str) -> str:
        """What it calls the model that was asked for."""
        ...

    def url_for(self, route_suffix: str, upstream_model: str) -> str:
        """The address of a route's operation there."""
        ...


class Line:
    """Where a request for one model at one deployment goes, and how it begins.

    `model` is the upstream's name of it, `deployment` its id, when a header can hold it.
    """

    __slots__ = ("_heads", "_start", "deployment", "model", "secrets", "target", "upstream")

    def __init__(self, upstream: Upstream, model: str, target: Target, where: bytes) -> None:
        """`where` stands in the request line."""
        self.upstream = upstream
        self.model = model
        self.target = target
        self.secrets = secrets_in(upstream.headers)
        name = upstream.id
        self.deployment = name if name.isascii() and name.isprintable() else None
        self._start = b"POST " + where + b" HTTP/1.1\r\nhost: " + target.authority + b"\r\n"
        self._heads: dict[tuple[object, ...], bytes] = {}

    def __repr__(self) -> str:
        """Show whose it is: the rest holds the address and the credential."""
        return f"Line({self.upstream!r})"

    def head(self, inbound: Inbound, rendered: Rendered) -> bytes:
        """A request's head. What comes before the length is kept: clients repeat themselves."""
        asked = (rendered.content_type, *inbound.forwarded)
        found = self._heads.get(asked)
        if found is None:
            pairs = for_upstream(inbound, self.upstream.headers, rendered.content_type)
            lines = "".join([f"{name}: {value}\r\n" for name, value in pairs])
            found = self._start + lines.encode("latin-1")
            if len(found) <= _MAX_HEAD_KEPT:
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                self._heads[asked] = found
        return b"%bcontent-length: %d\r\n\r\n" % (found, rendered.length)


def secrets_in(headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """What of an upstream's own headers could be a credential, without the scheme before it.

    Each in every way that JSON and URLs write it, for an upstream may quote it so.
    """
    found: dict[str, None] = {}
    for value in (value.rpartition(" ")[2] for _, value in headers):
        if len(value) >= _SECRET_LENGTH:
            quoted = _encode(value).decode()[1:-1]
            forms = (value, quoted, quoted.replace("/", "\\/"), quote(value), quote(value, ""))
            found |= dict.fromkeys(forms)
    return tuple(found)
