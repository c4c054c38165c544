"""Key secrets: how one is minted, checked, digested and kept out of every log."""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable

TOKEN_HEADER = "x-grantgate-internal-token"  # noqa: S105 - a header's name
"""What carries the internal token: between services, and from whoever asks one by hand."""

SNAPSHOT_TOKEN_HEADER = "x-grantgate-snapshot-token"  # noqa: S105 - a header's name
"""What carries a policy replica's token to keys."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_BODY, _CHECK = 32, 6
MINTED_PREFIX = "sk-gg-"
MIN_CUSTOM_KEY = 16
"""Characters a custom key must have at least (LiteLLM's MINIMUM_CUSTOM_KEY_LENGTH)."""
MAX_SECRET = 512
_MINTED = re.compile(rf"{MINTED_PREFIX}[0-9A-Za-z]{{{_BODY + _CHECK}}}")
_SECRET = re.compile(r"sk-[\x21-\x7e]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WITHIN = re.compile(rf"sk-[\x21-\x7e]{{{MIN_CUSTOM_KEY - 3},}}")
_CLOSING = 4


class Secret:
    """A key as its holder presents it. Printing one shows nothing."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Wrap the secret itself."""
        self._value = value

    def reveal(self) -> str:
        """Give the secret out; every call site is a place to look at in review."""
        return self._value

    def digest(self) -> bytes:
        """The SHA-256 of the secret: what is stored, sent and looked up in its place."""
        return hashlib.sha256(self._value.encode()).digest()

    def is_told(self, told: str) -> bool:
        """Whether `told`, a header's value say, is this secret; takes as long either way."""
        return hmac.compare_digest(told.encode("utf-8", "surrogateescape"), self._value.encode())

    def __repr__(self) -> str:
        """Show that there is a secret, and nothing of it."""
        return "Secret(***)"

    __str__ = __repr__


def _checksum(body: str) -> str:
    high, low = divmod(zlib.crc32((MINTED_PREFIX + body).encode()), len(_PAIRS))
    high, middle = divmod(high, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def mint(choose: Callable[[str], str]) -> Secret:
    """Make a new key: `sk-gg-`, 32 characters of base62, 6 of checksum.

    `choose` picks one character uniformly and unpredictably (`secrets.choice` in production).
    """
    body = "".join(choose(_ALPHABET) for _ in range(_BODY))
    return Secret(MINTED_PREFIX + body + _checksum(body))


def is_wellformed(secret: str) -> bool:
    """Whether this can be a key at all: right prefix, printable, and a minted key's checksum holds.

    A typo in a minted key is thus refused before anything is looked up.
    """
    if not secret.startswith(MINTED_PREFIX):
        return len(secret) <= MAX_SECRET and bool(_SECRET.fullmatch(secret))
    body = secret[len(MINTED_PREFIX) : -_CHECK]
    return bool(_MINTED.fullmatch(secret)) and _checksum(body) == secret[-_CHECK:]


def holds_minted_key(text: str) -> bool:
    """Whether a minted key stands in a text; by its checksum nothing else is taken for one."""
    return MINTED_PREFIX in text and any(is_wellformed(found) for found in _MINTED.findall(text))


def internal_token(configured: Secret | None, master_key: Secret | None) -> Secret | None:
    """What is shown to an internal API: what is configured, else made from the master key.

    keys and gateways hold that, and the token tells nobody what it is. None: neither is there.
    """
    if configured is not None or master_key is None:
        return configured
    key = master_key.reveal().encode()
    return Secret(hmac.new(key, b"grantgate internal token", hashlib.sha256).hexdigest())


def is_ours(variable: str) -> bool:
    """Whether an environment variable is Grantgate's own, and so none for an upstream's sake.

    Those of the demo upstream are: it stands for one.
    """
    name = variable.upper()
    return name.startswith(("GRANTGATE_", "LITELLM_")) and not name.startswith("GRANTGATE_DEMO_")


def is_digest(text: str) -> bool:
    """Whether this is a key's digest in hex, LiteLLM's `token`."""
    return bool(_DIGEST.fullmatch(text))


def key_name(secret: Secret) -> str:
    """The short form that may be shown: `sk-...` and the last four characters."""
    return "sk-..." + secret.reveal()[-4:]


def masked(text: str) -> str:
    """A text as it may be shown when somebody may have put keys in it: with their short forms."""
    return _WITHIN.sub(_short, text) if "sk-" in text else text


def _short(found: re.Match[str]) -> str:
    """The key's short form, with the few marks of the sentence around it that came along."""
    run = found[0]
    key = run[:-_CLOSING] + run[-_CLOSING:].rstrip("'\"`)],.:;")
    return key_name(Secret(key)) + run[len(key) :]
