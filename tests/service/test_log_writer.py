"""A log that nobody reads stops nobody, and says afterwards what it lost."""

import asyncio
import json
import os
import select
import subprocess
import sys
import threading
import tty
from contextlib import suppress

import pytest

from shared import log_writer
from shared.log_writer import LogWriter
from tests.parts import until


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def is_full(number):
    return not select.select([], [number], [], 0)[1]


def line(number):
    return json.dumps({"number": number, "padding": "x" * (number % 300)}).encode() + b"\n"


async def read_until(reader, is_enough):
    """The whole lines that come until `is_enough` of them have."""
    found, rest = [], b""
    while not is_enough(found):
        # Never a thread that reads: it would keep a test that failed from ending.
        await until(lambda: select.select([reader], [], [], 0)[0], "more lines", 10)
        *whole, rest = (rest + os.read(reader, 65536)).split(b"\n")
        found += [json.loads(each) for each in whole]
    return found


async def test_lines_beyond_what_a_pipe_holds_wait_for_their_reader(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)
    for number in range(5000):
        writer.add(line(number))
    await until(lambda: is_full(writing), "a full pipe")
    writer.add(line(5000))
    found = await read_until(reader, lambda lines: len(lines) == 5001)
    assert [each["number"] for each in found] == list(range(5001))


async def test_what_was_dropped_is_counted_and_told_once_there_is_room(pipe, monkeypatch):
    reader, writing = pipe
    monkeypatch.setattr(log_writer, "_MOST_LINES", 1000)
    writer = LogWriter(writing)
    told = []

    class Log:
        def warning(self, event, *, count):
            told.append((event, count))
            writer.write(json.dumps({"event": event, "count": count}) + "\n")

    monkeypatch.setattr(log_writer.structlog, "get_logger", Log)
    before = log_writer.DROPPED._value.get()
    for number in range(10_000):
        writer.add(line(number))
        if number % 50 == 0:
            await asyncio.sleep(0)
    dropped = log_writer.DROPPED._value.get() - before
    assert dropped > 1000
    found = await read_until(reader, lambda lines: lines and "event" in lines[-1])
    assert found.pop() == {"event": "log_lines_dropped", "count": dropped}
    assert told == [("log_lines_dropped", dropped)]
    assert len(found) == 10_000 - dropped
    assert found == sorted(found, key=lambda each: each["number"])


async def test_text_is_written_at_once_and_after_the_lines_before_it(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)
    writer.add(b'{"number": 1}\n')
    assert writer.write('{"number": 2}\n') == 14
    assert os.read(reader, 100) == b'{"number": 1}\n{"number": 2}\n'


async def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)
    text = json.dumps({"number": 1, "long": "y" * 200_000}) + "\n"
    writer.write(text)
    writer.write(json.dumps({"number": 2}) + "\n")
    found = await read_until(reader, lambda lines: len(lines) == 2)
    assert [each["number"] for each in found] == [1, 2]
    assert len(found[0]["long"]) == 200_000


async def test_a_reader_that_has_gone_is_no_error(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)
    os.close(reader)
    before = log_writer.DROPPED._value.get()
    writer.write("nobody hears this\n")
    writer.add(b"nor this\n")
    await asyncio.sleep(0)
    assert log_writer.DROPPED._value.get() == before + 2


async def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(pipe):
    reader, writing = pipe
    os.set_blocking(writing, False)
    writer = LogWriter(writing)
    for number in range(3000):
        writer.write(line(number).decode())
    found = await read_until(reader, lambda lines: len(lines) == 3000)
    assert [each["number"] for each in found] == list(range(3000))


def test_the_last_lines_of_a_process_wait_a_moment_for_their_reader(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)
    for number in range(1000):
        writer.write(line(number).decode())
    assert is_full(writing)
    found = []

    def read():
        while data := os.read(reader, 65536):
            found.append(data)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    writer.finish()
    os.close(writing)
    os.close(writer._number)  # its own way to the same pipe
    reading.join(10)
    assert b"".join(found).count(b"\n") == 1000


