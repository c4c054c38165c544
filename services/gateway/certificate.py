"""TLS of the public port: its certificate, which is renewed while the gateway runs."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import structlog
from cryptography import x509
from prometheus_client import Gauge

from shared.reloading import stamp
from shared.settings import Settings
from shared.tls import PAIR, no_passphrase, usable, why

log = structlog.get_logger()

LOOK_EVERY_S = 10.0
"""How often the files are glanced at. A pair that does not fit, as between the writing of one file
and of the other, is not taken."""

EXPIRES = Gauge(
    "grantgate_gateway_certificate_expires",
    "When the public port's certificate ends, in seconds since 1970; 0 without one",
)


class Certificate:
    """A certificate and its key; `context` is what to listen with.

    A new pair serves whoever connects after it was found. A bad one is reported, and the one
    before it stays in use.
    """

    def __init__(self, cert_file: str, key_file: str) -> None:
        """Read both files. Raises OSError, of which ssl.SSLError is one."""
        self._files = (cert_file, key_file)
        self._stamps = [stamp(file) for file in self._files]
        self._latest = self.context = self._read()
        # Called in every handshake, before a certificate is chosen.
        self.context.sni_callback = self._choose

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._files, no_passphrase)
        with suppress(ValueError):  # it was replaced meanwhile: the next look is for that
            shown = x509.load_pem_x509_certificate(Path(self._files[0]).read_bytes())
            EXPIRES.set(shown.not_valid_after_utc.timestamp())
        return context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self._latest

    def renew(self) -> None:
        """Use the files' pair if they have changed. Raises OSError."""
        stamps = [stamp(file) for file in self._files]
        if stamps == self._stamps:
            return
        self._stamps = stamps
        self._latest = self._read()
        log.info("certificate_renewed", file=self._files[0])

    async def run(self) -> None:
        """Keep looking, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.renew)
            except OSError as problem:
                log.error(  # noqa: TRY400 - the line is for an operator
                    "certificate_refused", problem=why(problem), in_force="the one before"
                )


def certificate_for(settings: Settings) -> Certificate | None:
    """What the settings name, None when they name nothing. Raises ConfigError."""
    cert, key = settings.gateway_cert_file, settings.gateway_key_file
    if cert is None or key is None:
        return None
    with usable("gateway_cert_file, gateway_key_file", PAIR):
        return Certificate(cert, key)
