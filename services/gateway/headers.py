"""What of a request's headers is believed, what crosses to an upstream, and what comes back.

Both directions are allow-lists, so hop-by-hop headers, cookies, forwarding headers, our own
`x-grantgate-*` and every credential stay on their side.
"""

import hmac
import re
from collections.abc import Iterable
from typing import Literal

from services.gateway.errors import Rejected
from shared.credentials import Secret

MIN_REVISION = "x-grantgate-min-revision"

_TO_UPSTREAM = (
    "accept",
    "accept-encoding",
    "anthropic-beta",
    "anthropic-version",
    "idempotency-key",
    "openai-beta",
    "user-agent",
)
_TO_CLIENT = frozenset(
    {
        "cache-control",
        "content-encoding",
        "content-type",
        "openai-processing-ms",
        "openai-version",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
    }
)
_TO_CLIENT_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")
_CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-litellm-api-key")
_ONCE = (
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "litellm-changed-by",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    MIN_REVISION,
)

_SAYS_WHAT_FOLLOWS = frozenset(
    {"content-encoding", "content-length", "content-type", "expect", "transfer-encoding"}
)
"""Headers of which two readers could believe different ones."""

_Kind = Literal["crosses", "key", "read"]
_KNOWN: dict[bytes, tuple[_Kind, str]] = {
    **{name.encode(): ("crosses", name) for name in _TO_UPSTREAM},
    **{name.encode(): ("key", name) for name in _CREDENTIALS},
    **{name.encode(): ("read", name) for name in _ONCE},
}

_VALUE = re.compile(r"[\t\x20-\x7e]*")
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)")
_HOST = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{1,128}")
_REVISION = re.compile(r"[0-9]{1,18}")


class Inbound:
    """A request's headers, read in one pass. `keys` are the credential headers as they came."""

    __slots__ = ("fields", "forwarded", "keys", "repeated")

    def __init__(self) -> None:
        """Begin empty; `read` fills it."""
        self.fields: dict[str, str] = {}
        self.forwarded: list[tuple[str, str]] = []
        self.keys: list[tuple[str, str]] = []
        self.repeated: set[str] = set()

    @property
    def speaks_anthropic(self) -> bool:
        """Whether an Anthropic client sent this."""
        return any(name == "anthropic-version" for name, _ in self.forwarded)

    @property
    def request_id(self) -> str | None:
        """The caller's own id for the request, when it is one that can be logged and echoed."""
        given = self.fields.get("x-request-id")
        if given is None or given.startswith("sk-"):
            return None
        return given if _REQUEST_ID.fullmatch(given) else None

    def floor(self) -> int:
        """The revision the decision must not be older than; 0 when none is asked for.

        Raises Rejected (400).
        """
        given = self.fields.get(MIN_REVISION)
        if given is None:
            return 0
        if MIN_REVISION in self.repeated or not _REVISION.fullmatch(given):
            raise Rejected(400, f"{MIN_REVISION} must be one non-negative integer.")
        return int(given)


def read(raw_headers: Iterable[tuple[bytes, bytes]]) -> Inbound:
    """Sort a request's headers into what is read here, what crosses, and what is dropped."""
    inbound = Inbound()
    for raw_name, raw_value in raw_headers:
        known = _KNOWN.get(raw_name) or _KNOWN.get(raw_name.lower())
        if known is None:
            continue
        kind, name = known
        value = raw_value.decode("latin-1")
        if kind == "crosses":
            # A value that is not plain text is dropped: nothing that could split a header crosses.
            if _VALUE.fullmatch(value):
                inbound.forwarded.append((name, value))
        elif kind == "key":
            inbound.keys.append((name, value))
        else:
            if name in inbound.fields:
                inbound.repeated.add(name)
                if name == "connection":  # the one of these that is a list
                    value = f"{inbound.fields[name]}, {value}"
            inbound.fields[name] = value
    _drop_connection_listed(inbound)
    return inbound