async def test_threads_and_the_loop_write_whole_lines(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)

    def write(first):
        for number in range(first, first + 500):
            writer.write(line(number).decode())

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 500, 1000)]
    for thread in threads:
        thread.start()
    for number in range(1500, 2000):
        writer.add(line(number))
        await asyncio.sleep(0)
    found = await read_until(reader, lambda lines: len(lines) == 2000)
    assert sorted(each["number"] for each in found) == list(range(2000))
    for thread in threads:
        thread.join()


async def test_what_a_thread_found_no_room_for_is_written_once_there_is(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)
    writer.use(asyncio.get_running_loop())

    def write():
        for number in range(2000):
            writer.write(line(number).decode())

    await asyncio.to_thread(write)
    assert is_full(writing)
    found = await read_until(reader, lambda lines: len(lines) == 2000)
    assert [each["number"] for each in found] == list(range(2000))


def test_what_a_loop_left_when_it_ended_is_written_by_the_next(pipe):
    reader, writing = pipe
    writer = LogWriter(writing)

    async def leave():
        for number in range(2000):
            writer.add(line(number))
        await asyncio.sleep(0)
        assert is_full(writing)

    async def go_on():
        writer.add(line(2000))
        return await read_until(reader, lambda lines: len(lines) == 2001)

    asyncio.run(leave())
    found = asyncio.run(go_on())
    assert [each["number"] for each in found] == list(range(2001))


async def test_a_terminal_with_room_for_a_part_of_a_line_holds_nobody_up():
    reader, terminal = os.openpty()
    try:
        tty.setraw(terminal)
        writer = LogWriter(terminal)
        for number in range(1000):
            writer.write(line(number).decode())
        assert await read_until(reader, lambda lines: len(lines) == 1000)
    finally:
        os.close(reader)
        os.close(terminal)


async def test_room_that_another_process_takes_first_holds_nobody_up(pipe):
    _reader, writing = pipe
    writer = LogWriter(writing)
    while not is_full(writing):
        os.write(writing, b"{}\n" + b" " * 4092 + b"\n")

    class Seen:
        def poll(self, _):
            return [(writing, select.POLLOUT)]  # as it was before the other took it

    writer._room = Seen()
    await asyncio.wait_for(asyncio.to_thread(writer.write, '"mine"\n'), 5)
    assert is_full(writing)


def test_what_a_full_disk_tore_does_not_run_into_the_next_line(tmp_path):
    script = """
import resource, signal
from shared import log_writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
for _ in range(3):
    log_writer.STDERR.write('"torn"\\n')
assert log_writer.DROPPED._value.get() == 2
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log_writer.STDERR.write('"whole"\\n')
"""
    path = tmp_path / "log"
    with path.open("wb") as log:
        subprocess.run([sys.executable, "-c", script], stderr=log, check=True, timeout=30)
    first, torn, whole, *told = path.read_text().splitlines()
    assert (first, whole) == ('"torn"', '"whole"')
    assert torn == '"to'
    assert not told


def test_a_closed_stderr_becomes_nothing_else():
    script = """
import os, socket
from shared.log_writer import STDERR
ours, other = socket.socketpair()
assert ours.fileno() != 2
STDERR.write("a line")
other.setblocking(False)
try:
    raise SystemExit(other.recv(100))
except BlockingIOError:
    pass
"""
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0


def test_a_process_that_dies_of_an_error_does_not_wait_to_say_so(pipe):
    script = """
from shared.service import run, set_up_logging

async def start(stack, stopping):
    raise OSError("no such luck")

set_up_logging("policy", "info", "json")
run((), start)
"""
    reader, writing = pipe
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    assert said.returncode == 1
    assert said.stderr.endswith("\nOSError: no such luck\n")
    while not is_full(writing):
        os.write(writing, b"x" * select.PIPE_BUF)
    assert subprocess.run(command, stderr=writing, check=False, timeout=20).returncode == 1
    os.close(reader)
