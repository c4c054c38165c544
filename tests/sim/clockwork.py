"""Virtual time: one queue of events for the world, one event loop for each simulated process.

Time jumps to the next event. A process can be frozen between any two of its callbacks, and in the
middle of one wherever it reads its clock; its callbacks then run late, in order.
"""

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

_CALLBACKS_AT_ONE_INSTANT = 200_000
_DEEPEST_PAUSE = 2


class World:
    """The only source of time and of chance. `trace` is None, or takes every line said."""

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.violation: str | None = None
        self.is_crash = False
        """Whether what was recorded is no broken promise but an exception out of the code."""
        self.is_over = False
        self.trace: list[str] | None = [] if tracing else None
        self.pause_chance = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._runnable: deque[Process] = deque()
        self._depth = 0

    def say(self, who: str, what: str, *about: object) -> None:
        if self.trace is not None:
            words = " ".join(str(word) for word in about)
            self.trace.append(f"{self.now:9.4f} {who:10} {what} {words}".rstrip())

    def fail(self, why: str) -> None:
        """Record the first broken promise; the run ends there."""
        if self.violation is None and not self.is_over:
            self.violation = f"at {self.now:.4f}: {why}"
            self.say("VIOLATION", why)

    def crash(self, why: str) -> None:
        """Record that something raised what nothing caught; the run ends there too."""
        if self.violation is None and not self.is_over:
            self.is_crash = True
            self.fail(why)

    def at(self, when: float, callback: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), callback, args))

    def after(self, seconds: float, callback: Callable[..., None], *args: Any) -> None:
        self.at(self.now + seconds, callback, *args)

    def make_runnable(self, process: "Process") -> None:
        self._runnable.append(process)

    def run_until(self, end: float) -> None:
        """Run everything due up to `end`, or to the first broken promise."""
        spins = 0
        while self.violation is None:
            while self._runnable:
                self._runnable.popleft().run()
                spins += 1
            if not self._events or self._events[0][0] > end:
                self.now = max(self.now, end)
                return
            when, _, callback, args = heapq.heappop(self._events)
            if when > self.now:
                self.now, spins = when, 0
            elif spins > _CALLBACKS_AT_ONE_INSTANT:
                self.crash("time stands still: something spins without waiting")
            callback(*args)

    def maybe_pause(self, process: "Process") -> None:
        """Now and then, let the rest of the world run on while `process` stands in mid-step."""
        if self._depth >= _DEEPEST_PAUSE or self.rng.random() >= self.pause_chance:
            return
        length = self.rng.choice((0.003, 0.02, 0.3, 1.0, 3.0, 6.0))
        self.say(process.name, "stands in mid-step for", length)
        self._depth += 1
        previous = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            self.run_until(self.now + length)
        finally:
            asyncio._set_running_loop(previous)
            self._depth -= 1


class Process:
    """One simulated operating system process: a loop, a clock of its own, a way to die."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.is_dead = False
        self.links: list[Any] = []
        """Its connections, which are cut when it ends."""
        self._frozen_until = 0.0
        self._freeze_in = -1
        self._freeze_for = 0.0
        self._offset = world.rng.uniform(0, 1000)
        self._rate = world.rng.uniform(0.99, 1.01)
        self._ready: deque[asyncio.Handle] = deque()
        self._is_running = False
        self._is_queued = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.loop = Loop(self)

    @property
    def is_frozen(self) -> bool:
        return self.world.now < self._frozen_until

    @property
    def is_mid_step(self) -> bool:
        return self._is_running

    def clock(self) -> float:
        return self._offset + self._rate * self.world.now

    def world_time(self, local: float) -> float:
        return (local - self._offset) / self._rate

    def boottime(self) -> float:
        """The clock the code under test reads: it may be kept from doing anything after it."""
        self.world.maybe_pause(self)
        read = self.clock()
        self.world.maybe_pause(self)
        return read

    def ready(self, handle: asyncio.Handle) -> None:
        if self.is_dead:
            return
        self._ready.append(handle)
        self._queue()

    def _queue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            self.world.make_runnable(self)

    def run(self) -> None:
        self._is_queued = False
        if self._is_running or self.is_dead or self.is_frozen:
            return
        previous = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        self._is_running = True
        try:
            while self._ready and not self.is_dead and not self.is_frozen:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                self._count_down()
        finally:
            self._is_running = False
            asyncio._set_running_loop(previous)

    def _count_down(self) -> None:
        if self._freeze_in > 0:
            self._freeze_in -= 1
            if self._freeze_in == 0:
                self.freeze(self._freeze_for)

    def freeze(self, seconds: float, *, after_callbacks: int = 0) -> None:
        """Stop now, or once so many more callbacks have run."""
        if after_callbacks:
            self._freeze_in, self._freeze_for = after_callbacks, seconds
            return
        self.world.say(self.name, "frozen for", f"{seconds:.3f}")
        self._frozen_until = max(self._frozen_until, self.world.now + seconds)
        self.world.at(self._frozen_until, self._thaw)

    def freezes_no_more(self) -> None:
        self._freeze_in = -1

    def _thaw(self) -> None:
        if not self.is_frozen and not self.is_dead:
            self.world.say(self.name, "thawed")
            self._queue()

    def spawn(self, work: Any, what: str) -> None:
        """Run a coroutine here; that it raises is a broken promise."""
        if self.is_dead:
            work.close()
            return
        task = self.loop.create_task(self._watched(work, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # cancelled before it began

    async def _watched(self, work: Any, what: str) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not happen
            self.world.crash(f"{self.name}: {what} ended with {error!r}")

    def kill(self) -> None:
        """End at once: nothing it does from here on reaches the world."""
        for link in self.links:
            link.close()
        self.is_dead = True

    def bury(self) -> None:
        """After the world's end: unwind what this process was doing, so that nothing leaks."""
        self.is_dead = False
        previous = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        for _ in range(_CALLBACKS_AT_ONE_INSTANT):
            if not self._ready:
                break
            self._ready.popleft()._run()
        asyncio._set_running_loop(previous)
        self.is_dead = True


class Loop(asyncio.AbstractEventLoop):
    """As much of an event loop as the code under test needs; its timers are world events."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def time(self) -> float:
        return self._process.clock()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback, *args, context=None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._process.ready(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay, callback, *args, context=None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        world = self._process.world
        # No timer takes no time: rounding must not let a loop of short waits stand still.
        world.at(max(self._process.world_time(when), world.now + 1e-6), self._due, handle)
        return handle

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled():
            self._process.ready(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def run_in_executor(self, executor, func, *args) -> asyncio.Future[Any]:
        """A file's operation: done now; its caller goes on some callbacks later, or never."""
        del executor
        future = self.create_future()
        answer, said = future.set_result, None
        try:
            said = func(*args)
        except OSError as error:
            answer, said = future.set_exception, error
        self.call_soon(lambda: None if future.done() else answer(said))
        return future

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro, *, name=None, context=None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._process.world.crash(f"{self._process.name}: {context}")
