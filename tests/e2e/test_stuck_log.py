"""A collector that stops reading the log, or a terminal at Ctrl-S, holds nobody up."""

import fcntl
import os
import select
import threading

from tests.e2e.stack import running

REQUESTS = 1500
"""Their lines are 480 KiB: more than the pipes on the way, and the supervisor, hold."""
_PIPE = 64 * 1024


def test_a_log_nobody_reads_stops_no_request_and_no_revocation(tmp_path):
    reader, err = os.pipe()
    fcntl.fcntl(err, fcntl.F_SETPIPE_SZ, _PIPE)
    found = []

    def read():
        while data := os.read(reader, _PIPE):
            found.append(data)

    reading = threading.Thread(target=read)
    with running(tmp_path, environ={"GRANTGATE_LOG_FORMAT": "json"}, err=err) as stack:
        os.close(err)
        try:
            key = stack.manage("/key/generate", {"models": ["gpt-3.5-turbo"]})["key"]
            for _ in range(REQUESTS):
                assert stack.chat(key, "gpt-3.5-turbo").status_code == 200
            stack.manage("/key/block", {"key": key})
            assert stack.chat(key, "gpt-3.5-turbo").status_code == 401
        finally:
            reading.start()
    reading.join(30)
    os.close(reader)
    logged = b"".join(found)
    assert logged.count(b'"decision":"allow"') >= REQUESTS
    assert b"log_lines_dropped" not in logged


def test_a_full_pipe_keeps_the_stack_from_neither_start_nor_end(tmp_path):
    reader, err = os.pipe()
    while select.select([], [err], [], 0)[1]:
        os.write(err, b"x" * select.PIPE_BUF)
    with running(tmp_path, err=err) as stack:
        os.close(err)
        assert stack.call("/health/liveliness").status_code == 200
        assert stack.stop() == 0
    os.close(reader)
