"""An upstream on a raw socket: it keeps every byte it was sent and answers by a script."""

import asyncio
import json
import re
from contextlib import asynccontextmanager, suppress

OK_BODY = b'{"id":"c-1","object":"chat.completion","model":"up"}'


def reply(body=OK_BODY, *, status="200 OK", headers=(), content_type="application/json"):
    """A whole response with its length."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Recorded:
    """One request as it came over the wire."""

    def __init__(self, head, body):
        self.head = head
        self.body = body
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = first.split(" ")
        self.headers = [
            (n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines)
        ]

    def header(self, name):
        found = [value for each, value in self.headers if each == name]
        assert len(found) <= 1, f"{name} was sent {len(found)} times"
        return found[0] if found else None

    def json(self):
        return json.loads(self.body)


class Recorder:
    """`requests` are what arrived; `script(recorded, writer)` answers each."""

    def __init__(self, script=None):
        self.script = script or self.answer_ok
        self.requests = []
        self.received = b""
        self.arrived = asyncio.Event()
        self.client_left = asyncio.Event()
        self.connections = 0
        self.port = 0
        self._tasks = set()

    async def answer_ok(self, _recorded, writer):
        writer.write(reply())

    def answering(self, *args, **kwargs):
        """Answer every request with this `reply`."""

        async def script(_recorded, writer):
            writer.write(reply(*args, **kwargs))

        self.script = script

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while not writer.is_closing():
                    recorded = await self._read(reader)
                    self.requests.append(recorded)
                    self.arrived.set()
                    await self._answer(recorded, reader, writer)
        finally:
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, recorded, reader, writer):
        leaving = asyncio.ensure_future(self._watch(reader))
        try:
            await self.script(recorded, writer)
            if not writer.is_closing():
                await writer.drain()
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _watch(self, reader):
        """Notice when the gateway closes while an answer is under way."""
        while not reader.at_eof():
            # Waits without reading: a byte that comes here is the next request's.
            await reader._wait_for_data("watch")
        self.client_left.set()

    async def _read(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        self.received += head
        recorded = Recorded(head[:-4], b"")
        if recorded.header("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                recorded.body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            recorded.body = await reader.readexactly(int(recorded.header("content-length") or 0))
        self.received += recorded.body
        return recorded


async def say(port, data, *, timeout_s=10.0):
    """Send raw bytes and return all that comes back until the gateway closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(timeout_s):
            return await reader.read()
    finally:
        await hang_up(writer)


async def hang_up(writer):
    """Close a connection and wait until it is."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def statuses(answer):
    """The status codes of the responses in a raw answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]
