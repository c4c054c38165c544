"""What the table of requests has rows of, each running, or absent with the reason."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks import peers
from benchmarks.processes import child, until_listening
from benchmarks.product import MODEL, REFUSED_MODEL, Product, product
from services.dev.ports import free_ports

DIRECT = "direct upstream"
BARE = "bare aiohttp proxy"
ENVOY = "Envoy + ext_authz"
LITELLM = "LiteLLM"
ONE = "Grantgate, 1 key"
NOT_ALLOWED = "Grantgate, model refused"
UNKNOWN = "Grantgate, key unknown"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Something to load: `processes`, and what they start, are the ones whose time is its cost.

    The first of them is the one that clients speak to.
    """

    name: str
    port: int
    processes: dict[str, int]
    keys_file: Path
    model: str = MODEL
    status: int = 200
    header: str = ""


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not measured, and why."""

    name: str
    reason: str


def many(keys: int) -> str:
    """The name of the row with many keys."""
    return f"Grantgate, {keys:,} keys"


def _ours(folder: Path, one: Product, filled: Product, keys: int) -> Iterator[Row]:
    for name, each in ((ONE, one), (many(keys), filled)):
        yield Row(name=name, port=each.port, processes=each.on_path, keys_file=each.keys_file)
    refused = Row(
        name=NOT_ALLOWED,
        port=one.port,
        processes=one.on_path,
        keys_file=one.keys_file,
        model=REFUSED_MODEL,
        status=403,
    )
    yield refused
    strangers = folder / "unknown.txt"
    strangers.write_text("".join(f"sk-nobody-has-this-{number:08d}\n" for number in range(1000)))
    yield msgspec.structs.replace(
        refused, name=UNKNOWN, keys_file=strangers, model=MODEL, status=401
    )


def started(
    running: ExitStack, folder: Path, keys: int, only: str, log_level: str
) -> Iterator[Row | Missing]:
    """Start everything on `running`; of the peers only those whose name contains `only`."""
    upstream_port, bare_port = free_ports(2)
    module = (sys.executable, "-m")
    upstream = running.enter_context(
        child((*module, "benchmarks.upstream", str(upstream_port)), folder / "upstream.log")
    )
    target = f"http://127.0.0.1:{upstream_port}"
    bare = running.enter_context(
        child((*module, "benchmarks.bare_proxy", str(bare_port), target), folder / "bare.log")
    )
    until_listening(upstream_port)
    until_listening(bare_port)
    extra = {"GRANTGATE_LOG_LEVEL": log_level}
    one = running.enter_context(product(folder / "one", upstream_port, keys=1, extra=extra))
    filled = running.enter_context(product(folder / "many", upstream_port, keys=keys, extra=extra))
    known = one.keys_file
    processes = {"upstream": upstream}
    yield Row(name=DIRECT, port=upstream_port, processes=processes, keys_file=known)
    for name, make in peers.ALL.items():
        if only not in name:
            continue
        try:
            peer = running.enter_context(make(folder, upstream_port, known))
        except (peers.Absent, RuntimeError, TimeoutError) as problem:
            yield Missing(name=name, reason=str(problem))
        else:
            yield Row(
                name=name,
                port=peer.port,
                processes=peer.processes,
                keys_file=known,
                header=peer.header,
            )
    yield Row(name=BARE, port=bare_port, processes={"proxy": bare}, keys_file=known)
    yield from _ours(folder, one, filled, keys)
