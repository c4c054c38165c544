"""The whole product as `grantgate up` would run it, each part to be stopped and started alone."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from services.dev.bundled import NATS_CONF
from services.dev.ports import HOST
from services.dev.stack import Shape, plan
from tests.parts import free_port

START_S = 60
WATCHERS = ("watcher-of-the-streams", "watcher-of-the-questions")
"""One in each account of NATS, in their order; the streams are in the first."""


def until(condition, what, timeout_s=START_S):
    """Wait until `condition()` is true; the value is what it gave."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


def listens(port):
    with suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


class Part:
    """One process and all it ever wrote."""

    def __init__(self, command, folder):
        self.command = command
        self.log = folder / f"{command.name}.log"
        self.process = None

    def start(self):
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command.argv,
                env=dict(self.command.environ),
                cwd=self.command.cwd or self.log.parent,
                stdout=out,
                stderr=out,
            )

    def end(self, number=signal.SIGTERM):
        """Send the signal and wait; the exit status."""
        if not self.is_running:
            return None
        self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def said(self, what):
        return self.log.read_text(errors="replace").count(what)

    def shows(self):
        """What the system shows of the process while it runs, by its kind."""
        folder, name = Path(f"/proc/{self.process.pid}"), self.command.name.removesuffix("-1")
        yield f"argument of {name}", (folder / "cmdline").read_bytes()
        yield f"environment of {name}", (folder / "environ").read_bytes()


class Product:
    """Every part by name. `answers` is all that clients were given, by its kind."""

    def __init__(self, folder, environ):
        self.data = folder / "data"
        self.data.mkdir()
        (self.data / "mongo").mkdir()
        self.port = free_port()
        shape = Shape(data_dir=self.data, port=self.port)
        environ = {**os.environ, **environ, "GRANTGATE_POLICY_DATA_DIR": str(self.data / "policy")}
        commands = plan(shape, environ, 1.0)
        self.ready = commands.ready
        self.parts = {
            each.name.removesuffix("-1"): Part(each, folder)
            for each in (*commands.servers, *commands.services)
            if each.name != "demo"
        }
        self._watch(folder)
        self.answers = []

    def _watch(self, folder):
        """Give each account of NATS a user more, who may read everything."""
        conf = folder / "nats.conf"
        before, *accounts = NATS_CONF.read_text().split("users = [")
        for watcher, rest in zip(WATCHERS, accounts, strict=True):
            before += f"users = [ {{user: {watcher}, password: {watcher}}}{rest}"
        conf.write_text(before)
        command = self.parts["nats"].command
        argv = tuple(str(conf) if each == str(NATS_CONF) else each for each in command.argv)
        self.parts["nats"].command = msgspec.structs.replace(command, argv=argv)

    def environ(self, name):
        return self.parts[name].command.environ

    @property
    def nats_url(self):
        return self.environ("keys")["GRANTGATE_NATS_URL"]

    def server(self, name):
        """Start NATS or the database, and wait until it takes connections."""
        argv = self.parts[name].command.argv
        self.parts[name].start()
        port = int(argv[argv.index("--port") + 1])
        until(lambda: listens(port), f"{name} to listen")

    def until_ready(self):
        for name, url in self.ready.items():
            until(lambda url=url: self._is_ready(url), f"{name} to be ready")

    def _is_ready(self, url):
        port, _, path = url.removeprefix(f"http://{HOST}:").partition("/")
        return self.ask("a probe", f"GET /{path} HTTP/1.1\r\n", port=int(port))[0] == 200

    def ask(self, what, head, body=b"", port=None, timeout_s=10):
        """Send these very bytes; status and body. (0, b"") when no answer came."""
        lines = head if isinstance(head, bytes) else head.encode("latin-1")
        if body:
            lines += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        lines += b"host: gateway\r\nconnection: close\r\n\r\n"
        try:
            with socket.create_connection((HOST, port or self.port), timeout_s) as peer:
                peer.sendall(lines + body)
                # It has a file of its own over the socket, which would stay open without it.
                with http.client.HTTPResponse(peer) as answer:
                    answer.begin()
                    try:
                        content = answer.read()
                    except http.client.IncompleteRead as broken:
                        content = broken.partial
                    headers = "".join(f"{name}: {v}\n" for name, v in answer.getheaders())
        except (OSError, http.client.HTTPException):
            return 0, b""
        told = f"{answer.status} {answer.reason}\n{headers}\n".encode("latin-1") + content
        self.answers.append((f"answer to {what}", told))
        return answer.status, content

    def call(self, path, key, body=None, *, what=None, port=None, more=""):
        """A JSON call with a key."""
        method = "GET" if body is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nauthorization: Bearer {key}\r\n{more}"
        content = b"" if body is None else json.dumps(body).encode()
        return self.ask(what or path.partition("?")[0], head, content, port)

    @property
    def internal_ports(self):
        """The port of each service's own answers."""
        names = {"keys": "KEYS_PORT", "policy": "POLICY_PORT", "gateway": "GATEWAY_INTERNAL_PORT"}
        return {
            name: int(self.environ(name)[f"GRANTGATE_{variable}"])
            for name, variable in names.items()
        }


@contextmanager
def running(folder, environ):
    """The product, from when it is ready until the block ends; nothing is left behind."""
    product = Product(folder, environ)
    try:
        product.server("nats")
        product.server("mongo")
        yield product
    finally:
        for part in reversed(product.parts.values()):
            part.end(signal.SIGKILL)
