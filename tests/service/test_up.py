"""The development stack's supervisor: children live and die together, and none is left behind."""

import asyncio
import fcntl
import os
import select
import signal
import socket
import stat
import sys
import termios
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pymongo
import pytest

from services.dev.master_key import choose, with_file
from services.dev.ports import HOST, PortTaken, free_ports, held, until_listening
from services.dev.stack import Shape, Stack, plan
from services.dev.supervisor import Command, Supervisor
from services.dev.up import DataDirUnusable, _data_dir
from shared.credentials import Secret

SLEEPER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
# os.write in handlers: a print that interrupts a print is an error of its own (reentrant call).
POLITE = """
import os, signal, sys
def leave(*_):
    os.write(1, b'leaving\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('up', flush=True)
signal.pause()
"""
RELOADER = """
import os, signal
signal.signal(signal.SIGHUP, lambda *_: os.write(1, b'reloaded\\n'))
print('up', flush=True)
while True:
    signal.pause()
"""
PARENT = """
import subprocess, sys, signal
child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])
signal.signal(signal.SIGTERM, signal.{action})
print('child', child.pid, flush=True)
signal.pause()
"""


class Heard:
    """What a supervisor said, and a wait for a line of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, text: str) -> None:
        self.lines.append(text)
        self._more.set()

    async def until(self, part: str, count: int = 1) -> list[str]:
        async with asyncio.timeout(20):
            while len(found := [line for line in self.lines if part in line]) < count:
                self._more.clear()
                await self._more.wait()
        return found


def child(name: str, code: str, **more) -> Command:
    return Command(name=name, argv=(sys.executable, "-c", code), environ=dict(os.environ), **more)


def is_gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process ends in time: a fact the kernel tells, so nothing is polled."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)


async def test_the_first_death_is_told_with_its_status_and_last_lines():
    heard = Heard()
    async with Supervisor(heard) as children:
        survivor = await children.start(child("survivor", SLEEPER))
        await children.start(child("victim", "print('a'); print('b'); raise SystemExit(3)"))
        death = await asyncio.wait_for(children.died(), 20)
        assert (death.name, death.status, death.last_lines) == ("victim", 3, ("a", "b"))
        assert "exit status 3" in str(death)
    assert is_gone(survivor)


async def test_a_signal_that_killed_a_child_is_named():
    async with Supervisor(Heard()) as children:
        os.kill(await children.start(child("victim", SLEEPER)), signal.SIGKILL)
        assert "killed by SIGKILL" in str(await asyncio.wait_for(children.died(), 20))


async def test_higher_tiers_have_ended_before_lower_ones_are_asked_to():
    heard = Heard()
    async with Supervisor(heard) as children:
        for tier, name in enumerate(["server", "keys", "policy", "gateway"]):
            await children.start(child(name, POLITE, tier=tier))
        await heard.until("up", count=4)
    order = [line.split()[0] for line in heard.lines if "leaving" in line]
    assert order == ["gateway", "policy", "keys", "server"]


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace():
    heard = Heard()
    async with Supervisor(heard) as children:
        pid = await children.start(child("deaf", STUBBORN, grace_s=0.2))
        await heard.until("up")
    assert is_gone(pid)
    assert any("did not stop" in line for line in heard.lines)


@pytest.mark.parametrize("action", ["SIG_IGN", "SIG_DFL"])
async def test_what_a_child_had_started_goes_with_it(action):
    heard = Heard()
    async with Supervisor(heard) as children:
        code = PARENT.format(action=action)
        await children.start(child("parent", code, grace_s=0.2))
        grandchild = int((await heard.until("child"))[0].split()[-1])
    assert is_gone(grandchild)


async def test_output_of_any_shape_is_passed_on_line_by_line():
    heard = Heard()
    code = "import sys; sys.stdout.write('x' * 300_000 + '\\n' + 'no end'); sys.stdout.flush()"
    async with Supervisor(heard) as children:
        await children.start(child("talker", code))
        await asyncio.wait_for(children.died(), 20)
    assert heard.lines == ["talker    | " + "x" * 300_000, "talker    | no end"]


async def test_a_command_that_cannot_be_run_is_an_error_and_stops_the_rest():
    async with Supervisor(Heard()) as children:
        survivor = await children.start(child("survivor", SLEEPER))
        with pytest.raises(FileNotFoundError):
            await children.start(Command(name="x", argv=("/nowhere/x",), environ={}))
    assert is_gone(survivor)


def test_a_command_prints_without_its_environment():
    assert "hush" not in repr(Command(name="x", argv=("x",), environ={"SECRET": "hush"}))


SCRIPT = textwrap.dedent(f"""
    import asyncio, os, sys
    from services.dev.supervisor import Command, supervise

    async def bring_up(children):
        for name, code in (("one", {RELOADER!r}), ("two", {SLEEPER!r})):
            argv = (sys.executable, "-c", code)
            pid = await children.start(
                Command(name=name, argv=argv, environ=dict(os.environ), reloads=name == "one")
            )
            print(name, pid, flush=True)
        print("started", flush=True)

    sys.exit(asyncio.run(supervise(bring_up, lambda text: print(text, flush=True))))
