"""A listener that closes loses no connection, while another one shares its port."""

import asyncio
import socket
import sys

import pytest
from aiohttp import web

from shared.http import listen
from shared.listening import named, reserved, stop_accepting
from shared.reading import ConfigError

CLIENTS = 40


class Replier(asyncio.Protocol):
    """Answers whatever it is sent with its name."""

    def __init__(self, name):
        self._name = name

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, _data):
        self._transport.write(self._name)
        self._transport.close()


async def listener(name, port=0):
    return await asyncio.get_running_loop().create_server(
        lambda: Replier(name), "127.0.0.1", port, reuse_port=True
    )


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"?")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
async def test_no_connection_is_lost_when_one_of_two_listeners_closes():
    leaving = await listener(b"leaving")
    port = leaving.sockets[0].getsockname()[1]
    staying = await listener(b"staying", port)
    closed = asyncio.Event()
    after = []

    async def client():
        last = False
        while not last:
            last = closed.is_set()
            answer = await ask(port)
            assert answer in (b"leaving", b"staying")
            if last:
                after.append(answer)

    clients = [asyncio.ensure_future(client()) for _ in range(CLIENTS)]
    await stop_accepting(leaving)
    closed.set()
    await asyncio.gather(*clients)
    assert after == [b"staying"] * CLIENTS
    staying.close()
    await staying.wait_closed()


async def test_what_was_connected_before_is_accepted():
    server = await listener(b"leaving")
    port = server.sockets[0].getsockname()[1]
    waiting = [asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
    opened = await asyncio.gather(*waiting)
    await stop_accepting(server)
    for reader, writer in opened:
        writer.write(b"?")
        assert await reader.read() == b"leaving"
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await ask(port)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", "in use"),
        ("203.0.113.9", "assign"),  # TEST-NET-3 (RFC 5737): nobody's
        ("no.such.host.invalid", ""),
    ],
)
async def test_a_port_that_is_not_to_be_had_is_one_line_that_names_it(host, why):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"^{host}:{port}: .*{why}"):
            async with listen(web.Application(), host, port):
                pass
        with (
            pytest.raises(ConfigError, match=f"^{host}:{port}: .*{why}"),
            named(host, port),
            reserved(host, port),
        ):
            pass
