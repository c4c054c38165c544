"""The connection to MongoDB: what its address may ask for, and what is told of a bad one."""

import warnings
from typing import Any
from urllib.parse import parse_qsl

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from shared.reading import Place
from shared.tls import PAIR, why

_PLACE = Place("settings", "mongo_url")
_UNVERIFIED = frozenset({"tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames"})


def client_of(url: str) -> "AsyncIOMotorClient[dict[str, Any]]":
    """A client for this address; the database need not be there yet.

    Its options bring TLS: `tls=true`, `tlsCAFile`, `tlsCertificateKeyFile`. ConfigError, which
    quotes nothing of it, when it cannot be used, or asks for TLS with whoever answers.
    """
    for option, value in parse_qsl(url.partition("?")[2]):
        if option.lower() in _UNVERIFIED and value.lower() != "false":
            what = f"asks not to verify the server ({option.lower()})"
            raise _PLACE.error(what, "name the authority's certificate with tlsCAFile instead")
    try:
        with warnings.catch_warnings():
            # It would go on without an option that it cannot read: without TLS for `tls=yes`.
            warnings.simplefilter("error", UserWarning)
            return AsyncIOMotorClient(
                url,
                serverSelectionTimeoutMS=2000,
                connectTimeoutMS=2000,
                socketTimeoutMS=5000,
                retryWrites=False,  # `append` finds out by op_id what became of a write
            )
    except OSError as problem:
        what = f"names a tlsCAFile or tlsCertificateKeyFile that cannot be used ({why(problem)})"
        raise _PLACE.error(what, PAIR) from None
    except (PyMongoError, UserWarning, ValueError, TypeError):
        what = "has an option that is unknown, or with a value or file that is none for it"
        cure = "correct it as MongoDB describes its connection strings; a +srv name has to resolve"
        raise _PLACE.error(what, cure) from None
