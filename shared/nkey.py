"""The key pair by which a service proves who it is to NATS, in the place of a password."""

import base64
import binascii
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.credentials import Secret

# What https://docs.nats.io calls an nkey: base32 of what it is, an Ed25519 key, and a checksum.
_SEED_OF_A_USER = b"\x95\x00"  # "SU"
_USER = b"\xa0"  # "U"
_SEED_BYTES = 36


class Nkey:
    """A user's key pair, made from its seed. Printing one shows its public half."""

    def __init__(self, seed: Secret) -> None:
        """ValueError, which quotes nothing of it, when this is no seed of a user."""
        text = seed.reveal()
        try:
            raw = base64.b32decode(text + "=" * (-len(text) % 8))
        except ValueError:
            raw = b""
        if (
            len(raw) != _SEED_BYTES
            or not raw.startswith(_SEED_OF_A_USER)
            or _checked(raw[:-2]) != raw
        ):
            msg = "is no nkey seed of a user"
            raise ValueError(msg)
        self._pair = Ed25519PrivateKey.from_private_bytes(raw[2:-2])
        self.public = base64.b32encode(
            _checked(_USER + self._pair.public_key().public_bytes_raw())
        ).decode()

    def sign(self, nonce: str) -> bytes:
        """What a server that sent `nonce` wants to see, in base64."""
        return base64.b64encode(self._pair.sign(nonce.encode()))

    def __repr__(self) -> str:
        """Show the public half: it is what the server's configuration names."""
        return f"Nkey({self.public})"


def _checked(data: bytes) -> bytes:
    return data + binascii.crc_hqx(data, 0).to_bytes(2, "little")


Proof = Secret | Nkey
"""What a connection to NATS proves itself by: a password, or a key pair."""


def login(client: Any, user: str, proof: Proof | None) -> dict[str, Any]:  # noqa: ANN401 - nats's is the bus's alone
    """What nats-py's `connect` is told about who `client` is. With a key pair that is the user."""
    if isinstance(proof, Nkey):
        # Its own way there wants a library that is not published as a wheel.
        client._public_nkey = proof.public  # noqa: SLF001
        return {"signature_cb": proof.sign}
    return {"user": user, "password": None if proof is None else proof.reveal()}


def greeting(user: str, proof: Proof | None, nonce: str) -> dict[str, str]:
    """The same, as the protocol's CONNECT says it to a server that sent `nonce`."""
    if isinstance(proof, Nkey):
        return {"nkey": proof.public, "sig": proof.sign(nonce).decode()}
    return {"user": user} | ({} if proof is None else {"pass": proof.reveal()})
