"""The two client libraries as simulated: nats-py's face, and the product's own courier."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import nats.errors
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from shared import subjects
from tests.sim.clockwork import Process, World
from tests.sim.network import Link, Message, Server, Stream, matches

_WRONG_LAST_SEQUENCE = 10071
_NAME_IN_USE = 10058


class Subscription:
    """A callback of one client; it sees its messages one after another."""

    def __init__(self, client: "Client", number: int, subject: str, queue: str, cb: Any) -> None:
        self.client = client
        self.subject = subject
        self.queue = queue
        self.number = number
        self.name = f"{client.name}#{number}"
        self._cb = cb
        self._pending: list[Message] = []
        self._is_draining = False
        self._is_over = False

    @property
    def pending_msgs(self) -> int:
        return len(self._pending)

    def register(self) -> None:
        self.client.server.subscriptions.append(self)

    def hear(self, message: Message) -> None:
        if self._is_over:
            return
        self._pending.append(message)
        if not self._is_draining:
            self._is_draining = True
            self.client.link.process.spawn(self._drain(), f"the callback of {self.subject}")

    async def _drain(self) -> None:
        try:
            while self._pending:
                await self._cb(self._pending.pop(0))
        finally:
            self._is_draining = False

    async def unsubscribe(self) -> None:
        self.end()

    def end(self) -> None:
        self._is_over = True
        self.client.subscriptions.remove(self)
        self.client.link.send(self._unregister)

    def _unregister(self) -> None:
        subs = self.client.server.subscriptions
        self.client.server.subscriptions = [s for s in subs if s is not self]


class Client:
    """As much of nats.aio.client.Client as the product uses."""

    def __init__(self, server: Server, process: Process) -> None:
        self.server = server
        self.name = process.name
        self.subscriptions: list[Subscription] = []
        self.on_reconnected: Callable[[], None] = lambda: None
        self.link = Link(server, self, process)
        self._numbers = 0

    max_payload = 8 * 1024 * 1024

    @property
    def is_closed(self) -> bool:
        return self.link.process.is_dead or self.link.world.is_over

    @property
    def is_connected(self) -> bool:
        return self.link.is_up

    def new_inbox(self) -> str:
        self._numbers += 1
        return f"_INBOX.{self.name}.{self._numbers}"

    def jetstream(self, timeout: float = 5.0) -> "JetStream":
        return JetStream(self, timeout)

    async def subscribe(self, subject: str, queue: str = "", cb: Any = None) -> Subscription:
        self._numbers += 1
        subscription = Subscription(self, self._numbers, subject, queue, cb)
        self.subscriptions.append(subscription)
        self.link.send(subscription.register)
        return subscription

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: Any = None
    ) -> None:
        self.link.send(lambda: self.server.route(subject, payload, reply, headers))


class Courier(Client):
    """As much of shared.courier.Courier as the product uses: a connection of its own."""

    def subscribe(  # type: ignore[override]
        self, subject: str, callback: Callable[..., None], *, queue: str = ""
    ) -> int:
        self._numbers += 1
        subscription = _Direct(self, self._numbers, subject, queue, callback)
        self.subscriptions.append(subscription)
        self.link.send(subscription.register)
        return self._numbers

    def unsubscribe(self, sid: int) -> None:
        for subscription in list(self.subscriptions):
            if subscription.number == sid:
                subscription.end()

    def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:  # type: ignore[override]
        if self.link.is_up:  # else it is dropped, not kept for later
            self.link.send(lambda: self.server.route(subject, data, reply))


class _Direct(Subscription):
    """Calls back as the bytes arrive."""

    def hear(self, message: Message) -> None:
        if not self._is_over:
            nobody = bool(message.headers) and message.headers.get("Status") == "503"
            self._cb(message.subject, message.reply, None if nobody else message.data)


class JetStream:
    """As much of nats.js.JetStreamContext as shared.streams uses."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._server = client.server
        self._timeout = timeout

    async def _ask(self, operation: Callable[[], Any], *, first: Callable[[], None] | None = None):
        future = self._client.link.process.loop.create_future()

        def answer(found: Any) -> None:
            if not future.done():
                future.set_result(found)

        def arrive() -> None:
            if first is not None:
                first()
            self._server.operate(self._client.link, operation, answer)

        self._client.link.send(arrive)
        try:
            async with asyncio.timeout(self._timeout):
                found = await future
        except TimeoutError:
            raise nats.errors.TimeoutError from None
        if isinstance(found, Exception):
            raise found
        return found

    def _stream(self, name: str) -> Stream:
        if name not in self._server.streams:
            raise NotFoundError(code=404, err_code=10059)
        return self._server.streams[name]

    async def get_last_msg(self, stream_name: str, subject: str):
        def read():
            found = self._stream(stream_name).last(subject)
            if found is None:
                raise NotFoundError(code=404, err_code=10037)
            return SimpleNamespace(seq=found[0], data=found[1])

        return await self._ask(read)

    async def stream_info(self, name: str, subjects_filter: str | None = None):
        def read():
            stream = self._stream(name)
            held = None
            if subjects_filter is not None:
                held = {s: 1 for s in stream.messages if matches(subjects_filter, s)}
            return SimpleNamespace(
                state=SimpleNamespace(last_seq=stream.last_seq, subjects=held),
                config=SimpleNamespace(allow_direct=True),
            )

        return await self._ask(read)

    async def publish(self, subject: str, payload: bytes = b"", headers: Any = None):
        server = self._server

        def push() -> None:
            data = payload
            if server.corrupts_pushes and subject.startswith("grants.change."):
                data = _corrupted(payload, server.world)
            server.route(subject, data, "", headers)

        def store():
            streams = server.streams.values()
            stream = next((s for s in streams if matches(s.subject_space, subject)), None)
            if stream is None:
                raise NoStreamResponseError
            seq = stream.store(subject, payload, headers or {})
            if seq is None:
                raise APIError(code=400, err_code=_WRONG_LAST_SEQUENCE)
            if subject in (subjects.EPOCH, subjects.SNAPSHOT_INDEX):
                server.on_kept()
            return SimpleNamespace(seq=seq)

        return await self._ask(store, first=push)

    async def add_stream(self, **config: Any) -> None:
        server, name = self._server, config["name"]

        def make() -> None:
            if name in server.streams:
                raise APIError(code=400, err_code=_NAME_IN_USE)  # it begins elsewhere
            server.world.say("server", "made stream", name)
            server.streams[name] = Stream(config["subjects"][0], config["first_seq"])

        await self._ask(make)

    async def purge_stream(self, name: str, seq: int | None = None, subject: str | None = None):
        def purge() -> None:
            self._stream(name).purge(seq, subject)
            self._server.on_kept()

        await self._ask(purge)


def _corrupted(payload: bytes, world: World) -> bytes:
    """The same message with one bit changed, in the decision part as often as not."""
    position = world.rng.randrange(len(payload))
    flipped = payload[position] ^ 1 << world.rng.randrange(8)
    return payload[:position] + bytes([flipped]) + payload[position + 1 :]
