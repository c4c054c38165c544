"""nats.conf as shipped: each service reaches its own subjects and nobody else's."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.dev.bundled import NATS_CONF
from shared import subjects
from tests.parts import free_port
from tests.service.nats_table import HEARD, MAY_PUBLISH, MAY_SUBSCRIBE, TOLD

Connect = Callable[[str], Awaitable[Client]]
CONF = NATS_CONF.read_text()
PASSWORDS = {"keys": "gg_k", "policy": "gg_p", "gateway": "gg_g"}


@asynccontextmanager
async def serve(store: Path, passwords: dict[str, str]) -> AsyncIterator[tuple[str, str]]:
    """A real server with the shipped file: its client URL and its monitoring URL."""
    port, monitor = free_port(), free_port()
    environ = {f"GRANTGATE_NATS_{user.upper()}_PASSWORD": word for user, word in passwords.items()}
    server = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("nats-server"),
        *("--config", NATS_CONF, "--addr", "127.0.0.1", "--port", str(port)),
        *("--store_dir", store, "-m", str(monitor)),
        env=os.environ | environ,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        lines: list[str] = []
        while not lines or "Server is ready" not in lines[-1]:
            line = (await server.stderr.readline()).decode()
            assert line, "".join(lines)
            lines.append(line)
        yield f"nats://127.0.0.1:{port}", f"http://127.0.0.1:{monitor}"
    finally:
        server.send_signal(signal.SIGTERM)
        await server.communicate()


@pytest.fixture
async def connect(tmp_path) -> AsyncIterator[Connect]:
    clients = []
    async with serve(tmp_path, PASSWORDS) as (url, _):

        async def open_client(user: str, inbox: str | None = None) -> Client:
            client = await connected(url, user, PASSWORDS[user], inbox or user)
            clients.append(client)
            return client

        yield open_client
        for client in clients:
            await client.close()


async def connected(url: str, user: str, password: str, inbox: str) -> Client:
    refusals: asyncio.Queue[str] = asyncio.Queue()

    async def refused(error: Exception) -> None:
        refusals.put_nowait(str(error))

    client = Client()
    try:
        await client.connect(
            url,
            user=user,
            password=password,
            inbox_prefix=f"_INBOX_{inbox}".encode(),
            error_cb=refused,
            allow_reconnect=False,
        )
    except nats.errors.Error:
        await client.close()
        raise
    client.refusals = refusals
    return client


async def create_stream(keys: Client) -> None:
    await keys.jetstream().add_stream(
        name=subjects.STREAM,
        subjects=[subjects.STREAM_SUBJECTS],
        max_msgs_per_subject=1,
        deny_delete=True,
        allow_direct=True,
    )


async def refusal(client: Client) -> str:
    """What the server refused of all this client has sent; refusals come in the order of sending.

    A publish that nobody may do marks the end, so that the server has seen all before it. (A PING
    would not do: nats-py 2.16 writes that of `flush()` ahead of what is pending.)
    """
    await client.publish("nobodys.subject", b"")
    told = []
    while not told or "nobodys.subject" not in told[-1]:
        told.append(await asyncio.wait_for(client.refusals.get(), 5))
    return "\n".join(told[:-1])


async def test_each_service_may_publish_its_own_subjects_only(connect):
    for user in PASSWORDS:
        client = await connect(user)
        for subject in TOLD:
            await client.publish(subject, b"")
            told = await refusal(client)
            assert ("permissions violation for publish" in told) != (
                subject in MAY_PUBLISH[user]
            ), f"{user} {subject}: {told}"


async def test_each_service_may_subscribe_its_own_subjects_only(connect):
    for user in PASSWORDS:
        client = await connect(user)
        for subject, queue in HEARD:
            await client.subscribe(subject, queue=queue)
            told = await refusal(client)
            is_allowed = (subject, queue) in MAY_SUBSCRIBE[user]
            assert ("permissions violation for subscription" in told) != is_allowed, (
                f"{user} {subject} {queue}: {told}"
            )


def test_the_table_knows_all_that_the_file_allows():
    """An entry of the file that no cell of the table tries would go unseen."""
    users = re.findall(r"user: (\w+).*?publish \{(.*?)\}.*?subscribe \{(.*?)\}", CONF, re.DOTALL)
    assert {user for user, _, _ in users} == PASSWORDS.keys()
    for user, publish, subscribe in users:
        cells = MAY_PUBLISH[user]
        for pattern in re.findall(r'"(.+?)"', publish):
            assert any(covers(pattern, subject) for subject in cells), (user, pattern)
        heard = {f"{subject} {queue}".strip() for subject, queue in MAY_SUBSCRIBE[user]}
        assert set(re.findall(r'"(.+?)"', subscribe)) <= heard, user
    assert MAY_PUBLISH.keys() == MAY_SUBSCRIBE.keys() == PASSWORDS.keys()
    assert all(each <= set(TOLD) for each in MAY_PUBLISH.values())
    assert all(each <= set(HEARD) for each in MAY_SUBSCRIBE.values())


def covers(pattern, subject):
    return pattern == subject or (pattern[-1] == ">" and subject.startswith(pattern[:-1]))


@pytest.mark.parametrize(
    ("api", "asked"),
    [
        ("$JS.API.DIRECT.GET.GRANTS", b'{"last_by_subj": "grants.member.ghost"}'),
        ("$JS.API.STREAM.MSG.GET.GRANTS", b'{"last_by_subj": "grants.member.ghost"}'),
        ("$JS.API.STREAM.INFO.GRANTS", b""),
        ("grants.member.ghost", b"forged"),
    ],
)
@pytest.mark.parametrize("target", ["grants.change.2", "grants.epoch", "snapshot.index"])
async def test_no_answer_that_policy_asks_for_is_stored_as_what_it_may_not_publish(
    connect, api, asked, target
):
    """Whoever asks JetStream names the subject of the answer, and no permission binds that."""
    keys, policy = await connect("keys"), await connect("policy")
    await create_stream(keys)
    await keys.jetstream().add_stream(name="SNAPSHOTS", subjects=["snapshot.>"])
    await keys.jetstream().publish(subjects.change(1), b"one")
    await policy.jetstream().publish(subjects.member("ghost"), b"forged")
    await policy.publish(api, asked, reply=target)
    assert not await refusal(policy)
    # Answered on the same connection after the other: that one has been dealt with.
    assert (await policy.jetstream().get_last_msg(subjects.STREAM, subjects.CHANGES)).seq == 1
    stream = keys.jetstream()
    found = (await stream.stream_info(subjects.STREAM, subjects_filter=">")).state.subjects
    assert set(found) == {subjects.change(1), subjects.member("ghost")}
    assert (await stream.stream_info("SNAPSHOTS")).state.messages == 0


@pytest.mark.parametrize("user", ["keys", "policy", "gateway"])
async def test_no_service_can_answer_under_anothers_inbox_prefix(connect, user):
    client = await connect(user, inbox="someone_else")
    await client.subscribe(client.new_inbox())
    assert "permissions violation for subscription" in await refusal(client)


async def test_keys_can_do_all_that_it_does_with_the_stream(connect):
    keys = await connect("keys")
    stream = keys.jetstream()
    with pytest.raises(NotFoundError):
        await stream.stream_info(subjects.STREAM)
    await create_stream(keys)
    expected = {
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Subject-Sequence-Subject": subjects.CHANGES,
    }
    ack = await stream.publish(subjects.change(1), b"one", headers=expected)
    assert (await stream.get_last_msg(subjects.STREAM, subjects.CHANGES)).seq == ack.seq
    info = await stream.stream_info(subjects.STREAM, subjects_filter=subjects.CHANGES)
    await stream.update_stream(info.config)
    await stream.purge_stream(subjects.STREAM)
    await stream.delete_stream(subjects.STREAM)
    assert (await stream.account_info()).streams == 0


async def test_policy_keeps_its_member_record_and_reads_the_stream(connect):
    keys, policy = await connect("keys"), await connect("policy")
    await create_stream(keys)
    await keys.jetstream().publish(subjects.change(1), b"one")
    stream = policy.jetstream()
    await stream.publish(subjects.member("r1"), b"applied 1")
    last = await stream.get_last_msg(subjects.STREAM, subjects.CHANGES)
    assert last.data == b"one"
    info = await stream.stream_info(subjects.STREAM, subjects_filter=">")
    assert set(info.state.subjects) == {subjects.change(1), subjects.member("r1")}


@pytest.mark.parametrize(
    ("subject", "queue"), [(subjects.DECIDE, subjects.DECIDE_QUEUE), (subjects.DECIDE_ANY, "")]
)
async def test_a_question_reaches_policy_and_its_answer_the_gateway(connect, subject, queue):
    policy, gateway = await connect("policy"), await connect("gateway")

    async def answer(message) -> None:
        await message.respond(b"allow")

    await policy.subscribe(subject, queue=queue, cb=answer)
    assert not await refusal(policy)
    assert (await gateway.request(subject, b"may I?", timeout=2)).data == b"allow"


async def test_a_replicas_report_reaches_keys(connect):
    keys, policy = await connect("keys"), await connect("policy")
    reports = await keys.subscribe(subjects.APPLIED)
    assert not await refusal(keys)
    await policy.publish(subjects.applied("r1"), b"7")
    assert (await reports.next_msg(timeout=20)).data == b"7"


@pytest.mark.parametrize("word", ["1234567890", "10k", "a b", "tr#ue"])
async def test_a_password_in_double_quotes_may_look_like_anything(tmp_path, word):
    async with serve(tmp_path, PASSWORDS | {"keys": f'"{word}"'}) as (url, _):
        client = await connected(url, "keys", word, "keys")
        await client.close()


async def test_nobody_connects_without_a_password(tmp_path):
    async with serve(tmp_path, PASSWORDS) as (url, _):
        for user, password in [("keys", ""), ("keys", "gg_p"), ("", ""), ("admin", "admin")]:
            with pytest.raises(nats.errors.Error):
                await connected(url, user, password, "keys")


async def test_an_acknowledged_message_is_synced_and_a_snapshot_chunk_fits(tmp_path):
    async with (
        serve(tmp_path, PASSWORDS) as (_, monitor),
        aiohttp.ClientSession() as session,
        session.get(f"{monitor}/varz") as answer,
    ):
        state = await answer.json()
    assert state["jetstream"]["config"]["sync_always"] is True
    assert state["max_payload"] == 8 * 1024 * 1024
