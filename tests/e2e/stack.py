"""`grantgate up` as a user runs it: a child process, waited for by its `ready` line."""

import os
import select
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.parts import BIN, free_port

MASTER_KEY = "sk-master-of-the-end-to-end-tests"
READY_S = 60


class Stack:
    """A running `grantgate up`, and calls to it."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx2.Client(base_url=self.url, timeout=30)

    def manage(self, path, body=None, *, key=MASTER_KEY, **query):
        """Call a management path with the master key; the answer must be a 200."""
        answer = self.call(path, body, key=key, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def call(self, path, body=None, *, key=MASTER_KEY, headers=None, **query):
        headers = {"Authorization": f"Bearer {key}", **(headers or {})}
        if body is None:
            return self.http.get(path, headers=headers, params=query)
        return self.http.post(path, json=body, headers=headers, params=query)

    def chat(self, key, model, path="/v1/chat/completions", **fields):
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
        return self.call(path, body, key=key)

    def stop(self):
        """Ask the stack to stop as Ctrl-C would; the exit status."""
        self.http.close()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def running(folder: Path, *options, environ=None, config=None, err=None):
    """`grantgate up` in `folder`, from when it is ready until the block ends.

    Its lines go to a file there, or to the descriptor `err`.
    """
    port = free_port()
    command = [str(BIN / "grantgate"), "up", "--port", str(port)]
    command += ["--data-dir", str(folder / "data"), *map(str, options)]
    if config is not None:
        command += ["--config", str(config)]
    log = folder / "up.log"
    variables = {**os.environ, "GRANTGATE_MASTER_KEY": MASTER_KEY, **(environ or {})}
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=file if err is None else err,
            text=True,
        )
    try:
        _wait_until_ready(process, log)
        stack = Stack(process, port, log)
        yield stack
        stack.http.close()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def _wait_until_ready(process, log):
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        readable, _, _ = select.select([process.stdout], [], [], 0.2)
        if readable:
            line = process.stdout.readline()
            if line.startswith("ready"):
                return
            if not line:
                break
    tail = log.read_text()[-3000:]
    message = f"grantgate up did not become ready; its last lines:\n{tail}"
    raise AssertionError(message)
