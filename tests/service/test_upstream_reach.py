"""Where a model made at run time may lead is judged again on every connection that is made."""

import asyncio
import gc
import json
import socket
import ssl
from contextlib import ExitStack, contextmanager

import pytest

from services.gateway import lookups
from services.gateway.answer import AddressRefused, ConnectTimeout, Unreachable
from services.gateway.lookups import Lookups
from services.gateway.target import target_of
from services.gateway.tunnels import Proxies
from services.gateway.upstream_tls import UpstreamTls
from shared.addresses import Reach
from shared.catalogue import VERSIONED
from shared.credentials import Secret
from shared.decisions import Allow
from tests.authority import Authority
from tests.parts import until
from tests.service.gateway_world import raw_request, running
from tests.service.recording import say, statuses
from tests.service.test_wire import BODY, REQUEST, SIZED, Origin, pools

NAME = "up.example"


def names(*answers):
    """A resolver that gives each of the answers once, and the last one from then on."""
    left = list(answers)

    async def resolve(_host):
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def ask(made, url, *, is_checked=True):
    target = target_of("d", url, is_checked=is_checked)
    answer = await made.exchange(target, [REQUEST], first_byte_s=2.0, idle_s=1.0)
    try:
        return await answer.whole()
    finally:
        answer.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "127.1", "2130706433", NAME]
)
async def test_row_70_a_stored_upstream_at_an_address_of_ours_is_not_connected_to(host):
    async with Origin(SIZED).running() as origin, pools(resolve=names(["127.0.0.1"])) as made:
        with pytest.raises(AddressRefused):
            await ask(made, f"http://{host}:{origin.port}/")
        assert origin.connections == 0
        assert made._pools
        assert all(pool.open == 0 for pool in made._pools.values())


async def test_an_upstream_of_the_configuration_file_is_the_operators_word():
    async with Origin(SIZED).running() as origin, pools() as made:
        assert await ask(made, f"http://localhost:{origin.port}/", is_checked=False) == BODY


@pytest.mark.parametrize("private", [True, ["127.0.0.0/8"], [NAME]])
async def test_what_is_allowed_besides_public_addresses_is_connected_to(private):
    resolve = names(["127.0.0.1"])
    async with (
        Origin(SIZED).running() as origin,
        pools(resolve=resolve, reach=Reach(private)) as made,
    ):
        assert await ask(made, f"http://{NAME}:{origin.port}/") == BODY


