"""The real servers the tests run against, each with a way to kill, freeze and start it again."""

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from services.dev.bundled import NATS_CONF
from services.dev.ports import free_ports

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]
PASSWORDS = {
    "GRANTGATE_NATS_KEYS_PASSWORD": "keys-secret-of-tests",
    "GRANTGATE_NATS_POLICY_PASSWORD": "policy-secret-of-tests",
    "GRANTGATE_NATS_GATEWAY_PASSWORD": "gateway-secret-of-tests",
}


_NUMBER = b"GRANTGATE_WORKER="
_handed_out = set()


def free_port():
    """A port nothing listens on, never the same twice, and below those of outgoing connections.

    Of several test processes each has ports of its own: what one was given is not taken yet.
    """
    of = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    # One that takes the place of a process that died has the next number, and its remainder.
    found = (port for port in free_ports(len(_handed_out) + 64 * of) if port % of == mine % of)
    port = next(port for port in found if port not in _handed_out)
    _handed_out.add(port)
    return port


@asynccontextmanager
async def connecting(courier):
    """A courier that keeps itself connected within the block."""
    running = asyncio.create_task(courier.run())
    try:
        yield courier
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition, what, timeout_s=20.0):
    """Wait until `condition()` (perhaps awaitable) is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        await asyncio.sleep(0.02)


async def written(snapshots, epoch="e"):
    """Have a snapshot written in place of what is there now."""
    return await snapshots.write(epoch, await snapshots.read())


async def accepts(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


class Server:
    """A child process on a port that stays the same when it is started again."""

    def __init__(self, command, port, env=None, log=None):
        self.command = command
        self.port = port
        self.env = {**os.environ, **(env or {})}
        self.log = log
        self.process = None

    async def start(self):
        out = self.log.open("ab") if self.log else asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(
            *self.command, env=self.env, stdout=out, stderr=out
        )
        if self.log:
            out.close()
        await until(self._up, f"{self.command[0]} on port {self.port}")

    async def _up(self):
        assert self.process.returncode is None, f"{self.command[0]} ended"
        return await accepts(self.port)

    def signal(self, number):
        self.process.send_signal(number)

    async def kill(self):
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def terminate(self):
        if self.process and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 10)
            except TimeoutError:
                await self.kill()

    @asynccontextmanager
    async def running(self):
        await self.start()
        try:
            yield self
        finally:
            await self.terminate()


def workers(server):
    """The processes a parent has, by their numbers."""
    pid = server.process.pid
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        with suppress(ProcessLookupError):  # it has just ended
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            numbers = [v[len(_NUMBER) :] for v in variables if v.startswith(_NUMBER)]
            if numbers:  # else it has not begun to run
                found[int(numbers[0])] = child
    return found


def nats_server(folder, conf=NATS_CONF):
    port = free_port()
    command = [
        str(BIN / "nats-server"),
        "-c",
        str(conf),
        "--addr",
        "127.0.0.1",
        "--port",
        str(port),
        "--store_dir",
        str(folder / "jetstream"),
    ]
    return Server(command, port, PASSWORDS, folder / "nats.log")


def mongo_server(folder):
    port = free_port()
    data = folder / "mongo"
    data.mkdir(exist_ok=True)
    command = [
        str(BIN / "secantusd-py"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--storage-path",
        str(data),
        "--sync-on-commit",
        "--cache-size",
        "256M",
        "--log-level",
        "WARNING",
    ]
    return Server(command, port, log=folder / "mongo.log")
