"""`python -m benchmarks.propagation`: from a management write to its force on every replica.

Each write's 200 is put to the test: the next request with the key must be refused.
"""

import argparse
import http.client
import json
import shutil
import statistics
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import pymongo
from bson.binary import Binary
from pymongo.collection import Collection
from rich.console import Console
from rich.table import Table

from benchmarks.processes import child, until_listening
from benchmarks.product import DATABASE, MASTER_KEY, MODEL, Product, product
from services.dev.ports import free_ports

FOLDER = Path(".bench")
_REPLICAS = (1, 3)
_MS = 1000
_LIKE_A_BLOCK = 400
"""Bytes that blocking a key adds to the log, about."""


class Caller:
    """One kept-alive connection to the gateway."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: object, key: str) -> int:
        """POST JSON; the status."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._connection.request("POST", path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


class Probe:
    """The database's share: what keys asks of it for a write, asked again beside it."""

    def __init__(self, client: "pymongo.MongoClient[dict[str, object]]") -> None:
        self._changes = self._prepared(client)
        self._rev = 0

    @staticmethod
    def _prepared(
        client: "pymongo.MongoClient[dict[str, object]]",
    ) -> "Collection[dict[str, object]]":
        durable = pymongo.WriteConcern(w="majority", j=True)
        changes = client[DATABASE].get_collection("probe", write_concern=durable)
        changes.create_index("rev", unique=True)
        changes.create_index("op_id", unique=True)
        return changes

    def write(self) -> float:
        """Seconds for one look at the head and one journaled insert."""
        self._rev += 1
        document: dict[str, object] = {
            "rev": self._rev,
            "op_id": str(uuid.uuid4()),
            "decision": Binary(bytes(_LIKE_A_BLOCK)),
        }
        began = time.perf_counter()
        list(self._changes.find({"rev": {"$gt": self._rev - 2}}).sort("rev", 1).limit(1000))
        self._changes.insert_one(document)
        return time.perf_counter() - began


def _measure(running: Product, writes: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each block, and of each probe of the database."""
    caller = Caller(running.port)
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    keys = running.keys_file.read_text().split()
    blocked, probed = [], []
    client: pymongo.MongoClient[dict[str, object]]
    with pymongo.MongoClient(running.mongo_url) as client:
        probe = Probe(client)
        # The first write to a filled log waits until no lease of before can be held any more.
        assert caller.post("/key/block", {"key": keys[0]}, MASTER_KEY) == 200
        for key in keys[1 : writes + 1]:
            assert caller.post("/v1/chat/completions", ask, key) == 200
            probed.append(probe.write() * _MS)
            began = time.perf_counter()
            status = caller.post("/key/block", {"key": key}, MASTER_KEY)
            blocked.append((time.perf_counter() - began) * _MS)
            assert status == 200, status
            served = caller.post("/v1/chat/completions", ask, key)
            assert served in (401, 403), f"a blocked key was answered {served}"
    return blocked, probed


def main() -> int:
    """Measure with one replica and with three, print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.propagation", description=__doc__)
    parser.add_argument("--writes", type=int, default=300)
    options = parser.parse_args()
    folder = (FOLDER / "propagation").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shown = Table(title="/key/block until its 200, which means enforced; ms; embedded MongoDB")
    for column in ("policy replicas", "p50", "p99", "max", "MongoDB p50", "MongoDB's share"):
        shown.add_column(column, justify="right")
    (upstream_port,) = free_ports(1)
    with ExitStack() as running:
        command = (sys.executable, "-m", "benchmarks.upstream", str(upstream_port))
        running.enter_context(child(command, folder / "upstream.log"))
        until_listening(upstream_port)
        for replicas in _REPLICAS:
            place = folder / str(replicas)
            with product(
                place, upstream_port, keys=options.writes + 1, replicas=replicas
            ) as started:
                blocked, probed = _measure(started, options.writes)
            blocked.sort()
            p50, of_database = statistics.median(blocked), statistics.median(probed)
            p99 = blocked[len(blocked) * 99 // 100]
            shown.add_row(
                str(replicas),
                *(f"{value:.1f}" for value in (p50, p99, blocked[-1], of_database)),
                f"{of_database / p50:.0%}",
            )
    Console(width=110).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
