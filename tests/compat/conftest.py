"""LiteLLM's client and CLI in an environment of their own, and a `grantgate up` for them."""

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.stack import MASTER_KEY, running

ROOT = Path(__file__).parents[2]
LITELLM = ROOT / ".compat" / "bin"


@pytest.fixture(scope="session", autouse=True)
def _installed():
    if not (LITELLM / "litellm-proxy").is_file():
        pytest.skip("LiteLLM is not installed: `make test-compat` installs and runs it")


@pytest.fixture(scope="session")
def stack(_installed, tmp_path_factory):
    with running(tmp_path_factory.mktemp("stack")) as up:
        yield up


def environ(stack, home, key=MASTER_KEY):
    """LiteLLM's variables, and none of ours; `home` keeps it from what the user has stored."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "COLUMNS": "200",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_PROXY_URL": stack.url,
        "LITELLM_PROXY_API_KEY": key,
    }


class LiteLLMClient:
    """`litellm.proxy.client.Client` in a process of its own environment."""

    def __init__(self, process):
        self.process = process

    def ask(self, name, **arguments):
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def do(self, name, **arguments):
        """Make a call that must not raise."""
        out = self.ask(name, **arguments)
        assert "answer" in out, (name, out)
        return out["answer"]


@contextmanager
def client_of(stack, home, key):
    command = [str(LITELLM / "python"), str(Path(__file__).with_name("driver.py"))]
    with subprocess.Popen(
        command,
        env=environ(stack, home, key),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield LiteLLMClient(process)
        finally:
            process.stdin.close()
            process.wait(30)


@pytest.fixture(scope="session")
def client(stack, tmp_path_factory):
    with client_of(stack, tmp_path_factory.mktemp("home"), MASTER_KEY) as driven:
        yield driven


@pytest.fixture
def cli(stack, tmp_path):
    """`litellm-proxy`, which must succeed; gives what it printed."""

    def run(*arguments, key=MASTER_KEY, fed=None):
        done = subprocess.run(
            [str(LITELLM / "litellm-proxy"), *arguments],
            env=environ(stack, tmp_path, key),
            input=fed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    return run