async def test_row_70_a_name_that_turns_private_is_refused_at_its_next_connection():
    resolve = names(["127.0.0.1"], ["127.0.0.2"])
    scripts = (SIZED.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"), SIZED)
    async with (
        Origin(*scripts).running() as origin,
        pools(resolve=resolve, reach=Reach(["127.0.0.1"])) as made,
    ):
        assert await ask(made, f"http://{NAME}:{origin.port}/") == BODY
        with pytest.raises(AddressRefused):
            await ask(made, f"http://{NAME}:{origin.port}/")
        assert origin.connections == 1


async def test_row_70_of_a_names_addresses_only_those_in_reach_are_tried():
    resolve = names(["127.0.0.2", "127.0.0.1"])
    async with (
        Origin(SIZED).running() as origin,
        pools(resolve=resolve, reach=Reach(["127.0.0.1"])) as made,
    ):
        assert await ask(made, f"http://{NAME}:{origin.port}/") == BODY


async def test_row_70_the_checked_address_is_connected_to_and_tls_proves_the_name(tmp_path):
    authority = Authority(tmp_path / "ca")
    tls = authority.server()  # for 127.0.0.1 alone
    trusting = UpstreamTls(authority.ca)
    chosen = {"tls": trusting, "reach": Reach(["127.0.0.1"]), "resolve": names(["127.0.0.1"])}
    async with Origin(SIZED, SIZED).running(tls) as origin, pools(**chosen) as made:
        with pytest.raises(Unreachable) as caught:
            await ask(made, f"https://{NAME}:{origin.port}/")
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert await ask(made, f"https://127.0.0.1:{origin.port}/") == BODY


async def test_behind_a_proxy_a_name_is_the_proxys_to_resolve_and_an_address_is_still_refused():
    async with Origin(SIZED).running() as origin:
        proxies = Proxies({"http": f"http://127.0.0.1:{origin.port}"}, lambda _: False)
        async with pools(proxies=proxies, resolve=names(["127.0.0.1"])) as made:
            assert await ask(made, f"http://{NAME}/") == BODY
            with pytest.raises(AddressRefused):
                await ask(made, "http://169.254.169.254/")
        assert origin.connections == 1


@pytest.mark.parametrize("private", [False, ("127.0.0.1",)])
async def test_row_70_a_stored_model_reaches_no_address_of_ours_through_the_gateway(private):
    async with running(allow_private_upstreams=private) as world:
        stored = {
            "id": "m1",
            "version": 1,
            "model_name": "stored",
            "litellm_params": {
                "model": "openai/up",
                "api_base": f"http://127.0.0.1:{world.openai.port}/v1",
            },
        }
        world.keys.answering(json.dumps(stored).encode())
        world.stored._token = Secret("sk-internal-token-of-tests")
        world.relay._bring = world.stored.bring
        world.policy.says = Allow(7, "stored", (f"m1{VERSIONED}1",))
        answer = await say(world.port, raw_request(b'{"model":"stored"}'))
        assert statuses(answer) == [200 if private else 502]
        assert world.openai.connections == bool(private)
        assert b"127.0.0.1" not in answer


@contextmanager
def silent(host, port):
    """An address that answers nobody: what queues there is full."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((host, port))
        yield


async def test_an_address_that_is_silent_holds_up_no_other():
    both = names(["127.0.0.2", "127.0.0.1"])
    async with Origin(SIZED).running() as origin, pools(resolve=both) as made:
        with silent("127.0.0.2", origin.port):
            assert await ask(made, f"http://{NAME}:{origin.port}/", is_checked=False) == BODY


@pytest.mark.parametrize(("patience_s", "times"), [(30.0, 1), (0.0, 2)])
async def test_a_name_nobody_answers_for_is_not_asked_about_by_each_who_wants_it(
    monkeypatch, patience_s, times
):
    monkeypatch.setattr(lookups, "_PATIENCE_S", patience_s)
    answered, asked = asyncio.Event(), []

    async def resolve(host):
        asked.append(host)
        await answered.wait()
        return ["127.0.0.1"]

    async with (
        Origin(*[SIZED] * 2).running() as origin,
        pools(resolve=resolve, connect_timeout_s=0.2) as made,
    ):
        url = f"http://{NAME}:{origin.port}/"
        tries = (ask(made, url, is_checked=False) for _ in range(50))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ConnectTimeout}
        assert asked == [NAME] * times
        assert await ask(made, f"http://127.0.0.1:{origin.port}/", is_checked=False) == BODY
        answered.set()
        assert await ask(made, url, is_checked=False) == BODY
        assert asked == [NAME] * times  # one that had been under way


async def test_a_look_up_whose_packet_was_lost_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(lookups, "_PATIENCE_S", 0.01)
    lost = []

    async def resolve(_):
        if not lost:
            lost.append(asyncio.Event())
            await lost[0].wait()
        return ["127.0.0.1"]

    async with Origin(*[SIZED] * 3).running() as origin, pools(resolve=resolve) as made:
        url = f"http://{NAME}:{origin.port}/"
        tries = [ask(made, url, is_checked=False) for _ in range(2)]
        assert await asyncio.gather(*tries) == [BODY] * 2
        assert await ask(made, url, is_checked=False) == BODY
        lost[0].set()
        await until(lambda: not made._dialer._lookups._asked, "the end of the lost one")


async def test_the_first_of_two_look_ups_that_finds_some_answers_all_who_wait(monkeypatch):
    monkeypatch.setattr(lookups, "_PATIENCE_S", 0.01)
    running = []

    def resolve(_):
        running.append(asyncio.get_running_loop().create_future())
        if len(running) == 2:  # no third takes the place of the one that fails
            monkeypatch.setattr(lookups, "_PATIENCE_S", 30.0)
        return running[-1]

    names_of = Lookups(resolve)
    first = asyncio.create_task(names_of.addresses(NAME))
    await until(lambda: len(running) == 2, "the second look-up")
    second = asyncio.create_task(names_of.addresses(NAME))
    running[1].set_exception(OSError())
    await until(lambda: names_of._asked[NAME].running == 1, "the failure of one")
    assert not first.done()
    running[0].set_result(["10.0.0.1"])
    assert [await first, await second] == [["10.0.0.1"]] * 2
    await until(lambda: not names_of._asked, "the end of both")


async def test_a_look_up_that_fails_when_everybody_has_left_troubles_nobody():
    answered, asked, told = asyncio.Event(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def resolve(host):
        asked.append(host)
        await answered.wait()
        raise OSError

    async with pools(resolve=resolve, connect_timeout_s=0.1) as made:
        with pytest.raises(ConnectTimeout):
            await ask(made, f"http://{NAME}/", is_checked=False)
        answered.set()
        await until(lambda: not made._dialer._lookups._asked, "the failure")
        gc.collect()
        with pytest.raises(Unreachable):
            await ask(made, f"http://{NAME}/", is_checked=False)
    assert asked == [NAME, NAME]
    assert told == []
