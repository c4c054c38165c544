"""Opens what LiteLLM encrypts in a model's parameters, with its LITELLM_SALT_KEY."""

import base64
import hashlib
import importlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.credentials import Secret

_GCM = "v2:gcm:"
_NONCE = 12
_NONCE_AND_TAG = 40


class Unopened(Exception):
    """A value cannot be opened: why, for the operator."""


def open_params(params: dict[str, object], salt_key: Secret | None) -> dict[str, object]:
    """Give a model's parameters in the clear. Raises Unopened.

    LiteLLM encrypts every text among them or none, and `model` is always there: one that reads
    as a model's name was never encrypted.
    """
    model = params.get("model")
    if not isinstance(model, str) or not _is_encrypted(model):
        return params
    if salt_key is None:
        msg = "is encrypted: set LITELLM_SALT_KEY to what LiteLLM has (else its master key)"
        raise Unopened(msg)
    key = hashlib.sha256(salt_key.reveal().encode()).digest()
    return {
        name: _open(value, key) if isinstance(value, str) else value
        for name, value in params.items()
    }


def _is_encrypted(text: str) -> bool:
    if text.startswith(_GCM):
        return True
    try:
        # '/' is not in this alphabet, and a name without one is too short.
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) >= _NONCE_AND_TAG
    except ValueError:
        return False


def _open(text: str, key: bytes) -> str:
    try:
        sealed = base64.urlsafe_b64decode(text.removeprefix(_GCM))
        if text.startswith(_GCM):
            opened = AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        else:
            opened = _open_box(sealed, key)
        return opened.decode()
    except (InvalidTag, ValueError) as error:
        msg = "cannot be opened: LITELLM_SALT_KEY is not the one it was encrypted with"
        raise Unopened(msg) from error


def _open_box(sealed: bytes, key: bytes) -> bytes:
    """Open XSalsa20-Poly1305, LiteLLM's default. Raises ValueError, Unopened."""
    try:
        # Only who moves encrypted models needs it.
        box = importlib.import_module("nacl.secret").SecretBox(key)
        bad = importlib.import_module("nacl.exceptions").CryptoError
    except ImportError:
        msg = "is encrypted: pip install 'grantgate[import]' to open it"
        raise Unopened(msg) from None
    try:
        return bytes(box.decrypt(sealed))
    except bad as error:
        raise ValueError from error
