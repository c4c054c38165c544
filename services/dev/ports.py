"""Loopback ports for children that do not run yet."""

import asyncio
import errno
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.listening import reserved

HOST = "127.0.0.1"
_RANGE = range(20000, 32000)
"""Below where Linux takes the ports of outgoing connections from: one of those could otherwise
occupy a port between its choice and the start of the child that was to have it."""
_CONNECT_S = 1.0
_PAUSE_S = 0.05


class PortTaken(Exception):
    """Something listens on the port that was asked for."""


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Pick that many different ports on which nothing listens. Raises OSError if too few are."""
    shuffled = random.sample(_RANGE, len(_RANGE))
    found = [port for _, port in zip(range(count), filter(_is_free, shuffled), strict=False)]
    if len(found) < count:
        raise OSError(errno.EADDRINUSE, "no free port")
    return found


@contextmanager
def held(port: int) -> Iterator[int]:
    """Keep a port for processes that share it with SO_REUSEPORT; 0 picks one.

    Without this a second stack would quietly share the port, and the requests, of the first.
    Raises PortTaken.
    """
    if port and not _is_free(port):
        message = f"port {port} of {HOST} is taken: choose another with --port"
        raise PortTaken(message)
    with reserved(HOST, port) as bound:
        yield bound


async def until_listening(port: int) -> None:
    """Wait, without end, until something accepts connections on a port."""
    while True:
        with suppress(OSError):
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            return
        await asyncio.sleep(_PAUSE_S)
