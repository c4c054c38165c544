"""Child processes, and what Linux says they have used."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_UTIME = 11
"""The place of utime in /proc/<pid>/stat, counted from after the command's closing parenthesis."""
_STOP_S = 20.0
_START_S = 120.0

_running: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}


@contextmanager
def child(
    argv: Iterable[str],
    log: Path,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[int]:
    """Run a command within the block; the value is its process id. Its output goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            tuple(argv), env=environ, cwd=cwd, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    _running[process.pid] = (process, log)
    try:
        yield process.pid
    finally:
        del _running[process.pid]
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def family(pid: int) -> list[int]:
    """A process and all that it started, and they, that still run."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def _place(pids: Iterable[int], cpus: Collection[int]) -> None:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(OSError):  # it has ended meanwhile
                os.sched_setaffinity(int(thread.name), cpus)


@contextmanager
def placed(front: int) -> Iterator[None]:
    """Keep the first half of the processors for `front` and what it started, within the block.

    All else that this process started, and what it starts meanwhile, has the other half.
    """
    cpus = sorted(os.sched_getaffinity(0))
    half = len(cpus) // 2
    measured = family(front)
    others = set(family(os.getpid())) - set(measured)
    if half:
        _place(measured, cpus[:half])
        _place(others, cpus[half:])
    try:
        yield
    finally:
        _place({*others, *measured}, cpus)


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time, user and system, that these processes have used so far.

    The kernel counts in ticks of 10 ms: measure over seconds.
    """
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[_UTIME]) + int(fields[_UTIME + 1])
    return ticks * _TICK_S


def rss_mib(pids: Iterable[int]) -> float:
    """MiB of memory these processes hold now."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                kib += int(line.split()[1])
    return kib / 1024


def _until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; RuntimeError as soon as a child has ended, TimeoutError in the end."""
    deadline = time.monotonic() + _START_S
    while not condition():
        for process, log in _running.values():
            if process.poll() is not None:
                message = f"a process ended with status {process.returncode}: see {log}"
                raise RuntimeError(message)
        if time.monotonic() > deadline:
            message = f"{what}: not within {_START_S:.0f} s; see the logs"
            raise TimeoutError(message)
        time.sleep(0.05)


def until_listening(port: int) -> None:
    """Wait until something accepts connections on a port of this machine."""

    def accepts() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    _until(accepts, f"something listens on port {port}")


def until_ready(url: str) -> None:
    """Wait until a URL answers 200."""

    def is_ready() -> bool:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    _until(is_ready, f"{url} answers 200")


def post(url: str, body: bytes, key: str, header: str = "") -> tuple[int, bytes]:
    """POST JSON with a key and lines of header; the status and the body of the answer."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    headers |= dict(line.split(": ", 1) for line in header.splitlines())
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