def _drop_connection_listed(inbound: Inbound) -> None:
    """A header that Connection names belongs to this hop and does not cross."""
    listed = inbound.fields.get("connection")
    if listed is None or listed in ("keep-alive", "close", "Keep-Alive"):
        return
    names = {token.strip().lower() for token in listed.split(",")}
    inbound.forwarded = [(name, value) for name, value in inbound.forwarded if name not in names]


def check_framing(inbound: Inbound, method: str, *, has_body: bool) -> None:
    """Refuse what the HTTP parser lets through and another could read differently.

    Raises Rejected: 400, 415 or 417; each closes the connection.
    """
    fields = inbound.fields
    host = fields.get("host")
    if host is None or "host" in inbound.repeated or not _HOST.fullmatch(host):
        raise Rejected(400, "The Host header must be one plain host name.", closes=True)
    twice = inbound.repeated & _SAYS_WHAT_FOLLOWS
    if twice:
        raise Rejected(400, f"The request has more than one {min(twice)} header.", closes=True)
    if "upgrade" in fields:
        raise Rejected(400, "Connections are not upgraded here.", closes=True)
    coding = fields.get("transfer-encoding")
    if coding is not None and (coding.lower() != "chunked" or "content-length" in fields):
        raise Rejected(400, "Transfer-Encoding must be exactly 'chunked'.", closes=True)
    if has_body and method in ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"):
        raise Rejected(400, f"{method} requests have no body here.", closes=True)
    if "content-encoding" in fields:
        message = "Compressed request bodies are not read; send it without Content-Encoding."
        raise Rejected(415, message, closes=True)
    expected = fields.get("expect")
    if expected is not None and expected.lower() != "100-continue":
        raise Rejected(417, "Only 'Expect: 100-continue' is understood.", closes=True)


def caller_key(inbound: Inbound) -> Secret:
    """The one key the caller presents. Raises Rejected (401): none, malformed, or several."""
    if not inbound.keys:
        raise _unauthenticated(because="No api key passed in. Send 'Authorization: Bearer <key>'.")
    found: str | None = None
    seen: set[str] = set()
    for name, value in inbound.keys:
        if name in seen:
            raise _unauthenticated(because=f"more than one {name} header.")
        seen.add(name)
        key = _key_in(name, value)
        if found is not None and not hmac.compare_digest(found.encode(), key.encode()):
            raise _unauthenticated(because="the headers carry different keys.")
        found = key
    return Secret(found or "")


def _key_in(name: str, value: str) -> str:
    bearer = _BEARER.fullmatch(value)
    if bearer is not None:
        return bearer[1]
    if name == "authorization" or not value or " " in value:
        raise _unauthenticated(
            because="Malformed API Key passed in. Ensure Key has `Bearer ` prefix."
        )
    return value


def _unauthenticated(*, because: str) -> Rejected:
    return Rejected(401, f"Authentication Error, {because}", kind="auth_error")


def for_upstream(
    inbound: Inbound, credential: Iterable[tuple[str, str]], content_type: str
) -> list[tuple[str, str]]:
    """The headers of the upstream request: the caller's allowed ones, then ours over them."""
    ours = [(name.lower(), value) for name, value in credential]
    ours.append(("content-type", content_type))
    taken = {name for name, _ in ours}
    theirs = [pair for pair in inbound.forwarded if pair[0] not in taken]
    if not any(name == "accept-encoding" for name, _ in theirs):
        # Without it an upstream may choose a coding the caller never said it can read.
        ours.append(("accept-encoding", "identity"))
    return [*theirs, *ours]


def for_client(
    upstream: Iterable[tuple[str, str]], secrets: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    """The headers of an upstream's response that the caller may see, none with a secret in it."""
    kept: list[tuple[str, str]] = []
    hop: set[str] = set()
    for name, value in upstream:
        lowered = name.lower()
        if lowered in _TO_CLIENT or lowered.startswith(_TO_CLIENT_PREFIXES):
            kept.append((lowered, value))
        elif lowered == "connection":
            hop.update(token.strip().lower() for token in value.split(","))
    if hop:
        kept = [pair for pair in kept if pair[0] not in hop]
    for secret in secrets:
        if any(secret in value for _, value in kept):
            kept = [pair for pair in kept if secret not in pair[1]]
    return kept
