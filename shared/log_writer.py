"""Log lines to a pipe, a socket or a file, without ever waiting for who reads them.

A log collector that stops reading fills the pipe within some hundred lines; a service that went on
writing would stand still with it, every request and every lease included.
"""

import asyncio
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog
from prometheus_client import Counter

_MOST_LINES = 16_384
"""Lines that wait for a reader, some 5 MiB of decisions; what comes beyond them is dropped."""

_AT_ONCE = select.PIPE_BUF
"""Bytes that a pipe with any room takes at once, and does not mix with another process's."""

_AGAIN_S = 0.01
_LAST_S = 1.0
"""How long the last lines of a process wait for their reader."""

DROPPED = Counter("grantgate_log_lines_dropped", "Log lines that nobody took")


def _tell(count: int) -> None:
    structlog.get_logger().warning("log_lines_dropped", count=count)


def _that_never_waits(number: int) -> int:
    """Another descriptor of the pipe or terminal behind this one, in a mode that is ours alone.

    A terminal waits for a whole write once it had room for a byte, and of processes that share a
    pipe one may take the room that the other has just seen. Whatever else it is stays as it is.
    """
    try:
        if stat.S_ISFIFO(os.fstat(number).st_mode) or os.isatty(number):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            return os.open(f"/proc/self/fd/{number}", flags)
    except OSError:  # no /proc, or not ours to open
        pass
    return number


def _hold(number: int) -> None:
    """Keep a descriptor that was closed from becoming a connection, which lines would go into."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        if null != number:
            os.close(null)


class LogWriter:
    """Writes whole lines in order, those of one turn of the event loop together.

    What the reader does not take is kept up to a bound, and dropped and counted beyond it; the
    count is a line of its own as soon as there is room. A file of text to structlog and logging.
    """

    def __init__(self, number: int, tell: Callable[[int], None] = _tell) -> None:
        """Write to the descriptor `number`, whose mode other processes may share: it stays.

        `tell` writes the line that says how many were dropped.
        """
        _hold(number)
        self._number = _that_never_waits(number)
        self._tell = tell
        self._room = select.poll()
        self._room.register(self._number, select.POLLOUT)
        self._lines: deque[bytes] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_due = False
        self._writing = threading.RLock()
        self._untold = 0
        self._is_within = False
        self._before = b""

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have this loop go on with what a thread could not write at once.

        It is learned, too, from what is written in a loop; until then the next line goes on.
        """
        self._loop = loop
        self._is_due = False  # what the loop before had to do, it no longer does

    def add(self, line: bytes) -> None:
        """Write a line, its newline included, at the end of this turn of the running loop."""
        self._keep(line)
        loop = self._learn()
        if not self._is_due:
            loop.call_soon(self._turn_ends)
            self._is_due = True

    def write(self, text: str) -> int:
        """Write text now, after what was added before it; from any thread."""
        self._keep(text.encode(errors="backslashreplace"))
        self._empty()
        return len(text)

    def flush(self) -> None:
        """Do nothing: nothing that can be written waits."""

    def finish(self) -> None:
        """Give the reader a second to take what is left. Waits: for a process at its end."""
        end = time.monotonic() + _LAST_S
        while self._lines and time.monotonic() < end:
            with self._writing:
                self._room.poll(max(0.0, end - time.monotonic()) * 1000)
            self._empty()

    def _keep(self, line: bytes) -> None:
        if len(self._lines) < _MOST_LINES:
            self._lines.append(line)
        else:
            self._drop(1)

    def _drop(self, count: int) -> None:
        DROPPED.inc(count)
        self._untold += count

    def _turn_ends(self) -> None:
        self._is_due = False
        self._empty()

    def _empty(self) -> None:
        """Write what there is room for, and come back for the rest."""
        goes_on = True
        with self._writing:
            while goes_on and self._lines and self._room.poll(0):
                goes_on = self._write_some()
        if self._lines:
            self._come_back()
        elif goes_on and self._untold:
            count, self._untold = self._untold, 0
            self._tell(count)

    def _write_some(self) -> bool:
        """Write one chunk; False when that did not go on for now."""
        lines = self._chunk()
        data = (self._before + b"".join(lines))[:_AT_ONCE]
        try:
            written = os.write(self._number, data) - len(self._before)
        except BlockingIOError:
            self._lines.extendleft(reversed(lines))
            return False
        except OSError:
            # The reader has gone, the disk is full: no reason to serve nobody.
            self._drop(len(lines) + len(self._lines))
            self._lines.clear()
            if self._is_within:  # or the next line would go on where this one was torn
                self._before = b"\n"
            return False
        self._before = b""
        while lines and written >= len(lines[0]):
            written -= len(lines.pop(0))
        self._is_within = written > 0
        if lines:
            lines[0] = lines[0][written:]
            self._lines.extendleft(reversed(lines))
        return True

    def _chunk(self) -> list[bytes]:
        """As many whole lines as a pipe takes at once, or one that is longer."""
        lines = self._lines
        found = [lines.popleft()]
        size = len(self._before) + len(found[0])
        while lines and size + len(lines[0]) <= _AT_ONCE:
            size += len(lines[0])
            found.append(lines.popleft())
        return found

    def _learn(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.use(loop)
        return loop

    def _come_back(self) -> None:
        with suppress(RuntimeError):  # of another thread
            self._learn()
        if self._loop is None or self._is_due:
            return
        self._is_due = True
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._loop.call_later, _AGAIN_S, self._turn_ends)


STDERR = LogWriter(2)
"""Where every log line of a process goes."""
