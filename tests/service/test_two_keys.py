"""Two keys replicas at once, and keys killed between any two steps of a write."""

import asyncio
import json
import re
import signal

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.keys import barrier
from shared import subjects
from shared.changes import decode_change
from shared.replication import decode_member
from shared.streams import ChangeStream
from tests.parts import until
from tests.service import processes
from tests.service.processes import LEASE_S, MARGIN_S, config

WRITES = 400
FROM_NOW_ON = ConsumerConfig(deliver_policy=DeliverPolicy.NEW, ack_policy=AckPolicy.NONE)


@pytest.fixture
async def site(tmp_path):
    async with processes.site(tmp_path) as made:
        yield made


async def same_everywhere(site):
    """Once both keys and both policies stand at one revision: it."""

    async def agree():
        found = [await site.propagation(number) for number in range(2)]
        heads = {(f["head"], f["chain"]) for f in found}
        applied = {r["applied"] for f in found for r in f["replicas"] if r["alive"]}
        if len(heads) == 1 and applied == {found[0]["head"]} == {found[1]["published"]}:
            return found[0]["head"]
        return None

    return await until(agree, "agreement")


async def tables_of(stream):
    """The revision and chain of each policy's table, from its record on the stream."""
    records = [await stream.last(s) for s in await stream.subjects_under(subjects.MEMBERS)]
    return [(member.rev, member.chain.hex()) for member in (decode_member(r[1]) for r in records)]


async def test_concurrent_writes_of_two_replicas_make_one_log_and_every_answer_holds(site):
    began = await same_everywhere(site)
    stored = []

    async def take(message):
        stored.append(decode_change(message.data).rev)

    async with site.watcher() as client:
        # What the stream has stored, in its order: not what was only sent to it.
        await client.jetstream().subscribe(
            subjects.CHANGES, stream=subjects.STREAM, cb=take, config=FROM_NOW_ON
        )
        made = await asyncio.gather(
            *(site.call("/key/generate", {"models": ["gpt-4"]}, n % 2) for n in range(WRITES))
        )

        # 202 where a replica's turn to publish took longer than a write waits for it.
        assert {status for status, _, _ in made} <= {200, 202}
        revisions = sorted(int(headers["x-grantgate-revision"]) for _, _, headers in made)
        assert revisions == list(range(began + 1, began + WRITES + 1))
        assert await same_everywhere(site) == began + WRITES
        await until(lambda: stored[-1:] == revisions[-1:], "the stream's last message")
        assert stored == revisions

        stream = ChangeStream(client)
        table = (began + WRITES, (await site.propagation())["chain"])

        async def are_equal():
            return await tables_of(stream) == [table, table]

        await until(are_equal, "both tables to be the log's, by their chain")
    keys = [body["key"] for _, body, _ in made]

    async def revoke_and_ask(number, key):
        status, _, _ = await site.call("/key/block", {"key": key}, number % 2)
        found = [await site.decide(policy, key) for policy in site.policies]
        return status, [answer is None or not answer["allow"] for answer in found]

    revoked = await asyncio.gather(*(revoke_and_ask(n, k) for n, k in enumerate(keys[:60])))
    assert all(status == 200 and all(denied) for status, denied in revoked)


async def test_a_write_needs_no_wait_but_then_says_that_it_is_pending(site):
    _, made, _ = await site.call("/key/generate", {"models": ["gpt-4"]})

    status, _, headers = await site.call("/key/block?wait=0", {"key": made["key"]})

    assert status == 202
    assert headers["x-grantgate-propagation"] == "pending"
    revision = int(headers["x-grantgate-revision"])
    assert await same_everywhere(site) >= revision
    for policy in site.policies:
        assert not (await site.decide(policy, made["key"]))["allow"]


async def test_without_the_bus_a_write_is_pending_and_in_force_once_it_is_back(site):
    _, made, _ = await site.call("/key/generate", {"models": ["gpt-4"]})
    await site.nats.kill()

    status, _, headers = await site.call("/key/block", {"key": made["key"]})

    assert status == 202
    assert headers["x-grantgate-propagation"] == "pending"
    await site.nats.start()

    async def is_denied():
        found = [await site.decide(policy, made["key"]) for policy in site.policies]
        return all(answer is not None and not answer["allow"] for answer in found)

    await until(is_denied, "the revocation")


