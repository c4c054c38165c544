"""Names that a nameserver is silent about hold up no other name."""

import os
import subprocess
import sys

import pytest

LOOKUPS = """
import asyncio, os
from shared.service import run

async def start(stack, stopping):
    look_up = asyncio.get_running_loop().getaddrinfo
    silent = [asyncio.ensure_future(look_up(f"silent{n}", 80)) for n in range(30)]
    await asyncio.wait(silent, timeout=0.1)
    if any(each.done() for each in silent):
        os._exit(3)
    async with asyncio.timeout(5):
        await look_up("localhost", 80)
    os._exit(0)  # without waiting for the threads that hang

try:
    run((), start)
finally:
    os._exit(1)
"""


def test_silent_names_leave_room_for_others(tmp_path):
    aliases = tmp_path / "aliases"  # the resolver reads it for a name without a dot
    os.mkfifo(aliases)
    environ = {**os.environ, "HOSTALIASES": str(aliases)}
    environ.pop("UV_THREADPOOL_SIZE", None)
    ended = subprocess.run(
        [sys.executable, "-c", LOOKUPS], env=environ, check=False, timeout=30, capture_output=True
    )
    if ended.returncode == 3:
        pytest.skip("the resolver of this system reads no HOSTALIASES")
    assert ended.returncode == 0
