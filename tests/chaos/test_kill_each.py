"""A few nemeses on real processes; `python -m tests.chaos` has all of them, again and again."""

import asyncio
import json
import sys
import time
from contextlib import suppress

import aiohttp
import pytest

from tests.chaos.campaign import Campaign, table
from tests.chaos.cluster import bearer, cluster
from tests.chaos.nemeses import NEMESES

BRIEFLY = (
    "kill the database",
    "cut a policy off",
    "wipe the stream's store",
    "restore an older database",
)


@pytest.mark.timeout(150)
async def test_no_revocation_is_undone_and_no_change_lost_while_parts_die(
    tmp_path, record_property
):
    chosen = [nemesis for nemesis in NEMESES if nemesis.name in BRIEFLY]
    assert len(chosen) == len(BRIEFLY)
    report = await Campaign(tmp_path, seed=1).run(chosen)
    record_property("figures", json.dumps(report.rows()))
    sys.stderr.write(table(report) + "\n")
    assert report.violations == []
    assert len(report.history.uses) > 200
    done = {write.what for write in report.history.writes if write.outcome == "ok"}
    assert done >= {"create", "block", "unblock", "move", "models", "group edit"}


METRICS = {
    "keys0": (
        "keys_head_revision",
        "keys_unpublished_changes",
        "keys_refusing_writes",
        "barrier_seconds_count",
        "barrier_timeouts_total",
    ),
    "policy0": (
        "policy_applied_revision",
        "policy_lease_remaining_seconds",
        "changes_fetched_total",
    ),
    "gateway0": (
        "authorize_stale_total",
        "authorize_unavailable_total",
        "grantgate_gateway_streams_in_flight",
    ),
}
"""What docs/metrics.md tells an operator to watch."""


@pytest.mark.timeout(120)
async def test_revoked_streams_end_and_the_metrics_to_watch_are_there(tmp_path):
    async with cluster(tmp_path) as up:
        await streams_end_when_revoked(up)
        for part, names in METRICS.items():
            async with up.session.get(up.internal(part) + "/metrics") as answer:
                lines = (await answer.text()).splitlines()
            for name in names:
                assert any(line.startswith(name + " ") for line in lines), (part, name)


async def streams_end_when_revoked(up):
    """One stream at each gateway; the key is blocked, and both end with an error."""
    made = await up.call("/key/generate", {"models": ["gpt-4"]})
    key = made.body["key"]
    body = {"model": "gpt-4", "stream": True}
    body["messages"] = [{"role": "user", "content": "word " * 200}]
    streams = []
    for url in up.urls.values():
        answer = await up.session.post(url + "/v1/chat/completions", json=body, headers=bearer(key))
        assert answer.status == 200
        await answer.content.readline()
        # Read all along: the end may come before the block returns, and a client that learns of a
        # broken end loses what it held unread.
        streams.append(asyncio.create_task(rest_of(answer)))
    blocked = await up.call("/key/block", {"key": key})
    assert blocked.status == 200
    began = time.monotonic()
    for rest in await asyncio.gather(*streams):
        assert b"Access was revoked" in rest
        assert b"[DONE]" not in rest
    took = time.monotonic() - began
    sys.stderr.write(f"streams ended {took:.2f} s after the block returned\n")
    assert took < 3


async def rest_of(stream):
    """What is left of a stream, up to its end, clean or not."""
    rest = b""
    with suppress(aiohttp.ClientPayloadError):
        while piece := await stream.content.readany():
            rest += piece
    stream.close()
    return rest
