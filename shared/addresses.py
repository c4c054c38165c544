"""Where an upstream made at run time may be: at public addresses, and at what is allowed besides.

Pure: a name is resolved by whoever connects, and each address it has is judged here.
"""

import ipaddress
import re
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host, which tells its machines their secrets
            "169.254.0.0/16",  # link-local; nearly every cloud's metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
"""IANA's special-purpose registry, as it is here: Python's own list differs by its release."""

_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments; Teredo, which leads to any IPv4 address
            "2001:db8::/32",
            "2002::/16",  # 6to4, likewise
            "3fff::/20",
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")
"""What `inet_aton` may take for an address, by the last label alone: WHATWG's rule."""


def _plain(text: str) -> Address | None:
    """The address a text is, an IPv4 one out of its IPv6 wrapping; None when it is a name."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found in _NAT64:
            return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found


def is_address(host: str) -> bool:
    """Whether a host is an address, and no name."""
    return _plain(host) is not None


def is_public(address: str) -> bool:
    """Whether an address is of the Internet: one of no machine, network or cloud of ours."""
    found = _plain(address)
    if found is None:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _NOT_PUBLIC_4)
    return found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)


def same_client(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that a single IPv6 host may fill."""
    found = _plain(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Address(int(found) >> 64 << 64))
    return address if found is None else str(found)


class Reach:
    """What may be reached: public addresses, the networks and host names given, or anything."""

    def __init__(self, private: bool | Sequence[str] = False) -> None:
        """`private` is what may be reached besides. ValueError for neither network nor name."""
        self._everything = private is True
        self._networks: list[Network] = []
        self._names: set[str] = set()
        for entry in () if isinstance(private, bool) else private:
            name = _folded(entry)
            if _NAME.fullmatch(name) and not _NUMBER.fullmatch(name):
                self._names.add(name)
            else:
                self._networks.append(ipaddress.ip_network(entry))

    def permits(self, host: str, address: str) -> bool:
        """Whether an upstream at `host` may be connected to at this address of it."""
        if self._everything or _folded(host) in self._names or is_public(address):
            return True
        found = _plain(address)
        return found is not None and any(found in network for network in self._networks)

    def refuses(self, host: str) -> bool:
        """Whether a host of a URL is refused as it is written; a name's addresses are to come."""
        name = _folded(host)
        if self._everything or name in self._names:
            return False
        if _plain(name) is not None:
            return not self.permits(name, name)
        if name == "localhost" or name.endswith(".localhost"):
            return not (self.permits(name, "127.0.0.1") or self.permits(name, "::1"))
        # 127.1, 0x7f000001 and 2130706433 are addresses to whoever connects.
        return _NUMBER.fullmatch(name) is not None


PUBLIC = Reach()
"""Public addresses alone."""


def _folded(host: str) -> str:
    return host.casefold().removesuffix(".")
