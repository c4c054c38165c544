"""`python -m benchmarks.guard`: do a decision and a request need more instructions?

Counted by valgrind's callgrind, so that a busy machine makes no difference. Compared with what
guard.json records; `--record` writes that file anew.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import child, until_listening
from benchmarks.product import MODEL, REFUSED_MODEL, product
from services.dev.ports import free_ports

_RECORDED = Path(__file__).with_name("guard.json")
_FOLDER = Path(".bench/guard").resolve()
_MOST = 1.10
_TIMES = 300
_REQUESTS = 300
_VALGRIND = ("valgrind", "--tool=callgrind")
_COLLECTED = re.compile(r"Collected : (\d+)")
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
_DUMPED_S = 30.0


def _run(times: int) -> int:
    """Instructions of a whole process that decides so often."""
    out = f"--callgrind-out-file={_FOLDER / 'decide.out'}"
    command = (*_VALGRIND, out, sys.executable, "-m", "benchmarks.guarded", str(times))
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    found = _COLLECTED.search(done.stderr)
    assert found, done.stderr
    return int(found[1])


def _decide() -> float:
    """Instructions a decision: those of many less those of half as many, so without the start."""
    return (_run(2 * _TIMES) - _run(_TIMES)) / (_TIMES * 3)


def _control(what: str, pid: int) -> None:
    subprocess.run(("callgrind_control", what, str(pid)), check=True, capture_output=True)


def _counted(pid: int, work: Callable[[], None]) -> int:
    """Instructions a process running under callgrind spends while `work` is done."""
    before = set(_FOLDER.glob("gateway.out.*"))
    _control("--zero", pid)
    work()
    _control("--dump", pid)
    deadline = time.monotonic() + _DUMPED_S
    while time.monotonic() < deadline:
        for path in set(_FOLDER.glob("gateway.out.*")) - before:
            if found := _TOTALS.search(path.read_text()):
                return int(found[1])
        time.sleep(0.05)
    message = "callgrind dumped nothing"
    raise TimeoutError(message)


def _requests() -> dict[str, float]:
    """Instructions of the gateway a request, allowed and refused, one after the other."""
    (upstream_port,) = free_ports(1)
    command = (sys.executable, "-m", "benchmarks.upstream", str(upstream_port))
    under = (*_VALGRIND, f"--callgrind-out-file={_FOLDER / 'gateway.out'}")
    extra = {"PYTHONHASHSEED": "0", "GRANTGATE_DECISION_TIMEOUT_S": "5"}
    found = {}
    with child(command, _FOLDER / "upstream.log"):
        until_listening(upstream_port)
        stack = product(_FOLDER / "stack", upstream_port, keys=1, extra=extra, gateway_under=under)
        with stack as ours:
            key = ours.keys_file.read_text().strip()
            (pid,) = (pid for name, pid in ours.on_path.items() if name.startswith("gateway"))
            connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=30)
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            for name, model, status in (("allowed", MODEL, 200), ("refused", REFUSED_MODEL, 403)):
                body = json.dumps({"model": model, "messages": []}).encode()

                def ask(body: bytes = body, status: int = status) -> None:
                    for _ in range(_REQUESTS):
                        connection.request("POST", "/v1/chat/completions", body, headers)
                        answer = connection.getresponse()
                        answer.read()
                        assert answer.status == status

                ask()
                found[f"request {name}"] = _counted(pid, ask) / _REQUESTS
    return found


def main() -> int:
    """Count, compare or record; 1 when anything grew by more than a tenth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="take these figures as the measure")
    parser.add_argument("--decide", action="store_true", help="the decision alone")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is absent: apt-get install valgrind")
        return 2
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    found = {"decide": _decide(), **({} if options.decide else _requests())}
    if options.record:
        rounded = {name: round(count) for name, count in found.items()}
        _RECORDED.write_text(json.dumps(rounded, indent=2) + "\n")
    recorded = json.loads(_RECORDED.read_text())
    grown = [name for name, count in found.items() if count > recorded[name] * _MOST]
    for name, count in found.items():
        verdict = "GREW" if name in grown else "ok"
        ratio = count / recorded[name]
        print(f"{verdict}: {name}: {count:,.0f} instructions, {ratio:.3f} of what is recorded")
    if grown:
        print("When that is meant: make bench-guard RECORD=1")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
