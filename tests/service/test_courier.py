"""The lean NATS connection against a real server."""

import asyncio

import pytest

from shared.courier import Courier, _Link
from shared.credentials import Secret
from tests.parts import PASSWORDS, connecting, until


def courier(server, user, password=None):
    password = password or PASSWORDS[f"GRANTGATE_NATS_{user.upper()}_PASSWORD"]
    return connecting(Courier(f"nats://127.0.0.1:{server.port}", user, Secret(password)))


@pytest.fixture(name="pair")
async def _pair(nats_server):
    async with courier(nats_server, "policy") as policy, courier(nats_server, "gateway") as gateway:
        await until(lambda: policy.is_connected and gateway.is_connected, "connections")
        yield policy, gateway


def echo(policy):
    def answer(_, reply, data):
        policy.publish(reply, b"echo " + data)

    return answer


async def settled(courier_):
    """Until the server has taken a courier's subscriptions in: a ping passes behind them."""
    link = courier_._link
    link.unanswered = 1
    link.write(b"PING\r\n")
    await until(lambda: link.unanswered == 0, "the server's pong")


async def test_questions_are_answered(pair):
    policy, gateway = pair
    heard = []
    policy.subscribe("policy.decide", echo(policy), queue="policy")
    gateway.subscribe("_INBOX_gateway.x.*", lambda *message: heard.append(message))
    await settled(policy)

    for number in range(500):
        gateway.publish("policy.decide", b"%d" % number, reply=f"_INBOX_gateway.x.{number}")

    await until(lambda: len(heard) == 500, "answers")
    assert heard[7] == ("_INBOX_gateway.x.7", "", b"echo 7")


async def test_a_message_of_any_size_and_content_arrives_whole(pair):
    policy, gateway = pair
    heard = []
    policy.subscribe("policy.decide", echo(policy), queue="policy")
    gateway.subscribe("_INBOX_gateway.x", lambda *message: heard.append(message[2]))
    await settled(policy)
    bodies = [b"", b"\r\n", b"MSG a 1 2\r\nhi\r\n", bytes(range(256)) * 4000]

    for body in bodies:
        gateway.publish("policy.decide", body, reply="_INBOX_gateway.x")

    await until(lambda: len(heard) == len(bodies), "answers")
    assert heard == [b"echo " + body for body in bodies]


async def test_nobody_there_is_told_at_once(pair):
    _, gateway = pair
    heard = []
    gateway.subscribe("_INBOX_gateway.x", lambda *message: heard.append(message[2]))

    gateway.publish("policy.decide", b"?", reply="_INBOX_gateway.x")

    await until(lambda: heard == [None], "the news", 1.0)


async def test_an_ended_subscription_is_silent(pair):
    policy, gateway = pair
    heard = []
    sid = policy.subscribe("policy.decide", echo(policy), queue="policy")
    gateway.subscribe("_INBOX_gateway.x", lambda *message: heard.append(message[2]))
    policy.unsubscribe(sid)
    await settled(policy)

    gateway.publish("policy.decide", b"?", reply="_INBOX_gateway.x")

    await until(lambda: heard == [None], "the news")


async def test_it_comes_back_with_its_subscriptions_after_a_restart(pair, nats_server):
    policy, gateway = pair
    heard = []
    policy.subscribe("policy.decide", echo(policy), queue="policy")
    gateway.subscribe("_INBOX_gateway.x", lambda *message: heard.append(message[2]))

    await nats_server.kill()
    await until(lambda: not (policy.is_connected or gateway.is_connected), "the loss")
    gateway.publish("policy.decide", b"lost", reply="_INBOX_gateway.x")
    await nats_server.start()

    await until(lambda: policy.is_connected and gateway.is_connected, "connections")
    gateway.publish("policy.decide", b"again", reply="_INBOX_gateway.x")
    await until(lambda: heard, "an answer")
    assert heard == [b"echo again"]


async def test_a_subject_that_is_not_permitted_is_not_heard(pair):
    policy, gateway = pair
    heard = []
    gateway.subscribe("grants.>", lambda *message: heard.append(message))
    policy.subscribe("policy.decide", echo(policy), queue="policy")
    gateway.subscribe("_INBOX_gateway.x", lambda *message: heard.append(message[2]))
    await settled(policy)

    policy.publish("grants.member.x", b"{}")
    gateway.publish("policy.decide", b"1", reply="_INBOX_gateway.x")

    await until(lambda: heard, "an answer")
    assert heard == [b"echo 1"]


async def test_with_a_wrong_password_it_is_turned_away(nats_server):
    url = f"nats://127.0.0.1:{nats_server.port}"
    gateway = Courier(url, "gateway", Secret("wrong"))

    with pytest.raises(OSError, match=r"closed|ConnectionResetError"):
        await gateway._connect(_Link(lambda *_: None))

    assert not gateway.is_connected


class SlowServer:
    """As much of NATS as a handshake takes; its PONG comes when the test says so."""

    def __init__(self):
        self.lines = []
        self.may_answer = asyncio.Event()

    async def accept(self, reader, writer):
        writer.write(b'INFO {"headers":true}\r\n')
        while line := await reader.readline():
            self.lines.append(line.strip())
            if line == b"PING\r\n":
                await self.may_answer.wait()
                writer.write(b"PONG\r\n")
        writer.close()


async def test_what_is_subscribed_and_ended_during_the_handshake_is_not_lost():
    slow, news = SlowServer(), []
    server = await asyncio.start_server(slow.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = Courier(f"nats://127.0.0.1:{port}", "policy", None, news.append)
    early = made.subscribe("early", lambda *_: None)
    running = asyncio.create_task(made.run())
    try:
        await until(lambda: b"PING" in slow.lines, "the handshake")
        late = made.subscribe("late", lambda *_: None)
        made.unsubscribe(early)
        assert not made.is_connected
        slow.may_answer.set()
        await until(lambda: made.is_connected, "the connection")
        assert news == [True]
        await until(lambda: b"UNSUB %d" % early in slow.lines, "the end of the first")
        assert b"SUB late %d" % late in slow.lines
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
    assert news == [True, False]
