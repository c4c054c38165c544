"""What the public port says of itself to anybody: how it is, and what can be called."""

import asyncio
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files

from services.gateway import answers, openapi
from services.gateway.admission import Policy
from services.gateway.answers import Stamp
from services.gateway.errors import PolicyUnavailable, Rejected
from services.gateway.routes import Kind
from services.gateway.whole import Whole

PUBLIC = frozenset({Kind.LIVELINESS, Kind.READINESS, Kind.ROOT, Kind.OPENAPI, Kind.DOCS})
"""Routes that need no key, tell no secret, and are answered however high the load."""

FRESH_S = 60.0
"""How long a description is given before keys is asked again."""

_CACHED = ("cache-control", f"public, max-age={FRESH_S:.0f}")
_PAGE = files("services.gateway").joinpath("docs.html").read_bytes()


def _hash_of(tag: bytes) -> str:
    """The source a policy names a page's one inline script or style by."""
    found = re.search(rb"<%b>(.*?)</%b>" % (tag, tag), _PAGE, re.DOTALL)
    return b64encode(sha256(found[1] if found else b"").digest()).decode()


_POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        f"script-src 'sha256-{_hash_of(b'script')}'",
        f"style-src 'sha256-{_hash_of(b'style')}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_PAGE_HEADERS = (
    _CACHED,
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
)
_WHAT = {"service": "grantgate", "docs": "/docs"}


class About:
    """How this gateway is, and its description: an old one while keys is away."""

    def __init__(
        self,
        describe: Callable[[], Awaitable[bytes]],
        policy: Policy,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`describe` asks keys, and raises Rejected; `clock` gives seconds."""
        self._describe = describe
        self._policy = policy
        self._clock = clock
        self._known: bytes | None = None
        self._asked_at = 0.0
        self._asking = asyncio.Lock()

    async def answer(self, kind: Kind, stamp: Stamp, *, is_stopping: bool) -> Whole:
        """Answer a route that needs no key. Raises Rejected (503) when keys was never reached."""
        if kind is Kind.READINESS:
            return await self._readiness(stamp, is_stopping=is_stopping)
        if kind is Kind.OPENAPI:
            sent = [_CACHED, ("content-type", "application/json")]
            return Whole(200, stamp.headers(sent), await self._description())
        if kind is Kind.DOCS:
            return Whole(200, stamp.headers(_PAGE_HEADERS), _PAGE)
        stamp.seen(self._policy.floor)
        return answers.json_answer(stamp, "I'm alive!" if kind is Kind.LIVELINESS else _WHAT)

    async def _readiness(self, stamp: Stamp, *, is_stopping: bool) -> Whole:
        """Ready when a policy replica answers and this process is not on its way out."""
        if is_stopping:
            return answers.json_answer(stamp, {"status": "stopping"}, status=503)
        try:
            stamp.revision = await self._policy.ping()
        except PolicyUnavailable:
            body = {"status": "unhealthy", "db": "unknown", "policy": "unavailable"}
            return answers.json_answer(stamp, body, 503, headers=(("retry-after", "1"),))
        # `db` is what LiteLLM's clients look at; here the data that serves requests is policy's.
        body = {"status": "healthy", "db": "connected", "policy": "connected"}
        return answers.json_answer(stamp, body)

    async def _description(self) -> bytes:
        # Nobody needs a key for this, so however many ask, keys is asked once.
        async with self._asking:
            if self._known is None or self._clock() - self._asked_at >= FRESH_S:
                try:
                    self._known = openapi.document(await self._describe())
                except Rejected:
                    if self._known is None:
                        raise
                self._asked_at = self._clock()
            return self._known