""")


@asynccontextmanager
async def a_supervisor(**how) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, int]]]:
    """A supervisor in a process of its own, with two sleeping children."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT), stdout=asyncio.subprocess.PIPE, **how
    )
    pids: dict[str, int] = {}
    awaited = {"one       | up", "two       | up", "started"}
    while awaited:
        line = (await process.stdout.readline()).decode().strip()
        assert line, "it ended before it had started"
        if line not in awaited:
            name, pid = line.split()
            pids[name] = int(pid)
        awaited.discard(line)
    try:
        yield process, pids
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_everything_and_ends_with_0(number):
    async with a_supervisor() as (process, pids):
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert all(is_gone(pid) for pid in pids.values())


async def test_sighup_goes_to_those_that_reload_and_harms_none():
    async with a_supervisor() as (process, pids):
        process.send_signal(signal.SIGHUP)
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line == b"one       | reloaded\n"
        os.kill(pids["two"], signal.SIGHUP)
        assert not is_gone(pids["two"], 0.1), "it has no handler of its own, and needs none"
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, output) == (0, b"stopping\n")


async def test_the_end_of_its_terminal_stops_everything():
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    async with a_supervisor(preexec_fn=take_terminal) as (process, pids):
        os.close(theirs)
        os.close(ours)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert all(is_gone(pid) for pid in pids.values())


async def test_a_childs_death_stops_everything_names_it_and_ends_with_1():
    async with a_supervisor() as (process, pids):
        os.kill(pids["two"], signal.SIGKILL)
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 1
        assert b"two died (killed by SIGKILL); its last lines:\n    up" in output
        assert is_gone(pids["one"])


async def test_children_die_with_a_supervisor_that_is_killed():
    async with a_supervisor() as (process, pids):
        process.kill()
        assert all(is_gone(pid) for pid in pids.values())


async def test_a_held_port_is_refused_to_others_and_shared_by_its_own():
    with held(0) as port:
        with pytest.raises(PortTaken, match=f"port {port} .* --port"), held(port):
            pass
        servers = [
            await asyncio.start_server(lambda _, w: w.close(), HOST, port, reuse_port=True)
            for _ in range(2)
        ]
        await asyncio.wait_for(until_listening(port), 20)
        for server in servers:
            server.close()
            await server.wait_closed()


def test_a_port_that_is_listened_on_is_taken():
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        with pytest.raises(PortTaken), held(other.getsockname()[1]):
            pass


def test_free_ports_differ():
    assert len(set(free_ports(50))) == 50


