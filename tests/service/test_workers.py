"""A gateway and a policy of two workers each, as processes: nobody notices what befalls one."""

import asyncio
import os
import re
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from shared.catalogue import Deployment
from shared.changes import KeyGrant
from shared.credentials import Secret
from tests import parts
from tests.chaos.load import Load, Tally
from tests.parts import until, workers
from tests.service.delivery_world import World
from tests.service.gateway_world import raw_request
from tests.service.recording import SSE_HEAD, Recorder, chunk, hang_up, reply
from tests.service.test_up import is_gone

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-client-of-the-worker-tests"
CONFIG = """\
model_list:
  - model_name: gpt-4
    litellm_params: {{model: openai/up, api_base: 'http://127.0.0.1:{port}/v1', api_key: k}}
    model_info: {{id: one}}
"""
TOKEN = "token-of-the-worker-tests"
DONE = b"data: [DONE]\n\n"
STREAM = b'{"model":"gpt-4","stream":true}'
PIECES, PIECE_S = 10, 0.04


def service(folder, name, port, **env):
    internal = "GRANTGATE_GATEWAY_INTERNAL" if name == "gateway" else "GRANTGATE_POLICY"
    env = {
        "GRANTGATE_CONFIG": str(folder / "config.yaml"),
        "GRANTGATE_MASTER_KEY": "sk-master-of-the-worker-tests",
        "GRANTGATE_INTERNAL_TOKEN": TOKEN,
        "GRANTGATE_WORKERS": "2",
        "GRANTGATE_NATS_PASSWORD": parts.PASSWORDS[f"GRANTGATE_NATS_{name.upper()}_PASSWORD"],
        f"{internal}_PORT": str(port),
        **env,
    }
    command = [sys.executable, "-m", f"services.{name}"]
    return parts.Server(command, port, env, folder / f"{name}.log")


class Site:
    """The parts, and what is asked of them."""

    def __init__(self, folder, nats, upstream, session):
        self.folder, self.nats, self.upstream, self.session = folder, nats, upstream, session
        self.port = parts.free_port()
        url = {"GRANTGATE_NATS_URL": f"nats://127.0.0.1:{nats.port}"}
        self.policy = service(folder, "policy", parts.free_port(), **url)
        port = {"GRANTGATE_GATEWAY_PORT": str(self.port)}
        self.gateway = service(folder, "gateway", parts.free_port(), **url, **port)

    def configure(self, extra=""):
        text = CONFIG.format(port=self.upstream.port) + extra
        (self.folder / "config.yaml").write_text(text)

    async def get(self, server, path):
        url = f"http://127.0.0.1:{server.port}{path}"
        async with self.session.get(url) as answer:
            return answer.status, await answer.text()

    async def is_whole(self, server):
        status, text = await self.get(server, "/readyz")
        return status == 200 and text.count('"ok"') == text.count("worker ") == 2

    async def sums(self, server, metric, **labels):
        """A metric's sum for each worker, "" for what the parent itself says."""
        _, text = await self.get(server, "/metrics")
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == metric and labels.items() <= sample.labels.items():
                    owner = sample.labels.get("worker", "")
                    found[owner] = found.get(owner, 0) + sample.value
        return found

    async def chat(self):
        """The status of a request on a connection of its own."""
        return (await self.say(b'{"model":"gpt-4"}')).split(b" ", 2)[1]

    async def say(self, body):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw_request(body, key=KEY))
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            await hang_up(writer)

    @asynccontextmanager
    async def streams(self):
        """Streams that have begun, of each worker some, and that go on until the block ends."""
        self.upstream.go_on.clear()
        opened = [asyncio.create_task(self.say(STREAM)) for _ in range(16)]

        async def all_begun():
            found = await self.sums(self.gateway, "grantgate_gateway_streams_in_flight")
            return sum(found.values()) == len(opened) and found

        of_each = await until(all_begun, "the streams to begin")
        assert min(of_each.values()) > 0
        try:
            yield opened, of_each
        finally:
            self.upstream.go_on.set()
            await asyncio.gather(*opened)


