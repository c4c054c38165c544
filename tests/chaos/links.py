"""A TCP proxy for one link between two parts, whose network can be made bad at any time."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress

_AT_ONCE = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Lane:
    """One direction: `hold` keeps what is sent on its way, as packets that are sent again later."""

    def __init__(self):
        self.latency_s = 0.0
        self._passes = asyncio.Event()
        self._passes.set()

    def hold(self):
        self._passes.clear()

    def heal(self):
        self.latency_s = 0.0
        self._passes.set()

    async def carry(self, pair, reader, writer):
        """Pass bytes on until either end is gone, then end the other."""
        with suppress(OSError):
            while data := await reader.read(_AT_ONCE):
                await self._passes.wait()
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                if not pair.is_half_open:
                    writer.write(data)
                    await writer.drain()
        if not pair.is_half_open:
            writer.close()


class _Pair:
    """A client's connection and the one to its server."""

    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.is_half_open = False

    def reset(self):
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


class Link:
    """Listens on `port` for one part, and connects to `target` for it."""

    def __init__(self, name, port, target):
        self.name = name
        self.port = port
        self.target = target
        self.up = Lane()
        """From the part that connects to the one it connects to."""
        self.down = Lane()
        self._pairs = set()
        self._tasks = set()

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            server.close()
            self.heal()
            self.reset()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def slow(self, latency_s):
        """Every piece takes this much longer, each way."""
        self.up.latency_s = self.down.latency_s = latency_s

    def cut(self):
        """Nothing arrives, either way, and nobody is told."""
        self.up.hold()
        self.down.hold()

    def heal(self):
        """Good again: what was held arrives; half-open connections are noticed at last."""
        self.up.heal()
        self.down.heal()
        for pair in self._pairs:
            if pair.is_half_open:
                pair.reset()

    def reset(self):
        """End every connection abruptly."""
        for pair in self._pairs:
            pair.reset()

    def half_open(self):
        """The server's ends are gone, and the clients hear nothing of it."""
        for pair in self._pairs:
            pair.is_half_open = True
            pair.server.transport.abort()

    async def _connect(self):
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, server_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self.up.carry(pair, reader, server_writer),
                self.down.carry(pair, server_reader, writer),
            )
        finally:
            self._pairs.discard(pair)
            writer.transport.abort()
            server_writer.transport.abort()


class Balancer(Link):
    """A link to whichever of several targets takes the connection, each in turn."""

    def __init__(self, port, targets):
        super().__init__("balancer", port, targets[0])
        self._targets = list(targets)

    async def _connect(self):
        self._targets.append(self._targets.pop(0))
        for target in self._targets:
            try:
                return await asyncio.open_connection("127.0.0.1", target)
            except OSError:
                continue
        raise ConnectionRefusedError
