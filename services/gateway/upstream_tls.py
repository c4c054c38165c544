"""TLS towards upstreams: certificates and names always checked, handshakes resumed.

A connection to a host that was spoken to before continues that session (RFC 8446, 2.2; RFC 5077):
the server need not sign, and nobody has to send and check its certificates again.
"""

import ssl
from typing import Self


class UpstreamTls(ssl.SSLContext):
    """The context of all connections to upstreams; `cafile` is trusted instead of the system's.

    A session is offered only to the name that was proven in it. A server that does not know it
    any more makes a whole handshake of it, with all its checks.
    """

    _latest: dict[str, ssl.SSLObject]
    _sessions: dict[str, ssl.SSLSession]

    def __new__(cls, cafile: str | None = None) -> Self:
        """Trust who is to be trusted. OSError when the file cannot be used."""
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self.minimum_version = ssl.TLSVersion.TLSv1_2
        if cafile is None:
            self.load_default_certs()
        else:
            self.load_verify_locations(cafile)
        self._latest = {}
        self._sessions = {}
        return self

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection; this is how the event loop does."""
        name = str(server_hostname)
        if session is None:
            session = self._session(name)
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        self._latest[name] = made
        return made

    def _session(self, name: str) -> ssl.SSLSession | None:
        """The latest session with a host.

        Its ticket came after the handshake, so the latest connection is asked only now.
        """
        latest = self._latest.get(name)
        session = None if latest is None else latest.session
        if session is not None and session.has_ticket:
            self._sessions[name] = session
        return self._sessions.get(name)
