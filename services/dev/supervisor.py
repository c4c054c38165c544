"""Child processes that live and die together: one ends, all end, and none is left behind."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from shared.children import before_exec

GRACE_S = 10.0
"""How long a child may take to end after SIGTERM."""
LAST_LINES = 20
"""How many of a dead child's last lines are shown again."""
_OUTPUT_S = 1.0
_CHUNK_BYTES = 65536
_NAME_WIDTH = 9

Say = Callable[[str], None]


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. Children of a higher `tier` are stopped before those of a lower one.

    `environ` is the child's whole environment: the only place for a secret. `reloads`: SIGHUP is
    passed on to it.
    """

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    tier: int = 0
    cwd: Path | None = None
    grace_s: float = GRACE_S
    reloads: bool = False

    def __repr__(self) -> str:
        """Show what runs, and nothing of its environment."""
        return f"Command(name={self.name!r}, argv={self.argv!r})"


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """A child that ended although nobody asked it to."""

    name: str
    status: int
    last_lines: tuple[str, ...]

    def __str__(self) -> str:
        """Say who died, of what, and what it said last."""
        if self.status < 0:
            cause = f"killed by {signal.Signals(-self.status).name}"
        else:
            cause = f"exit status {self.status}"
        lines = "".join(f"\n    {line}" for line in self.last_lines)
        return f"{self.name} died ({cause}); its last lines:{lines}"


class _Child:
    """A running command. `end` is the task that becomes its exit status, negative of a signal."""

    def __init__(self, command: Command, process: Process, output: BinaryIO, say: Say) -> None:
        self.command = command
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process = process
        self._output = output
        self._say = say
        self.end = asyncio.create_task(self._until_end(), name=f"child {command.name}")

    async def _until_end(self) -> int:
        reader = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._output
        )
        relaying = asyncio.create_task(self._relay(reader))
        try:
            status = await self._process.wait()
            self._signal_group(signal.SIGKILL)
            # Bounded: a process that left the group could hold the pipe open for ever.
            await asyncio.wait({relaying}, timeout=_OUTPUT_S)
        finally:
            relaying.cancel()
            pipe.close()
        return status

    async def _relay(self, output: asyncio.StreamReader) -> None:
        """Pass the child's output on line by line, with its name before each."""
        rest = b""
        while chunk := await output.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._line(line)
        if rest:
            self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        self.last_lines.append(text)
        self._say(f"{self.command.name:<{_NAME_WIDTH}} | {text}")

    def _signal_group(self, number: signal.Signals) -> None:
        """Signal the child and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it, and whatever it started, at once."""
        if not self.end.done():
            self._signal_group(signal.SIGKILL)

    def reload(self) -> None:
        """Pass a SIGHUP on to it, if it is one that reloads."""
        if self.command.reloads and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL once its grace is over."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            await asyncio.wait({self.end}, timeout=self.command.grace_s)
            if not self.end.done():
                self._say(f"{self.command.name} did not stop in {self.command.grace_s:g} s: killed")
                self.kill()
        await self.end


class Supervisor:
    """Starts children, hears of the first death, and stops every one when the block ends.

    Children are in process groups of their own, so a terminal's Ctrl-C reaches this process
    alone and the order of stopping is kept.
    """

    def __init__(self, say: Say) -> None:
        """Pass each child's output to `say`, a line at a time."""
        self._say = say
        self._children: list[_Child] = []
        self._death: asyncio.Future[Death] = asyncio.get_running_loop().create_future()
        self._is_stopping = False

    async def __aenter__(self) -> Self:
        """Begin with no child."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every child, the highest tier first."""
        self._is_stopping = True
        for tier in sorted({child.command.tier for child in self._children}, reverse=True):
            of_tier = [child for child in self._children if child.command.tier == tier]
            await asyncio.gather(*(child.stop() for child in of_tier))

    async def start(self, command: Command) -> int:
        """Start a child and return its process id. Raises OSError when it cannot be run."""
        parent = os.getpid()
        # A pipe of our own: asyncio's wait() would not return before the pipe it made is closed,
        # which a process that the child left behind may keep from happening.
        read_end, write_end = os.pipe()
        output = os.fdopen(read_end, "rb", buffering=0)
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=command.environ,
                cwd=command.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=asyncio.subprocess.STDOUT,
                preexec_fn=lambda: before_exec(parent, signal.SIGKILL),
            )
        except BaseException:
            output.close()
            raise
        finally:
            os.close(write_end)
        child = _Child(command, process, output, self._say)
        self._children.append(child)
        child.end.add_done_callback(lambda end: self._ended(child, end))
        return process.pid

    def _ended(self, child: _Child, end: asyncio.Task[int]) -> None:
        if not (self._is_stopping or self._death.done() or end.cancelled()):
            name, lines = child.command.name, tuple(child.last_lines)
            self._death.set_result(Death(name=name, status=end.result(), last_lines=lines))

    async def died(self) -> Death:
        """Wait for the first child that ends although nobody asked it to."""
        return await asyncio.shield(self._death)

    def reload(self) -> None:
        """Have the children that can reload their configuration do so."""
        for child in self._children:
            child.reload()

    def kill(self) -> None:
        """Kill every child at once, without its grace."""
        for child in self._children:
            child.kill()


async def supervise(bring_up: Callable[[Supervisor], Awaitable[None]], say: Say) -> int:
    """Run `bring_up`, then keep its children until one dies or a signal asks for the end.

    SIGINT and SIGTERM stop everything in order; a second one kills. SIGHUP is passed on to those
    that reload, unless it tells that the terminal is gone: then it stops everything too. Returns
    the exit status: 0 when asked to stop, 1 when a child died. What `bring_up` raises is raised
    again once every child has been stopped.
    """
    asked = asyncio.Event()
    had_terminal = _has_terminal()
    async with Supervisor(say) as children:

        def stop() -> None:
            if asked.is_set():
                children.kill()
            asked.set()

        def hang_up() -> None:
            if had_terminal and not _has_terminal():
                stop()
            else:
                children.reload()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        death = asyncio.create_task(children.died())
        request = asyncio.create_task(asked.wait())
        starting = asyncio.ensure_future(bring_up(children))
        try:
            ends = {death, request}
            await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not death.done():
                say("stopping")
                return 0
            say(f"{death.result()}\nstopping everything else")
            return 1
        finally:
            for task in (starting, death, request):
                task.cancel()
            await asyncio.gather(starting, death, request, return_exceptions=True)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