async def test_replicas_with_other_models_configured_say_so(site):
    await site.keys[1].terminate()
    (site.folder / "keys1.yaml").write_text(config("gpt-4", "gpt-5"))
    await site.keys[1].start()
    await site.ready()

    def said():
        return "configuration_differs" in (site.folder / "keys0.log").read_text()

    await until(said, "the word of it")
    async with site.session.get(f"http://127.0.0.1:{site.keys[0].port}/metrics") as answer:
        assert re.search(r"^keys_catalogue_differs 1\.0$", await answer.text(), re.MULTILINE)


async def test_replicas_whose_file_changes_make_one_change_of_it(site):
    def said(event):
        logs = [(site.folder / f"keys{number}.log").read_text() for number in range(2)]
        lines = [json.loads(line) for log in logs for line in log.splitlines() if event in line]
        return [line for line in lines if line["event"] == event]

    _, made, _ = await site.call("/key/generate", {"models": ["gpt-5"]})
    began = await same_everywhere(site)
    for number, replica in enumerate(site.keys):
        (site.folder / f"keys{number}.yaml").write_text(config("gpt-5"))
        replica.signal(signal.SIGHUP)
    site.policies[0].signal(signal.SIGHUP)

    await until(lambda: len(said("catalogue_declared")) == 4, "both to have declared it")

    assert await same_everywhere(site) == began + 1
    first, second = sorted(line["changes"] for line in said("catalogue_declared")[-3::2])
    assert (first, second) == (0, 2)
    assert not said("configuration_differs")
    for policy in site.policies:
        found = await site.decide(policy, made["key"])
        assert not found["allow"]
    _, key, _ = await site.call("/key/generate", {"models": ["gpt-5", "gpt-4"]})
    assert key["warnings"]


@pytest.mark.parametrize(
    ("point", "is_in_force"),
    [
        ("before_commit", False),
        ("after_commit", True),
        ("after_publish", True),
        ("before_answer", True),
    ],
)
async def test_keys_killed_at_any_step_has_put_a_write_in_force_or_not_acknowledged_it(
    site, point, is_in_force
):
    _, made, _ = await site.call("/key/generate", {"models": ["gpt-4"]})
    await site.keys[0].terminate()
    await site.keys[1].terminate()
    armed = site.keys[0]
    armed.env["GRANTGATE_TEST_FAILPOINT"] = point
    await armed.start()
    await site.ready(armed)

    status, _, _ = await site.call("/key/block", {"key": made["key"]})

    assert status is None
    assert await asyncio.wait_for(armed.process.wait(), 10) == 9
    del armed.env["GRANTGATE_TEST_FAILPOINT"]
    await armed.start()
    await site.ready(armed, *site.policies)
    head = await until(lambda: published(site), "publication")
    for policy in site.policies:
        found = await until(lambda p=policy: decided_at(site, p, made["key"], head), "a decision")
        assert found["allow"] is not is_in_force
    # Once more, by whoever got no answer: it works.
    assert (await site.call("/key/block", {"key": made["key"]}))[0] == 200
    for policy in site.policies:
        assert not (await site.decide(policy, made["key"]))["allow"]


async def published(site):
    found = await site.propagation()
    return found["head"] if found.get("published") == found.get("head") else None


async def decided_at(site, policy, key, head):
    found = await site.decide(policy, key)
    return found if found is not None and found["revision"] >= head else None


async def test_a_dead_replica_delays_a_write_once_and_is_told_of(site):
    _, made, _ = await site.call("/key/generate", {"models": ["gpt-4"]})
    await site.policies[1].kill()

    loop = asyncio.get_running_loop()
    took = []
    for _ in range(8):
        began = loop.time()
        assert (await site.call("/key/block", {"key": made["key"]}))[0] == 200
        took.append(loop.time() - began)

    assert took[0] <= LEASE_S + MARGIN_S + 1.0
    assert max(took[1:]) < LEASE_S
    # It is known to be silent, and nobody waits for its report before its record is read.
    assert min(took[1:]) < barrier._PROMPT_S
    found = await site.propagation()
    assert sorted(replica["alive"] for replica in found["replicas"]) == [False, True]
