"""Log lines to a pipe, a socket or a file, without ever waiting for who reads them.

A log collector that stops reading fills the pipe within some hundred lines; a service that went on
writing would stand still with it, every request and every lease included.
"""

import asyncio
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress

import structlog
from prometheus_client import Counter

_MOST_LINES = 16_384
"""Lines that wait for a reader, some 5 MiB of decisions; what comes beyond them is dropped."""

_AT_ONCE = select.PIPE_BUF
"""Bytes that a pipe with any room takes at once, and does not mix with another process's.

Of processes that share a pipe one may take the room that the other has just seen; that write waits.
The mode that would refuse it belongs to the pipe and so to all of them.
"""

_AGAIN_S = 0.01
_LAST_S = 1.0
"""How long the last lines of a process wait for their reader."""

DROPPED = Counter("grantgate_log_lines_dropped", "Log lines that nobody took")


class LogWriter:
    """Writes whole lines in order, those of one turn of the event loop together.

    What the reader does not take is kept up to a bound, and dropped and counted beyond it; the
    count is a line of its own as soon as there is room. A file of text to structlog and logging.
    """

    def __init__(self, number: int) -> None:
        """Write to the descriptor `number`, whose mode other processes may share: it stays."""
        self._number = number
        self._room = select.poll()
        self._room.register(number, select.POLLOUT)
        self._lines: deque[bytes] = deque()
        self._is_due = False
        self._writing = threading.RLock()
        self._untold = 0

    def add(self, line: bytes) -> None:
        """Write a line, its newline included, at the end of this turn of the running loop."""
        self._keep(line)
        if not self._is_due:
            asyncio.get_running_loop().call_soon(self._turn_ends)
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
                self._room.poll(_LAST_S * 1000)
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
            with suppress(RuntimeError):  # outside a loop the next line comes back for it
                self._come_back()
        elif goes_on and self._untold:
            count, self._untold = self._untold, 0
            structlog.get_logger().warning("log_lines_dropped", count=count)

    def _write_some(self) -> bool:
        """Write one chunk; False when that did not go on for now."""
        chunk = self._chunk()
        try:
            written = os.write(self._number, chunk)
        except BlockingIOError:  # another process has made it so
            self._lines.appendleft(chunk)
            return False
        except OSError:
            # The reader has gone, the disk is full: no reason to serve nobody.
            self._drop(1 + len(self._lines))
            self._lines.clear()
            return False
        if written < len(chunk):
            self._lines.appendleft(chunk[written:])
        return True

    def _chunk(self) -> bytes:
        """As many whole lines as a pipe takes at once, or so much of a longer one."""
        lines = self._lines
        chunk = lines.popleft()
        if len(chunk) > _AT_ONCE:
            lines.appendleft(chunk[_AT_ONCE:])
            return chunk[:_AT_ONCE]
        found, size = [chunk], len(chunk)
        while lines and size + len(lines[0]) <= _AT_ONCE:
            size += len(lines[0])
            found.append(lines.popleft())
        return b"".join(found)

    def _come_back(self) -> None:
        if not self._is_due:
            asyncio.get_running_loop().call_later(_AGAIN_S, self._turn_ends)
            self._is_due = True


STDERR = LogWriter(2)
"""Where every log line of a process goes."""
