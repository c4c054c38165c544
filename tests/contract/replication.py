"""A MongoDB whose majority lags behind its primary: a real one, with a proxy before it.

The proxy knows MongoDB's messages: while it lags, an insert into the log is carried out and
answered as not replicated in time, and a read of what a majority holds does not show it.
"""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress

import bson

from tests import parts

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_BODY_AT = _HEADER.size + 4 + 1
_TIMED_OUT = {
    "code": 64,
    "codeName": "WriteConcernTimeout",
    "errmsg": "waiting for replication timed out",
    "errInfo": {"wtimeout": True},
}


class LaggingMongo:
    """Listens on `port` for the server at `target`. `lags` may change at any time."""

    def __init__(self, target):
        self.port = parts.free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        self.lags = False
        self.cuts_inserts = False
        """Whether the connection breaks in the place of an insert's answer."""
        self.inserts = 0
        self.held_back = set()
        """The revisions that are stored, and that a majority does not hold."""
        self.replicates_once_read = False
        """Whether a majority holds them right after the next look for what it holds."""
        self._target = target
        self._tasks = set()

    def replicate(self):
        self.lags = False
        self.held_back.clear()

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        asked = {}
        try:
            with suppress(asyncio.CancelledError):  # a stream's callback would print it
                await asyncio.gather(
                    self._carry(reader, far_writer, asked, self._question),
                    self._carry(far_reader, writer, asked, self._answer),
                )
        finally:
            writer.close()
            far_writer.close()

    async def _carry(self, reader, writer, asked, through):
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(_HEADER.size)
                rest = await reader.readexactly(_HEADER.unpack(head)[0] - _HEADER.size)
                message = through(head + rest, asked)
                if message is None:
                    break
                writer.write(message)
                await writer.drain()
        writer.close()

    def _question(self, message, asked):
        _, number, _, code = _HEADER.unpack_from(message)
        if code == _OP_MSG:
            asked[number] = _sections(message)
        return message

    def _answer(self, message, asked):
        _, number, to, code = _HEADER.unpack_from(message)
        command, documents = asked.pop(to, ({}, []))
        if code != _OP_MSG:
            return message
        reply, _ = _sections(message)
        if command.get("insert") == "changes":
            self.inserts += 1
            if self.lags and reply.get("n"):
                self.held_back |= {document["rev"] for document in documents}
                if self.cuts_inserts:
                    return None
                reply["writeConcernError"] = _TIMED_OUT
        elif command.get("find") == "changes" and _is_of_a_majority(command):
            batch = reply["cursor"]["firstBatch"]
            reply["cursor"]["firstBatch"] = [d for d in batch if d["rev"] not in self.held_back]
            if self.replicates_once_read:
                self.replicate()
        else:
            return message
        body = bson.encode(reply)
        return _HEADER.pack(_BODY_AT + len(body), number, to, code) + bytes(5) + body


def _is_of_a_majority(command):
    return command.get("readConcern", {}).get("level") == "majority"


def _sections(message):
    """The command or reply, and the documents that go with it."""
    body, documents, at = {}, [], _BODY_AT - 1
    while at < len(message):
        (size,) = struct.unpack_from("<i", message, at + 1)
        data = message[at + 1 : at + 1 + size]
        if message[at] == 0:
            body = bson.decode(data)
            documents += body.get("documents", [])
        else:
            start = data.index(b"\0", 4) + 1
            documents += bson.decode_all(data[start:])
        at += 1 + size
    return body, documents
