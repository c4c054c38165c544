"""Waiting for something that only grows, by many callers at once."""

import asyncio
from collections.abc import Callable


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