async def answer(recorded, writer, go_on):
    if b"stream" not in recorded.body:
        writer.write(reply())
        return
    writer.write(SSE_HEAD)
    for _ in range(PIECES):
        writer.write(chunk(b"data: 1\n\n"))
        await asyncio.sleep(PIECE_S)
    await go_on.wait()
    writer.write(chunk(DONE) + b"0\r\n\r\n")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        nats = await enter(parts.nats_server(folder).running())
        upstream = await enter(Recorder().running())
        upstream.go_on = asyncio.Event()
        upstream.go_on.set()
        upstream.script = lambda recorded, writer: answer(recorded, writer, upstream.go_on)
        timeout = aiohttp.ClientTimeout(total=10)
        session = await enter(aiohttp.ClientSession(timeout=timeout))
        made = Site(folder, nats, upstream, session)
        made.configure()
        world = World(nats, stack)
        _, made.barrier = await world.publisher(lease_s=5.0)
        world.log.add(Deployment(id="one", name="gpt-4"), KeyGrant(id=Secret(KEY).digest()))
        await asyncio.gather(*(enter(each.running()) for each in (made.policy, made.gateway)))
        for server in (made.policy, made.gateway):
            await until(lambda server=server: made.is_whole(server), "the workers")
        yield made


async def test_both_workers_serve_and_their_counts_together_are_what_was_asked(site):
    before = await site.sums(site.gateway, "grantgate_gateway_requests_total")
    assert await asyncio.gather(*(site.chat() for _ in range(60))) == [b"200"] * 60
    after = await site.sums(site.gateway, "grantgate_gateway_requests_total")
    served = {number: after[number] - before.get(number, 0) for number in after}
    assert sum(served.values()) == 60
    assert served.keys() == {"0", "1"}
    assert min(served.values()) > 0
    assert await site.sums(site.gateway, "grantgate_workers_ready") == {"": 2}


async def test_the_questions_are_shared_by_the_workers_of_policy(site):
    for _ in range(40):  # at once they would be one message, which one of them answers
        assert await site.chat() == b"200"
    answered = await site.sums(site.policy, "policy_decisions_total")
    assert answered.keys() == {"0", "1"}
    assert min(answered.values()) > 0
    members, _ = await site.barrier.members.named()
    assert len(members) == 2, "a write waits for each of them"


async def test_the_parent_has_the_rest_answered_by_a_worker(site):
    url = f"http://127.0.0.1:{site.policy.port}/v1/decide"
    token = {"x-grantgate-internal-token": TOKEN}
    asked = {"key": KEY, "model": "gpt-4"}
    async with site.session.post(url, json=asked, headers=token) as answer:
        assert answer.status == 200
        assert (await answer.json())["deployments"] == ["one"]
        assert answer.headers["x-grantgate-revision"] == "1"
    async with site.session.post(url, json=asked) as answer:
        assert answer.status == 401
    assert (await site.get(site.gateway, "/nothing"))[0] == 404
    assert await site.get(site.gateway, "/livez") == (200, "ok\n")


async def test_a_worker_that_is_killed_takes_nothing_with_it_but_its_own(site):
    before = workers(site.gateway)
    async with site.streams() as (opened, of_each):
        os.kill(before[0], signal.SIGKILL)
        assert is_gone(before[0])
        assert await asyncio.gather(*(site.chat() for _ in range(20))) == [b"200"] * 20
        await until(lambda: site.is_whole(site.gateway), "another worker")
    cut = [task for task in opened if DONE not in task.result()]
    assert len(cut) == of_each["0"]
    after = workers(site.gateway)
    assert after[1] == before[1]
    assert after[0] != before[0]
    assert await site.sums(site.gateway, "grantgate_workers_ended_total") == {"": 1}


async def test_sighup_reaches_every_worker(site):
    seen = site.gateway.log.read_text().count("configuration_reloaded")
    site.gateway.signal(signal.SIGHUP)
    await until(
        lambda: site.gateway.log.read_text().count("configuration_reloaded") == seen + 2,
        "both workers to reload",
    )


