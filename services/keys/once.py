"""Idempotency keys: a write that a caller named is carried out once, however often it is sent.

Whether it was is known from the log, by every replica. Its answer, which may hold a secret, is
only ever kept in the memory of the replica that gave it, and not for long.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from services.keys.errors import Conflict, InvalidRequest, Mismatch
from services.keys.requests import IDEMPOTENCY_KEY
from services.keys.state import Once
from services.keys.waiting import seen

KEPT_S = 600.0
"""How long an answer can be had again."""

_MOST = 1000
_LARGEST = 256 * 1024
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


_T = TypeVar("_T")


class AlreadyDone(Exception):
    """The write was carried out before, as `revision`, by the same body."""

    def __init__(self, revision: int) -> None:
        """Give the revision it is in."""
        super().__init__(f"carried out as revision {revision}")
        self.revision = revision


def named(key: str | None, caller: bytes, call: str, body: bytes) -> Once | None:
    """What names a write: its caller, its call and their key for it. Raises InvalidRequest."""
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        msg = f"{IDEMPOTENCY_KEY} must be 1 to 255 visible ASCII characters"
        raise InvalidRequest(msg, IDEMPOTENCY_KEY)
    name = hashlib.sha256(b"\x00".join((caller, call.encode(), key.encode()))).digest()
    return Once(name=name, body=hashlib.sha256(body).digest())


def check_not_done(once: Once, done: tuple[Once, int] | None) -> None:
    """Raise AlreadyDone, or Mismatch when it was another body."""
    if done is None:
        return
    before, revision = done
    if before.body != once.body:
        msg = f"This {IDEMPOTENCY_KEY} was used for another body, as revision {revision}"
        raise Mismatch(msg, IDEMPOTENCY_KEY)
    raise AlreadyDone(revision)


def no_longer_kept(revision: int) -> Conflict:
    """Make the error for a write whose answer is gone."""
    msg = (
        f"This was carried out before, as revision {revision}; its answer is not kept any more."
        " A secret that was in it is shown only once"
    )
    return Conflict(msg, IDEMPOTENCY_KEY)


class Answers:
    """The answers of the last named writes; those still being carried out take turns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, int, bytes]] = OrderedDict()
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def to_its_end(self, write: Coroutine[Any, Any, _T]) -> _T:
        """Carry a named write out, also when its caller is gone meanwhile.

        They will send it again, and then the answer, which may hold a secret, has to be kept.
        """
        task = asyncio.ensure_future(write)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(seen)
        return await asyncio.shield(task)

    def turn(self, once: Once) -> asyncio.Lock:
        """What to hold while the write is carried out: its repetition waits for its answer."""
        found = self._turns.get(once.name)
        if found is None:
            found = self._turns[once.name] = asyncio.Lock()
        return found

    def keep(self, once: Once, status: int, body: bytes) -> None:
        """Remember an answer, when it is not too large."""
        if len(body) <= _LARGEST:
            self._kept[once.name] = (self._clock(), status, body)
        while self._kept and (
            len(self._kept) > _MOST or next(iter(self._kept.values()))[0] < self._clock() - KEPT_S
        ):
            self._kept.popitem(last=False)

    def again(self, once: Once, revision: int) -> tuple[int, bytes]:
        """The status and body of an answer given before. Raises Conflict when it is gone."""
        found = self._kept.get(once.name)
        if found is None or found[0] < self._clock() - KEPT_S:
            raise no_longer_kept(revision)
        return found[1], found[2]
