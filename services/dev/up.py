"""`grantgate up`: the whole stack on this machine, for development."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

import aiohttp
import msgspec

from services.dev.bundled import EXAMPLE_CONFIG
from services.dev.master_key import MasterKey, choose, with_file
from services.dev.ports import HOST, PortTaken, held, until_listening
from services.dev.stack import MissingServer, Shape, Stack, plan
from services.dev.supervisor import Supervisor, supervise
from shared import config
from shared.log_writer import LogWriter

EXAMPLE_ENVIRON = {"GRANTGATE_DRAIN_S": "5"}
"""What goes with the example configuration when the user has not set it."""

_LOOPBACK = ("127.0.0.0/8", "::1", "localhost")
"""Where the demo upstream is, and what developers run beside it: models may be made for these."""

_PRIVATE = 0o700
_POLL_S = 0.05
_PROBE_S = 2.0
_REMIND_S = 10.0
_CANNOT_START = 2


class DataDirUnusable(Exception):
    """The data directory cannot be made, or another stack runs on it."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command line."""

    config: Path | None = None
    data_dir: Path = Path(".grantgate")
    port: int = 4000
    policy_replicas: int = 1
    gateways: int = 1
    nats_url: str | None = None
    mongo_url: str | None = None
    master_key_file: Path | None = None

    def __repr__(self) -> str:
        """Show none of the addresses: one may hold a password."""
        return f"Options(config={self.config!r}, data_dir={self.data_dir!r}, port={self.port})"


class _Output:
    """Remarks and the children's lines on stderr, the ready line on stdout.

    Neither waits for its reader: with a terminal at Ctrl-S the stack goes on, and can be stopped.
    """

    def __init__(self) -> None:
        self._err = LogWriter(2, self._lost)
        self._out = LogWriter(1, self._lost)

    def say(self, text: str) -> None:
        self._err.write(f"{text}\n")

    def remark(self, text: str) -> None:
        self.say(f"{'grantgate':<9} | {text}")

    def ready(self, text: str) -> None:
        self._out.write(f"{text}\n")

    def finish(self) -> None:
        """Give who reads a moment to take the last lines."""
        self._out.finish()
        self._err.finish()

    def _lost(self, count: int) -> None:
        self.remark(f"{count} lines are lost: nobody read them in time")


@contextlib.contextmanager
def _data_dir(path: Path) -> Iterator[Path]:
    """Make the data directory, readable by its owner alone, and keep other stacks out of it.

    Raises DataDirUnusable.
    """
    try:
        path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        for folder in (path, path / "jetstream", path / "mongo"):
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
            folder.chmod(_PRIVATE)
        locked = (path / "lock").open("w")
    except OSError as error:
        message = f"{path} cannot be made or written ({error.strerror}): choose another --data-dir"
        raise DataDirUnusable(message) from error
    with locked as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{path} is in use by another grantgate up: choose another --data-dir"
            raise DataDirUnusable(message) from error
        yield path


def _environ(options: Options, inherited: Mapping[str, str], file: Path) -> dict[str, str]:
    """What the services inherit: the user's environment, and what stands for what it lacks."""
    named = options.master_key_file
    environ = with_file(inherited, str(named.resolve()) if named else None)
    defaults = EXAMPLE_ENVIRON if options.config is None else {}
    defaults = {**defaults, "GRANTGATE_LOG_FORMAT": "console"}
    return {**defaults, **environ, "GRANTGATE_CONFIG": str(file)}


def _with_loopback(private: bool | tuple[str, ...]) -> dict[str, str]:
    """The setting `allow_private_upstreams` of a stack that is for development."""
    entries = () if isinstance(private, bool) else private
    value = "true" if private is True else ",".join((*entries, *_LOOPBACK))
    return {"GRANTGATE_ALLOW_PRIVATE_UPSTREAMS": value}


def _curl(url: str, master_key: MasterKey, model: str | None) -> str:
    """A command to paste: a chat when the model is known to answer one, else the list of models."""
    # Double quotes, so that the shell fills in a variable.
    head = f'-H "Authorization: Bearer {master_key.in_shell}"'
    if model is None:
        return f"curl {url}/v1/models {head}"
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f"curl {url}/v1/chat/completions {head} "
        f"-H 'Content-Type: application/json' -d '{body.decode()}'"
    )


async def _until_ready(ready: Mapping[str, str], output: _Output) -> None:
    """Wait until every address answers 200, and say now and then which one does not."""
    loop = asyncio.get_running_loop()
    remind_at = loop.time() + _REMIND_S
    waiting = dict(ready)
    timeout = aiohttp.ClientTimeout(total=_PROBE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while waiting:
            for name, url in tuple(waiting.items()):
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as answer:
                        if answer.status == HTTPStatus.OK:
                            del waiting[name]
            if waiting and loop.time() > remind_at:
                output.remark(f"still waiting for {', '.join(waiting)}")
                remind_at = loop.time() + _REMIND_S
            await asyncio.sleep(_POLL_S)


async def _run(stack: Stack, ready_line: str, output: _Output) -> int:
    async def bring_up(children: Supervisor) -> None:
        for command in stack.servers:
            await children.start(command)
        await asyncio.gather(*(until_listening(port) for port in stack.listening))
        for command in stack.services:
            await children.start(command)
        await _until_ready(stack.ready, output)
        output.ready(ready_line)

    return await supervise(bring_up, output.say)


def _up(options: Options, output: _Output) -> int:
    file = (options.config or EXAMPLE_CONFIG).absolute()
    environ = _environ(options, os.environ, file)
    configured = config.load(str(file), environ)
    master_key = choose(configured.master_key, environ, str(file))
    with _data_dir(options.data_dir.resolve()) as data_dir, held(options.port) as port:
        has_tls = configured.settings.gateway_cert_file is not None
        shape = Shape(
            data_dir=data_dir,
            port=port,
            has_tls=has_tls,
            policy_replicas=options.policy_replicas,
            gateways=options.gateways,
            nats_url=options.nats_url,
            mongo_url=options.mongo_url,
        )
        settings = configured.settings
        environ |= _with_loopback(settings.allow_private_upstreams)
        stack = plan(shape, {**environ, **master_key.environ}, settings.drain_s)
        if options.mongo_url is None:
            output.remark(
                "the embedded database is for development; "
                "in production use MongoDB 7 or 8 as a replica set"
            )
        if master_key.remark:
            output.remark(master_key.remark)
        exact = (entry.model_name for entry in configured.models if "*" not in entry.model_name)
        model = next(exact, None) if options.config is None else None
        url = f"http{'s' if has_tls else ''}://{HOST}:{port}"
        return asyncio.run(
            _run(stack, f"ready {url}  try: {_curl(url, master_key, model)}", output)
        )


def up(options: Options) -> int:
    """Run the stack until it is asked to stop or a part of it dies; returns the exit status.

    The services take a changed configuration into use; SIGHUP has them look at once.
    0 after an orderly stop, 1 when a child died, 2 when the stack cannot start at all, for which
    one line says why.
    """
    output = _Output()
    try:
        return _up(options, output)
    except (config.ConfigError, DataDirUnusable, MissingServer, PortTaken, OSError) as problem:
        output.say(f"grantgate up: {problem}")
        return _CANNOT_START
    finally:
        output.finish()
