"""What many slow clients of large answers cost: they and their upstream are other processes."""

import asyncio
import base64
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.gateway.upstreams import Upstream
from tests.authority import Authority
from tests.service.gateway_world import raw_request, running
from tests.service.slow_clients import CLIENTS, SIZE

PER_CLIENT = 256 * 1024


def resident():
    """This process's memory now, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@asynccontextmanager
async def others(*arguments):
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.service.slow_clients", *arguments),
        stdin=pipe,
        stdout=pipe,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_slow_client_of_a_large_answer_costs_less_than_256_kib(tmp_path, scheme):
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("origin") if scheme == "https" else ()
    async with others(*pair) as process:
        port = int(await process.stdout.readline())

        def large(*_ports):
            at = f"{scheme}://127.0.0.1:{port}/v1"
            return [Upstream(id="gpt-4-a", speaks="openai", base_url=at, name="gpt-4", model="m")]

        async with running(extra=large, upstream_ca_file=authority.ca) as world:
            before = resident()
            request = base64.b64encode(raw_request()).decode()
            process.stdin.write(f"{world.port} {request}\n".encode())
            async with asyncio.timeout(40):
                sent = int(await process.stdout.readline())
            grown = resident() - before
            assert sent < CLIENTS * SIZE, "the upstream was not slowed down"
            assert grown < CLIENTS * PER_CLIENT, f"{grown / CLIENTS / 1024:.0f} KiB a client"
            process.stdin.write(b"\n")
            async with asyncio.timeout(10):
                await process.wait()