async def test_nobody_notices_that_the_workers_are_replaced_one_by_one(site):
    tally = Tally()
    load = Load(f"http://127.0.0.1:{site.port}", KEY, tally, writes=False)
    before = {each.process.pid: workers(each) for each in (site.gateway, site.policy)}

    async def all_replaced():
        for server in (site.gateway, site.policy):
            now = workers(server)
            if len(now) != 2 or set(now.values()) & set(before[server.process.pid].values()):
                return False
            if not await site.is_whole(server):
                return False
        return True

    async def replace():
        for server in (site.gateway, site.policy):
            server.signal(signal.SIGUSR2)
        await until(all_replaced, "every worker to be replaced", 40)

    await load.run(replace)
    sys.stderr.write(f"{tally.served} requests, {tally.streams} streams\n")
    assert tally.failed == []
    assert tally.cut == []
    assert tally.served > 50
    assert tally.streams > 30


async def test_nothing_is_replaced_while_the_configuration_has_a_mistake(site):
    before = workers(site.gateway)
    site.configure("nonsense: [")
    site.gateway.signal(signal.SIGUSR2)
    await until(
        lambda: (
            '"in_force": "the one before", "event": "configuration_refused", "service"'
            in site.gateway.log.read_text()
        ),
        "the parent to refuse it",
    )
    site.configure()
    assert workers(site.gateway) == before
    assert await site.chat() == b"200"


async def test_a_stop_drains_the_streams_of_all_and_leaves_no_process(site):
    pids = workers(site.gateway).values()
    async with site.streams() as (opened, _):
        site.gateway.signal(signal.SIGTERM)

        async def is_red():
            return (await site.get(site.gateway, "/readyz"))[0] == 503

        await until(is_red, "readiness to go")
        assert site.gateway.process.returncode is None
    assert all(DONE in task.result() for task in opened)
    async with asyncio.timeout(20):
        assert await site.gateway.process.wait() == 0
    assert all(is_gone(pid, 0) for pid in pids), "the parent waits for them"
    await site.gateway.start()
    await until(lambda: site.is_whole(site.gateway), "the gateway of the other tests")


async def test_workers_of_a_parent_that_is_killed_drain_and_go(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=1))
    nowhere = f"nats://127.0.0.1:{parts.free_port()}"
    env = {"GRANTGATE_NATS_URL": nowhere, "GRANTGATE_GATEWAY_PORT": "0", "GRANTGATE_WORKERS": "7"}
    gateway = service(tmp_path, "gateway", parts.free_port(), **env)
    command_line = "from services.cli import app; app()"
    gateway.command = [sys.executable, "-c", command_line, "gateway", "--workers", "2"]
    ports = re.compile(r'"what": "public", "host": "127.0.0.1", "port": (\d+)')
    async with gateway.running():
        await until(lambda: len(ports.findall(gateway.log.read_text())) == 2, "both to listen")
        assert len(set(ports.findall(gateway.log.read_text()))) == 1, "port 0 is one port for both"
        pids = workers(gateway).values()
        assert len(pids) == 2
        await gateway.kill()
        try:
            assert all(is_gone(pid) for pid in pids)
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert gateway.log.read_text().count('"event": "stopped"') == 2


@pytest.mark.parametrize(
    ("name", "setting", "told"),
    [
        ("gateway", "nats_urll: x", b"did you mean nats_url?"),
        ("gateway", "upstream_ca_file: /nowhere", b"upstream_ca_file"),
        ("policy", "nats_ca_file: /nowhere", b"nats_ca_file"),
    ],
)
async def test_a_configuration_with_a_mistake_is_told_once_and_starts_nothing(
    tmp_path, name, setting, told
):
    (tmp_path / "config.yaml").write_text(f"grantgate: {{{setting}}}\nmodel_list: []")
    server = service(tmp_path, name, parts.free_port())
    process = await asyncio.create_subprocess_exec(
        *server.command, env=server.env, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(10):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 2
    lines = [line for line in said.splitlines() if not line.startswith(b"{")]
    assert len(lines) == 1
    assert told in lines[0]
    assert b"worker_started" not in said
