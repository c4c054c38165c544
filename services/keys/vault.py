"""Upstream credentials at rest: AES-256-GCM under a key derived from the salt key."""

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.credentials import Secret

_NONCE = 12
_FORMAT = b"\x01"
_CONTEXT = b"grantgate upstream credentials 1"


class Unreadable(Exception):
    """Sealed under another salt key, or damaged."""


class Vault:
    """Seals and opens. What is sealed for one record cannot be opened as another's."""

    def __init__(self, salt_key: Secret) -> None:
        """Derive the key; `salt_key` is any text that is hard to guess."""
        # The salt key is no password to be stretched but a secret as strong as the master key.
        key = hashlib.blake2b(salt_key.reveal().encode(), digest_size=32, person=b"grantgate-seal")
        self._cipher = AESGCM(key.digest())

    def seal(self, record: str, plain: bytes) -> bytes:
        """Encrypt and authenticate, bound to the record's id."""
        nonce = secrets.token_bytes(_NONCE)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, plain, _bound_to(record))

    def open(self, record: str, sealed: bytes) -> bytes:
        """Give back what was sealed for this record. Raises Unreadable."""
        version, nonce = sealed[:1], sealed[1 : 1 + _NONCE]
        if version != _FORMAT:
            raise Unreadable
        try:
            return self._cipher.decrypt(nonce, sealed[1 + _NONCE :], _bound_to(record))
        except (InvalidTag, ValueError) as error:
            raise Unreadable from error


def _bound_to(record: str) -> bytes:
    return _CONTEXT + record.encode()
