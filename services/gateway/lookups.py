"""What names stand for, asked about no more than it has to be."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from shared.addresses import is_address

Resolve = Callable[[str], Awaitable[Sequence[str]]]

_AT_ONCE = 2
_PATIENCE_S = 1.0
"""After which a name is asked about a second time: one lost packet holds a look-up up for five."""


async def addresses_of(host: str) -> list[str]:
    """What a name stands for now. OSError when nothing does."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class _Asked:
    """A name that is asked about: its first answer, and how many look-ups have not ended."""

    __slots__ = ("again", "answer", "running")

    def __init__(self, answer: asyncio.Future[Sequence[str]]) -> None:
        self.answer = answer
        self.again: asyncio.TimerHandle | None = None
        self.running = 0


class Lookups:
    """What names stand for, each asked about at most twice at a time.

    A look-up cannot be ended, and there is room for some dozens: a name that a nameserver is
    silent about would take all of it, were each request for it to ask anew.
    """

    def __init__(self, resolve: Resolve) -> None:
        """Ask `resolve`, which raises OSError for a name that stands for nothing."""
        self._loop = asyncio.get_running_loop()
        self._resolve = resolve
        self._asked: dict[str, _Asked] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, in the order to try them. OSError, ValueError: it has none.

        Of two look-ups the first that finds some answers everybody who waits.
        """
        if is_address(host):
            return [host]
        asked = self._asked.get(host)
        if asked is None:
            asked = self._asked[host] = _Asked(self._loop.create_future())
        elif asked.answer.done():  # and a look-up that began before has not ended
            asked.answer = self._loop.create_future()
        if asked.again is None:
            self._ask(host, asked)
        return await asyncio.shield(asked.answer)

    def _ask(self, host: str, asked: _Asked) -> None:
        """Begin a look-up, and another one if nothing is known before long."""
        asked.again = None
        if asked.running < _AT_ONCE:
            asked.running += 1
            look_up = asyncio.ensure_future(self._resolve(host))
            look_up.add_done_callback(lambda done: self._found(host, asked, done))
            asked.again = self._loop.call_later(_PATIENCE_S, self._ask, host, asked)

    def _found(self, host: str, asked: _Asked, done: asyncio.Future[Sequence[str]]) -> None:
        asked.running -= 1
        problem = asyncio.CancelledError() if done.cancelled() else done.exception()
        if not asked.answer.done():
            if problem is None:
                asked.answer.set_result(done.result())
            elif not asked.running:
                asked.answer.set_exception(problem)
                asked.answer.exception()  # seen, also when everybody has left
        if asked.answer.done() and asked.again is not None:
            asked.again.cancel()
            asked.again = None
        if not asked.running:
            del self._asked[host]
