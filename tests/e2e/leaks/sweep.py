"""Searching places for secrets in every form in which one could stand there, whole or cut."""

import base64
import json
from urllib.parse import quote

_PIECE = 12
"""Characters of each end that are looked for: a line that was cut may hold one of them alone.

A shorter piece might stand anywhere by chance.
"""
_HOLE = b"\0" * 4096


def forms(secret):
    """The ways a secret could be written: as it is, escaped, encoded, within something encoded."""
    plain = secret.encode()
    found = {
        "plain": plain,
        "JSON": json.dumps(secret)[1:-1].encode(),
        "JSON with \\/": json.dumps(secret)[1:-1].replace("/", "\\/").encode(),
        "JSON of JSON": json.dumps(json.dumps(secret)[1:-1])[1:-1].encode(),
        "repr": repr(secret)[1:-1].encode(),
        "URL": quote(secret).encode(),
        "URL, all": quote(secret, safe="").encode(),
        "hex": plain.hex().encode(),
        "UTF-16": secret.encode("utf-16-le"),
    }
    for shift in range(3):
        # Of base64 of something with the secret within: what depends on the secret alone.
        whole = base64.b64encode(b"\0" * shift + plain)
        piece = whole[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
        found[f"base64 at {shift}"] = piece
        found[f"base64url at {shift}"] = piece.translate(bytes.maketrans(b"+/", b"-_"))
    return found


class Sweep:
    """What is looked for, by name."""

    def __init__(self, secrets):
        self._needles = {}
        for name, secret in secrets.items():
            for form, text in forms(secret).items():
                size = _PIECE * len(text) // len(secret)
                for needle in (text[:size], text[-size:]):
                    self._needles.setdefault(needle, (name, form))

    def found(self, places):
        """Where a secret stands: (place, whose, form), each once."""
        return sorted(
            {
                (place, *self._needles[needle])
                for place, content in set(places)
                for needle in self._needles
                if needle in content
            }
        )


def files(kind, folder):
    """The content of every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield kind, path.read_bytes().replace(_HOLE, b"")
