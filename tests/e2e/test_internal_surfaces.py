"""The ports behind the public one: health and numbers for anybody, the rest for the token."""

import hashlib
import os
import re
import subprocess

import httpx2
import pytest

from shared.credentials import TOKEN_HEADER
from tests.e2e.stack import MASTER_KEY
from tests.parts import BIN

LISTENING = re.compile(r"^(keys|policy|gateway)\S* +\| .* listening .*?\bport=(\d+) .*?what=(\w+)")
OPEN = ("/livez", "/readyz", "/metrics")


@pytest.fixture(scope="module", name="ports")
def _ports(stack):
    """The address of each service's internal port, as its log tells."""
    told = filter(None, map(LISTENING.match, stack.log.read_text().splitlines()))
    return {each[1]: f"http://127.0.0.1:{each[2]}" for each in told if each[3] != "public"}


def token_of(master_key):
    """What `grantgate token` prints."""
    environ = {**os.environ, "GRANTGATE_MASTER_KEY": master_key}
    command = [str(BIN / "grantgate"), "token", "--config", "config.example.yaml"]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, check=True
    ).stdout.strip()


def get(url, token=None, method="GET", **more):
    headers = {} if token is None else {TOKEN_HEADER: token}
    return httpx2.request(method, url, headers=headers, **more)


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("keys", "GET", "/health/propagation"),
        ("keys", "HEAD", "/health/propagation"),
        ("keys", "GET", "/internal/upstream?id=x&version=1"),
        ("keys", "GET", "/internal/snapshot"),
        ("keys", "GET", "/internal/changes?after=0"),
        ("policy", "POST", "/v1/decide"),
    ],
)
def test_nothing_internal_answers_without_its_token(ports, service, method, path):
    for token in (None, "", "wrong", MASTER_KEY, token_of("sk-of-somebody-else")):
        answer = get(ports[service] + path, token, method, json={"key": MASTER_KEY})
        assert answer.status_code == 401, token
        if method != "HEAD":
            error = answer.json()["error"]
            assert error["type"] == "auth_error"
            assert "x-grantgate-" in error["message"]


def test_the_token_of_the_command_opens_what_keys_tells(ports):
    token = token_of(MASTER_KEY)
    assert get(ports["keys"] + "/health/propagation", token).json()["head"] > 0
    assert get(ports["keys"] + "/internal/upstream?id=x&version=1", token).status_code == 404


def test_a_policy_that_was_given_no_token_decides_for_nobody_and_says_so(ports):
    answer = get(ports["policy"] + "/v1/decide", token_of(MASTER_KEY), "POST", json={})
    assert answer.status_code == 401
    assert "was given none" in answer.json()["error"]["message"]


def test_health_and_metrics_are_for_anybody_and_name_nothing(stack, ports):
    team = stack.manage("/team/new", {"team_alias": "alias-of-swept", "models": ["gpt-4"]})
    body = {"key_alias": "key-of-swept", "team_id": team["team_id"], "models": ["gpt-4"]}
    made = stack.manage("/key/generate", {**body, "user_id": "user-of-swept"})
    for model in ("gpt-4", "model-of-swept"):
        stack.chat(made["key"], model)
    stack.chat(made["key"] + "x", "gpt-4")
    named = [
        *(MASTER_KEY, token_of(MASTER_KEY), made["key"], made["key"][-8:], made["token"]),
        hashlib.sha256(MASTER_KEY.encode()).hexdigest(),
        *(team["team_id"], "-of-swept", "gpt-4", "openai", "127.0.0.1"),
    ]
    told = {}
    for service in ("keys", "policy", "gateway"):
        for path in OPEN:
            answer = get(ports[service] + path)
            assert answer.status_code == 200
            told[service, path] = answer.text
    assert "gateway_refusals_total" in told["gateway", "/metrics"]
    for where, text in told.items():
        for name in named:
            assert name not in text, where
