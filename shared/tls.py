"""The TLS that services speak on the bus: whom they trust, and how they prove who they are."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.reading import Place
from shared.settings import Settings

PAIR = "name a certificate (PEM, with its chain) and its private key without a passphrase"
TRUSTED = "name a file of certificates (PEM)"


@contextmanager
def usable(setting: str, cure: str) -> Iterator[None]:
    """Have an OSError over the files that a setting names be a ConfigError that says so."""
    try:
        yield
    except OSError as problem:
        what = f"cannot be used ({why(problem)})"
        raise Place("settings", setting).error(what, cure) from None


def why(problem: OSError) -> str:
    """Say what is wrong with a file in words that hold nothing of it."""
    if isinstance(problem, ssl.SSLError):
        return problem.reason or "it holds no such thing in PEM"
    return problem.strerror or type(problem).__name__


def no_passphrase() -> bytes:
    """For a key that has one: else it would be asked for at the terminal."""
    return b""


def for_nats(settings: Settings) -> ssl.SSLContext | None:
    """The context of every connection to NATS; None when nothing asks for TLS.

    TLS 1.2 or later, the server's certificate and name always checked. With one of the files
    configured a connection without TLS is refused whatever the URL says. ConfigError when a file
    cannot be used.
    """
    cert, key = settings.nats_cert_file, settings.nats_key_file
    if not (settings.nats_url.startswith("tls://") or settings.nats_ca_file or cert):
        return None
    with usable("nats_ca_file", TRUSTED):
        context = ssl.create_default_context(cafile=settings.nats_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        with usable("nats_cert_file, nats_key_file", PAIR):
            context.load_cert_chain(cert, key, no_passphrase)
    return context


def say_nothing_in_the_clear(client: Any, url: str, tls: ssl.SSLContext | None) -> None:  # noqa: ANN401 - nats's is the bus's alone
    """Have a nats-py `client` greet a server over TLS alone, if `url` or `tls` asks for that.

    nats-py begins TLS only when the server asks for it, and sends the password in the clear
    otherwise, also for a `tls://` URL: whoever sits in between need only leave that word out.
    """
    if tls is None and not url.startswith("tls://"):
        return
    # Nothing public runs between the server's INFO and our CONNECT.
    greeting = client._connect_command  # noqa: SLF001

    def checked() -> bytes:
        if not client._server_info.get("tls_required"):  # noqa: SLF001 - what nats-py goes by
            msg = "the server does not speak TLS"
            raise ssl.SSLError(msg)  # an OSError: it tries again, and so it reconnects for ever
        return bytes(greeting())

    client._connect_command = checked  # noqa: SLF001