def test_the_data_directory_is_private_and_has_one_user_at_a_time(tmp_path):
    path = tmp_path / "data"
    with _data_dir(path):
        for folder in (path, path / "jetstream", path / "mongo"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with pytest.raises(DataDirUnusable, match="--data-dir"), _data_dir(path):
            pass
    with _data_dir(path):
        pass


def test_a_data_directory_that_cannot_be_made_is_told_with_a_cure(tmp_path):
    (tmp_path / "file").touch()
    wanted = tmp_path / "file" / "data"
    cause = f"{wanted} cannot be made .*: choose another --data-dir"
    with pytest.raises(DataDirUnusable, match=cause), _data_dir(wanted):
        pass


ENVIRON = {
    "PATH": os.environ["PATH"],
    "OPENAI_API_KEY": "hush-provider",
    "GRANTGATE_MASTER_KEY": "sk-hush-master",
    "GRANTGATE_NATS_KEYS_PASSWORD": "hush-keys",
    "GRANTGATE_NATS_POLICY_PASSWORD": "hush-policy",
    "GRANTGATE_NATS_GATEWAY_PASSWORD": "hush-gateway",
    "GRANTGATE_MONGO_URL": "mongodb://u:hush-mongo@db/",
}


def a_stack(tmp_path: Path, **more) -> Stack:
    shape = Shape(data_dir=tmp_path, port=4000, policy_replicas=2, gateways=2, **more)
    return plan(shape, ENVIRON, drain_s=5.0)


def by_name(stack: Stack) -> dict[str, Command]:
    return {command.name: command for command in (*stack.servers, *stack.services)}


@pytest.mark.parametrize("nats_url", [None, "nats://elsewhere:4222"])
@pytest.mark.parametrize("mongo_url", [None, "mongodb://u:hush-mongo@db/"])
def test_no_secret_is_ever_an_argument(tmp_path, nats_url, mongo_url):
    for command in by_name(a_stack(tmp_path, nats_url=nats_url, mongo_url=mongo_url)).values():
        words = [v for k, v in command.environ.items() if "PASSWORD" in k]
        assert not any(word in arg for arg in command.argv for word in ["hush", *words])


def test_each_process_is_named_by_its_command_line(tmp_path):
    lines = {name: " ".join(c.argv) for name, c in by_name(a_stack(tmp_path)).items()}
    assert "-m services.dev.demo_upstream" in lines.pop("demo")
    assert "nats-server" in lines.pop("nats")
    assert "secantusd-py" in lines.pop("mongo")
    for name, line in lines.items():
        assert line.endswith(f"-m services.{name.split('-')[0]}")
    assert set(lines) == {"keys", "policy-1", "policy-2", "gateway-1", "gateway-2"}


def test_each_process_is_told_only_what_it_needs(tmp_path):
    commands = by_name(a_stack(tmp_path))
    seen = {name: " ".join(command.environ.values()) for name, command in commands.items()}
    assert [n for n in seen if "sk-hush-master" in seen[n]] == ["keys", "gateway-1", "gateway-2"]
    assert not any("hush" in seen[name] for name in ("demo", "nats", "mongo"))
    assert not any("hush-mongo" in text for text in seen.values())
    words = {n: c.environ.get("GRANTGATE_NATS_PASSWORD") for n, c in commands.items()}
    assert words["policy-1"] == words["policy-2"] != words["keys"] != words["gateway-1"]
    for name in ("keys", "policy-1", "gateway-1"):
        assert commands["nats"].environ[f"GRANTGATE_NATS_{name.split('-')[0].upper()}_PASSWORD"]
        assert sum(bool(word) and word in seen[name] for word in set(words.values())) == 1


def test_servers_that_are_there_already_are_used(tmp_path):
    url = "mongodb://u:hush-mongo@db/"
    commands = by_name(a_stack(tmp_path, nats_url="nats://elsewhere:4222", mongo_url=url))
    assert not {"nats", "mongo"} & set(commands)
    assert commands["keys"].environ["GRANTGATE_MONGO_URL"] == url
    for name in ("keys", "policy-1", "gateway-1"):
        told = commands[name].environ
        assert told["GRANTGATE_NATS_URL"] == "nats://elsewhere:4222"
        assert told["GRANTGATE_NATS_PASSWORD"] == f"hush-{name.split('-')[0]}"


def test_gateways_share_the_public_port_and_nothing_else(tmp_path):
    stack = a_stack(tmp_path)
    told = [by_name(stack)[f"gateway-{number}"].environ for number in (1, 2)]
    assert {t["GRANTGATE_GATEWAY_PORT"] for t in told} == {"4000"}
    assert len({t["GRANTGATE_GATEWAY_INTERNAL_PORT"] for t in told}) == 2
    assert len(set(stack.ready.values())) == 6


def ping(mongo_url: str) -> None:
    with pymongo.MongoClient(mongo_url) as client:
        client.admin.command("ping")


async def test_the_embedded_servers_start_and_stop(tmp_path):
    heard = Heard()
    with _data_dir(tmp_path / "data") as data_dir:
        stack = a_stack(data_dir)
        async with Supervisor(heard) as children:
            pids = [await children.start(command) for command in stack.servers]
            for port in stack.listening:
                await asyncio.wait_for(until_listening(port), 60)
            keys = by_name(stack)["keys"].environ
            await asyncio.to_thread(ping, keys["GRANTGATE_MONGO_URL"])
    assert all(is_gone(pid) for pid in pids)
    # SecantusDB 0.7.0b3 by itself hung in 2 of 120 ends after SIGTERM, and is killed then.
    killed = [line for line in heard.lines if "did not stop" in line]
    assert not [line for line in killed if not line.startswith("mongo")]
    assert (tmp_path / "data" / "jetstream").is_dir()


def test_a_master_key_is_made_when_there_is_none_and_shown_in_the_curl_alone():
    made = choose(None, {}, "config.yaml")
    assert made.in_shell == made.environ["GRANTGATE_MASTER_KEY"] != ""
    assert made.in_shell.startswith("sk-")
    assert made.in_shell not in f"{made!r}{made.remark}"
    assert made.in_shell != choose(None, {}, "config.yaml").in_shell


@pytest.mark.parametrize("name", ["GRANTGATE_MASTER_KEY", "LITELLM_MASTER_KEY"])
def test_a_master_key_of_the_environment_is_shown_by_its_name(name):
    assert choose(Secret("sk-master"), {name: "sk-master"}, "c.yaml").in_shell == f"${name}"


def test_a_master_key_of_a_file_is_shown_by_its_file_and_comes_first(tmp_path):
    file = tmp_path / "the key"
    file.write_text("sk-master\n")
    environ = with_file({"GRANTGATE_MASTER_KEY": "sk-other"}, str(file))
    assert environ == {"GRANTGATE_MASTER_KEY_FILE": str(file)}
    assert choose(Secret("sk-master"), environ, "c.yaml").in_shell == f"$(cat '{file}')"


def test_a_master_key_of_the_config_is_never_shown():
    found = choose(Secret("sk-master"), {}, "c.yaml")
    assert "sk-master" not in f"{found.in_shell}{found.remark}"
    assert "c.yaml" in found.remark


async def grantgate(*argv: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("grantgate"), *argv),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()


async def test_a_stack_that_cannot_start_says_why_in_one_line(tmp_path):
    data = ("--data-dir", str(tmp_path / "data"))
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        told = await grantgate("up", *data, "--port", str(port))
    cause = f"port {port} of {HOST} is taken: choose another with --port"
    assert told == (2, f"grantgate up: {cause}\n")
    bad = tmp_path / "bad.yaml"
    bad.write_text("model_list: 7\n")
    status, output = await grantgate("up", *data, "--port", "0", "--config", str(bad))
    assert status == 2
    assert output.startswith(f"grantgate up: {bad}: model_list")
    assert output.count("\n") == 1


async def test_the_command_line_names_its_commands():
    status, output = await grantgate("--help")
    assert status == 0
    assert all(name in output for name in ("up", "keys", "policy", "gateway", "version"))
    assert await grantgate("version") == (0, "0.1.0\n")
    assert await grantgate("--version") == (0, "0.1.0\n")
