"""Waiting by many callers at once: for something that only grows, or for a reading they share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Waiters:
    """Callers, each with a condition; whoever changes what they wait for calls `look`."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def look(self) -> None:
        """Let everyone go on whose condition holds by now."""
        ready = [future for future, holds in self._waiting.items() if holds()]
        for future in ready:
            del self._waiting[future]
            if not future.done():
                future.set_result(None)

    async def wait(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Whether `holds()` is true within the time."""
        if holds():
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = holds
        try:
            async with asyncio.timeout(within_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(future, None)
        return True


def seen(task: "asyncio.Task[_T]") -> None:
    """Let an exception pass that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


class Shared(Generic[_T]):
    """A reading that callers share, but only one that began after they asked for it."""

    def __init__(self, read: Callable[[], Awaitable[_T]]) -> None:
        """Share the results of `read`."""
        self._read = read
        self._reading: asyncio.Task[_T] | None = None
        self._next: asyncio.Task[_T] | None = None

    async def fresh(self) -> _T:
        """What a reading that begins from now on finds. Raises what `read` raises."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._read_after(self._reading))
            self._next.add_done_callback(seen)
        return await asyncio.shield(self._next)

    async def _read_after(self, reading: "asyncio.Task[_T] | None") -> _T:
        if reading is not None:
            await asyncio.wait({reading})
        self._reading, self._next = self._next, None
        return await self._read()
