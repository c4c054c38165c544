"""The steps of docs/runbook.md, carried out on real processes."""

import asyncio
import json
import os
import shutil

import pytest

from services.dev.bundled import NATS_CONF
from tests import parts
from tests.parts import until
from tests.service import processes

CONF = NATS_CONF.read_text()


@pytest.fixture
async def site(tmp_path):
    async with processes.site(tmp_path) as made:
        yield made


async def doctor(site, *arguments):
    env = {
        **os.environ,
        **{k: v for k, v in site.keys[0].env.items() if k.startswith("GRANTGATE_")},
        "GRANTGATE_KEYS_URL": f"http://127.0.0.1:{site.keys[0].port}",
    }
    command = await asyncio.create_subprocess_exec(
        *(str(parts.BIN / "grantgate"), "doctor", *arguments),
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(command.communicate(), 60)
    return command.returncode, said.decode()


async def stop(*servers):
    for server in servers:
        await server.terminate()


async def generate(site):
    status, made, headers = await site.call("/key/generate", {"models": ["gpt-4"]})
    assert status == 200
    return made["key"], int(headers["x-grantgate-revision"])


async def allowed(site, key):
    """What each policy replica says; None while one cannot answer."""
    found = [await site.decide(policy, key) for policy in site.policies]
    return None if None in found else [answer["allow"] for answer in found]


async def test_an_older_backup_is_found_and_the_stream_makes_it_whole(site, tmp_path):
    kept, _ = await generate(site)
    # Backup: with the embedded server stopped, its folder is the backup.
    await stop(*site.keys, site.mongo)
    shutil.copytree(tmp_path / "mongo", tmp_path / "backup")
    await site.mongo.start()
    await site.keys[0].start()
    await site.ready(site.keys[0])
    lost, seen = await generate(site)
    assert (await site.call("/key/block", {"key": kept}))[0] == 200

    # Restore.
    await stop(site.keys[0], site.mongo)
    shutil.rmtree(tmp_path / "mongo")
    shutil.copytree(tmp_path / "backup", tmp_path / "mongo")
    await site.mongo.start()
    assert await allowed(site, lost) == [True, True]  # traffic goes on
    await site.keys[0].start()

    async def refuses():
        return (await site.call("/key/generate", {}))[0] == 503

    await until(refuses, "the refusal")
    status, said = await doctor(site)
    assert status == 1
    assert "log_behind" in said
    assert "BLOCKED" in said
    assert (await doctor(site, "--restore-from-stream"))[0] == 2  # keys runs
    await stop(site.keys[0])
    status, said = await doctor(site, "--restore-from-stream")
    assert status == 0, said
    await site.keys[0].start()
    await site.ready(site.keys[0], *site.policies)

    _, after = await generate(site)
    assert after > seen
    await until(lambda: is_all(site, lost, True), "what was lost")
    assert await allowed(site, kept) == [False, False]
    await until(lambda: is_sound(site), "the doctor's word")


async def is_all(site, key, expected):
    return await allowed(site, key) == [expected, expected]


async def is_sound(site):
    return (await doctor(site))[0] == 0


async def test_a_lost_nats_store_is_rebuilt_without_a_hand(site, tmp_path):
    key, _ = await generate(site)
    before = (await site.propagation())["epoch"]["id"]

    await site.nats.kill()
    shutil.rmtree(tmp_path / "jetstream")
    assert (await site.call("/key/block", {"key": key}))[0] == 202
    await site.nats.start()

    async def is_rebuilt():
        found = await site.propagation()
        return found["settled"] and found["epoch"]["id"] != before

    await until(is_rebuilt, "the new epoch", 40)
    await until(lambda: is_all(site, key, False), "the revocation")
    assert (await doctor(site))[0] == 0


async def test_a_rolling_restart_of_each_service_keeps_the_others_answering(site):
    key, _ = await generate(site)
    for policy in site.policies:
        await policy.terminate()
        other = next(p for p in site.policies if p is not policy)
        assert (await site.decide(other, key))["allow"]
        await policy.start()
        await site.ready(policy)
    for number, keys in enumerate(site.keys):
        await keys.terminate()
        assert await allowed(site, key) == [True, True]
        assert (await site.call("/key/update", {"key": key}, 1 - number))[0] == 200
        await keys.start()
        await site.ready(keys)


async def test_a_full_bus_is_said_and_passes_when_there_is_room_again(site, tmp_path):
    key, _ = await generate(site)
    await site.nats.terminate()
    limited = tmp_path / "limited.conf"
    limited.write_text(CONF.replace("jetstream {", "jetstream {\n  max_file_store: 4KB", 1))
    given, site.nats.command[2] = site.nats.command[2], str(limited)
    await site.nats.start()

    async def is_pending():
        status, _, _ = await site.call("/key/block", {"key": key})
        return status == 202

    await until(is_pending, "a write that cannot be published")
    found = await site.propagation()
    assert found["published"] < found["head"]
    site.nats.command[2] = given
    await site.nats.terminate()
    await site.nats.start()

    await until(lambda: is_all(site, key, False), "the revocation", 40)


async def test_keys_tells_each_replicas_lag(site):
    _, revision = await generate(site)

    found = await site.propagation()

    assert found["head"] == revision
    assert found["settled"]
    assert found["refusing_writes"] is None
    assert [r["applied"] for r in found["replicas"]] == [revision, revision]
    assert {r["lag_ms"] for r in found["replicas"]} == {0.0}
    assert json.dumps(found)
