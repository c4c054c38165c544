"""Listening sockets that can be closed without losing a connection.

What a client has connected but the process has not yet accepted dies with its listener, also
where another process listens on the same port (SO_REUSEPORT): the kernel does not move it. So a
listener first stops taking part (new SYNs are dropped, which their senders repeat a second later,
to whoever listens then), accepts what is there, and only then closes.
"""

import asyncio
import ctypes
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.reading import Place

_SO_ATTACH_FILTER = 26
_HANDSHAKES_S = 0.05
"""How long a handshake that has begun may still take to complete. On a longer way than that, a
load balancer that heeds readiness (and `drain_delay_s`) has to see to it."""

_LOOK_S = 0.005
_WITHIN_S = 2.0


def _instruction(code: int, if_true: int, if_false: int, k: int) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, k)


_DROP_SYN = b"".join(
    (
        _instruction(0x30, 0, 0, 13),  # load the byte of TCP's flags
        _instruction(0x54, 0, 0, 0x12),  # of them, SYN and ACK
        _instruction(0x15, 0, 1, 0x02),  # a SYN that is no SYN-ACK:
        _instruction(0x06, 0, 0, 0),  # drop it
        _instruction(0x06, 0, 0, 0xFFFFFFFF),  # else take it whole
    )
)


def _shun(listener: socket.socket) -> None:
    """Have the kernel ignore whoever begins to connect to `listener`; elsewhere than on Linux, no.

    Connections that were made inherit the filter, which lets all of theirs pass.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    count = len(_DROP_SYN) // 8
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", count, ctypes.addressof(program)),
        )


async def stop_accepting(server: asyncio.Server) -> None:
    """Close the listeners of `server`, with every connection made to them accepted before."""
    # The event loop owns the sockets and shows them only in part; a second handle shows all.
    listeners = [socket.socket(fileno=os.dup(sock.fileno())) for sock in server.sockets]
    try:
        for listener in listeners:
            _shun(listener)
        await asyncio.sleep(_HANDSHAKES_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN_S):
                while _has_waiting(listeners):  # noqa: ASYNC110 - the loop takes them
                    await asyncio.sleep(_LOOK_S)
    finally:
        server.close()
        for listener in listeners:
            listener.close()


def _has_waiting(listeners: list[socket.socket]) -> bool:
    poll = select.poll()
    for listener in listeners:
        poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def named(host: str, port: int) -> Iterator[None]:
    """Have an OSError of whoever begins to listen there be a ConfigError that names the address."""
    try:
        yield
    except OSError as problem:
        # uvloop's text repeats the address; the number has the reason alone.
        known = os.strerror(problem.errno) if problem.errno and problem.errno > 0 else None
        what = f"nothing can listen here ({known or problem.strerror})"
        cure = "stop what does already, or set another host or port"
        raise Place(f"{host}:{port}").error(what, cure) from None


@contextmanager
def reserved(host: str, port: int, *, for_one: bool = False) -> Iterator[int]:
    """Keep a port for processes that listen on it within the block; 0 picks one.

    They share it with SO_REUSEPORT; `for_one` keeps it for one that has it alone. Raises OSError:
    something listens there already that does not share.
    """
    family, *_, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family) as holder:
        option = socket.SO_REUSEADDR if for_one else socket.SO_REUSEPORT
        holder.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            # As asyncio has it: the port may be another's in IPv4.
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            # Bound but never listening: it is offered no connection.
            holder.bind(address)
        except OSError:
            # Connections of a former owner may linger in TIME_WAIT.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(address)
        bound: int = holder.getsockname()[1]
        yield bound
