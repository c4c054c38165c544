"""A NATS server, the connections to it and a JetStream, with every way they fail.

A connection is a TCP connection: in order, whole, until it is reset. Between connections anything
overtakes anything. What a client wrote while cut off is sent when it is back, however late.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import nats.errors

from tests.sim.clockwork import Process, World

if TYPE_CHECKING:
    from tests.sim.clients import Client, Subscription

_DIRECT = "$JS.API.DIRECT.GET."
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


@lru_cache(maxsize=100_000)
def matches(pattern: str, subject: str) -> bool:
    """NATS's rule, for the wildcards in use: `>` ends a pattern, `*` is one token."""
    if pattern == subject:
        return True
    wanted, given = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":
            return len(given) > position
        if position >= len(given) or token not in ("*", given[position]):
            return False
    return len(wanted) == len(given)


class Stream:
    """One incarnation of the stream: the last message of each subject."""

    def __init__(self, subject_space: str, first_seq: int) -> None:
        self.subject_space = subject_space
        self.last_seq = first_seq - 1
        self.messages: dict[str, tuple[int, bytes]] = {}

    def last(self, pattern: str) -> tuple[int, bytes] | None:
        if ">" not in pattern:
            return self.messages.get(pattern)
        found = (m for s, m in self.messages.items() if matches(pattern, s))
        return max(found, key=lambda message: message[0], default=None)

    def store(self, subject: str, data: bytes, headers: dict[str, str]) -> int | None:
        """The new sequence, or None when the condition in the headers does not hold."""
        if _EXPECTED in headers:
            last = self.last(headers[_EXPECTED + "-Subject"])
            if (last[0] if last else 0) != int(headers[_EXPECTED]):
                return None
        self.last_seq += 1
        self.messages[subject] = (self.last_seq, data)
        return self.last_seq

    def following(self, seq: int, pattern: str, limit: int) -> list[tuple[str, int, bytes]]:
        """The messages on `pattern` from a sequence on, in order."""
        found = sorted(
            (at, subject, data)
            for subject, (at, data) in self.messages.items()
            if at >= seq and matches(pattern, subject)
        )
        return [(subject, at, data) for at, subject, data in found[:limit]]

    def purge(self, below: int | None, subject: str | None) -> None:
        self.messages = {
            s: (seq, data)
            for s, (seq, data) in self.messages.items()
            if (subject is not None and not matches(subject, s))
            or (below is not None and seq >= below)
        }


