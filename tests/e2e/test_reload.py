"""`grantgate up` with two gateways while its configuration file changes underneath."""

import http.client
import json
import os
import signal
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.e2e.stack import running

ENOUGH = 16
"""Connections after which each of two gateways has been asked."""


def text(**upstream_keys):
    """A file with a model for each name, and the credential its upstream is shown."""
    return yaml.safe_dump({"model_list": [entry(*each) for each in upstream_keys.items()]})


def entry(name, upstream_key):
    base = "os.environ/GRANTGATE_DEMO_UPSTREAM"
    params = {"model": f"openai/{name}", "api_base": base, "api_key": upstream_key}
    return {"model_name": name, "litellm_params": params}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("reload") / "config.yaml"


@pytest.fixture(scope="module")
def stack(file):
    file.write_text(text(stays="first", leaves="first"))
    with running(file.parent, "--gateways", "2", config=file) as up:
        yield up


def ask(stack, key, model):
    """Status and body of one request on a connection of its own, so at any gateway."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def until(condition, what, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@contextmanager
def traffic(stack, key, model):
    """Requests without a pause while the block runs; each must be answered 200."""
    answers, is_over = [], threading.Event()

    def go_on():
        while not is_over.is_set():
            answers.append(ask(stack, key, model))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        thread.join()
    assert [answer for answer in answers if answer[0] != 200] == []


def child(stack, module):
    """The process of the one service of that name."""
    up = stack.process.pid
    pids = Path(f"/proc/{up}/task/{up}/children").read_text().split()
    (found,) = [pid for pid in pids if module in Path(f"/proc/{pid}/cmdline").read_text()]
    return int(found)


def revision(stack):
    return int(stack.call("/key/list").headers["x-grantgate-revision"])


def test_a_changed_file_is_one_change_and_is_in_force_everywhere(stack, file):
    made = stack.manage("/key/generate", {"models": ["stays", "leaves", "comes"]})
    assert any("comes" in line for line in made["warnings"])
    key = made["key"]
    assert ask(stack, key, "leaves")[0] == 200
    assert ask(stack, key, "comes")[0] == 400
    before = revision(stack)

    # Every entry's id changes: `stays` gets another credential.
    with traffic(stack, key, "stays") as answers:
        file.write_text(text(stays="second", comes="second"))
        until(lambda: ask(stack, key, "comes")[0] == 200, "the new model")
        assert {ask(stack, key, "comes")[0] for _ in range(ENOUGH)} == {200}
        found = [ask(stack, key, "leaves") for _ in range(ENOUGH)]

    assert len(answers) > ENOUGH
    assert {(status, body["error"]["type"]) for status, body in found} == {
        (400, "invalid_request_error")
    }
    assert revision(stack) == before + 1
    dangling = stack.manage("/key/list", dangling="true", return_full_object="true")
    assert [row["token"] for row in dangling["keys"]] == [made["token"]]
    updated = stack.manage("/key/update", {"key": key, "models": ["stays", "leaves"]})
    assert any("leaves" in line for line in updated["warnings"])


def test_a_gateway_that_did_not_yet_look_does_so_when_a_decision_names_what_it_lacks(stack, file):
    key = stack.manage("/key/generate", {"models": ["sudden"]})["key"]
    file.write_text(text(stays="second", comes="second", sudden="second"))
    found = []

    def is_known():
        found.append(ask(stack, key, "sudden")[0])
        return found[-1] != 400

    os.kill(child(stack, "services.keys"), signal.SIGHUP)
    until(is_known, "the change")  # which keys may have committed before it is in force

    assert {found[-1], *(ask(stack, key, "sudden")[0] for _ in range(ENOUGH))} == {200}


def test_a_bad_file_is_reported_by_each_process_and_the_one_before_serves(stack, file):
    key = stack.manage("/key/generate", {"models": ["stays"]})["key"]
    good, began = file.read_text(), len(stack.log.read_text())

    def said(event):
        return [line for line in stack.log.read_text()[began:].splitlines() if event in line]

    with traffic(stack, key, "stays"):
        file.write_text(good.replace("model_name: stays", "model_nam: stays"))
        until(lambda: len(said("configuration_refused")) == 3, "its report by three processes")
        for line in said("configuration_refused"):
            assert f"{file}: model_list[0].model_name: is missing; add model_name" in line
        assert ask(stack, key, "stays")[0] == 200

    file.write_text(good)
    stack.process.send_signal(signal.SIGHUP)
    until(lambda: len(said("configuration_reloaded")) == 3, "the signal to reach three processes")
    until(lambda: said("nothing_to_reload"), "the signal to reach policy")
    assert "changes=0" in until_one(said, "catalogue_declared")
    assert ask(stack, key, "stays")[0] == 200


def until_one(said, event):
    until(lambda: said(event), event)
    (line,) = said(event)
    return line