class Server:
    """Routes core messages at once; stores in the order of arrival, when its disk lets it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.streams: dict[str, Stream] = {}
        self.subscriptions: list[Subscription] = []
        self.corrupts_pushes = False
        self.losing = 0.0
        """The chance that a core message is dropped before a subscriber."""
        self.doubling = 0.0
        """The chance that one comes twice, the second time later; answers do not."""
        self._stored_at = 0.0
        self.on_kept: Callable[[], None] = lambda: None
        """Called once an epoch or an index of snapshots was stored, or messages were purged."""

    def stall(self, seconds: float) -> None:
        """JetStream does nothing for a while; what is asked of it meanwhile waits in order."""
        self.world.say("server", "jetstream stalls for", f"{seconds:.3f}")
        self._stored_at = max(self._stored_at, self.world.now + seconds)

    @property
    def is_stalled(self) -> bool:
        return self._stored_at > self.world.now + 0.1

    def wipe(self, *names: str) -> None:
        """Lose the streams of these names, or all."""
        self.world.say("server", "STREAM WIPED", *names)
        for name in names or list(self.streams):
            self.streams.pop(name, None)

    def route(
        self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if subject.startswith(_DIRECT):
            self.read_directly(subject.removeprefix(_DIRECT), data, reply)
            return
        groups: dict[str, list[Subscription]] = {}
        reached = False
        for subscription in self.subscriptions:
            if matches(subscription.subject, subject):
                groups.setdefault(subscription.queue or subscription.name, []).append(subscription)
        for group in groups.values():
            chosen = group[0] if len(group) == 1 else self.world.rng.choice(group)
            reached = True
            if self.losing and self.world.rng.random() < self.losing:
                continue
            message = Message(subject, data, reply, headers)
            chosen.client.link.deliver(chosen.hear, message)
            is_doubled = self.doubling and not subject.startswith("_INBOX")
            if is_doubled and self.world.rng.random() < self.doubling:
                later = self.world.rng.choice((0.001, 0.05, 1.0))
                self.world.after(later, chosen.client.link.deliver, chosen.hear, message)
        if reply and not reached:
            self.route(reply, b"", "", {"Status": "503"})

    def read_directly(self, name: str, asked: bytes, reply: str) -> None:
        """Answer a batch read: each message found, then that there is no more."""
        wanted = json.loads(asked)

        def read() -> list[tuple[str, int, bytes]]:
            stream = self.streams.get(name)
            if stream is None:
                return []
            return stream.following(wanted["seq"], wanted["next_by_subj"], wanted["batch"])

        def answer(found: list[tuple[str, int, bytes]]) -> None:
            for subject, seq, data in found:
                headers = {"Nats-Sequence": str(seq), "Nats-Subject": subject}
                self.route(reply, data, "", headers)
            self.route(reply, b"", "", {"Status": "204" if found else "404"})

        self._stored_at = max(self._stored_at, self.world.now) + self.world.rng.random() * 0.0004
        self.world.at(self._stored_at, lambda: answer(read()))

    def operate(self, link: "Link", operation: Callable[[], Any], answer: Callable[..., None]):
        """Carry out one JetStream operation and send what came of it back."""
        self._stored_at = max(self._stored_at, self.world.now) + self.world.rng.random() * 0.0004
        self.world.at(self._stored_at, self._operate, link, operation, answer)

    def _operate(self, link: "Link", operation: Callable[[], Any], answer: Callable[..., None]):
        try:
            found = operation()
        except nats.errors.Error as error:
            found = error
        link.deliver(answer, found)


class Message:
    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(
        self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.subject, self.data, self.reply, self.headers = subject, data, reply, headers


class Link:
    """One process's connection."""

    def __init__(self, server: Server, client: "Client", process: Process) -> None:
        self.server = server
        self.process = process
        self.world = server.world
        self.is_up = True
        self.latency_s = 0.001
        self.spikes = 0.01
        self._client = client
        self._generation = 0
        self._loses_sent = False
        self._unsent: list[Callable[[], None]] = []
        self._out_at = 0.0
        self._in_at = 0.0
        process.links.append(self)

    def _delay(self) -> float:
        rng = self.world.rng
        return rng.random() * (self.latency_s if rng.random() > self.spikes else 0.3)

    def send(self, effect: Callable[[], None]) -> None:
        """Have `effect` happen at the server."""
        if self.process.is_dead:
            return
        if not self.is_up:
            self._unsent.append(effect)
            return
        self._out_at = max(self._out_at, self.world.now + self._delay())
        self.world.at(self._out_at, self._arrive, self._generation, effect)

    def _arrive(self, generation: int, effect: Callable[[], None]) -> None:
        if generation == self._generation or not self._loses_sent:
            effect()

    def deliver(self, callback: Callable[..., Any], *args: Any) -> None:
        """Have `callback` called in the process."""
        if not self.is_up or self.process.is_dead:
            return
        self._in_at = max(self._in_at, self.world.now + self._delay())
        self.world.at(self._in_at, self._delivered, self._generation, callback, args)

    def _delivered(self, generation: int, callback: Callable[..., Any], args: Any) -> None:
        if generation == self._generation and not self.process.is_dead:
            self.process.loop.call_soon(callback, *args)

    def stall(self, seconds: float, *, out: bool, back: bool) -> None:
        """Hold what is sent for a while: packets are lost and sent again, one way or both."""
        self.world.say(self.process.name, "link stalls for", f"{seconds:.3f}", out, back)
        if out:
            self._out_at = max(self._out_at, self.world.now + seconds)
        if back:
            self._in_at = max(self._in_at, self.world.now + seconds)

    @property
    def is_well(self) -> bool:
        soon = self.world.now + 0.1
        return self.is_up and self._out_at <= soon and self._in_at <= soon

    def cut(self, seconds: float) -> None:
        """Reset the connection; it comes back after a while, and the process notices then."""
        if not self.is_up:
            return
        self.world.say(self.process.name, "link cut for", f"{seconds:.3f}")
        self._loses_sent = self.world.rng.random() < 0.5
        self.close()
        self.world.after(seconds, self._come_back)

    def close(self) -> None:
        self.is_up = False
        self._generation += 1
        subs = self.server.subscriptions
        self.server.subscriptions = [s for s in subs if s.client is not self._client]

    def _come_back(self) -> None:
        if not self.process.is_dead:
            self.process.loop.call_soon(self._reconnect)

    def _reconnect(self) -> None:
        self.is_up = True
        self._out_at = self._in_at = self.world.now
        self.world.say(self.process.name, "link is back")
        for subscription in self._client.subscriptions:
            self.send(subscription.register)
        unsent, self._unsent = self._unsent, []
        for effect in unsent:
            self.send(effect)
        self._client.on_reconnected()
