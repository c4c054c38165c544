"""Nothing reaches an upstream but by a decision: every route there is, walked."""

import asyncio

import pytest

from services.gateway import about
from services.gateway.admission import Admission
from services.gateway.routes import FIXED, Kind, resolve
from shared.decisions import Deny, DenyReason
from tests.service.gateway_world import MASTER_KEY, raw_request, running
from tests.service.recording import hang_up, reply, say, statuses

VARIABLE = {
    f"/{prefix}/gpt-4/{operation}": "POST"
    for prefix in ("openai/deployments", "engines", "v1/engines")
    for operation in (
        "chat/completions",
        "completions",
        "embeddings",
        "images/generations",
        "images/edits",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
    )
}
VARIABLE |= {"/v1/models/gpt-4": "GET", "/models/openai%2F*": "GET"}
MANAGEMENT = {
    f"/{prefix}/x": method
    for prefix in (
        *("key", "team", "user", "model", "model_group", "access_group", "v1/access_group"),
        *("v1/unified_access_group", "v1/model", "v2/key", "v2/team", "v2/user", "v2/model"),
    )
    for method in ("GET",)
}
MANAGEMENT |= {"/v1/access_group": "POST", "/key/generate": "POST", "/model/new": "POST"}
ROUTES = {path: route.methods[0] for path, route in FIXED.items()} | VARIABLE | MANAGEMENT
FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4\r\n--b--\r\n'


def request(path, route, key=MASTER_KEY):
    method = route.methods[0] if route.kind is not Kind.MANAGEMENT else ROUTES[path]
    body = b"" if method == "GET" else b'{"model":"gpt-4"}'
    made = raw_request(body, target=path, method=method, key=key)
    if route.body == "multipart":
        made = raw_request(FORM, target=path, method=method, key=key).replace(
            b"Content-Type: application/json", b"Content-Type: multipart/form-data; boundary=b"
        )
    return made.replace(b"Content-Length: 0\r\n", b"")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_route_is_public_listing_management_or_decided(kind):
    kinds = (about.PUBLIC, {Kind.MODELS, Kind.MODEL}, {Kind.MANAGEMENT}, {Kind.INFERENCE})
    assert sum(kind in each for each in kinds) == 1
    assert any(resolve(method, path).kind is kind for path, method in ROUTES.items())


async def test_with_a_policy_that_denies_everything_no_route_reaches_an_upstream():
    async with running(discover_models=True) as world:
        world.policy.says = Deny(7, DenyReason.KEY_MODEL_NOT_ALLOWED, "gpt-4")
        for path, method in ROUTES.items():
            route = resolve(method, path)
            world.policy.asked.clear()
            (status,) = statuses(await say(world.port, request(path, route)))
            if route.kind is Kind.INFERENCE:
                assert status == 403, path
                assert len(world.policy.asked) == 1
            elif route.kind in (Kind.MODELS, Kind.MODEL):
                assert status in (403, 404), path
                assert world.policy.asked
            elif route.kind is not Kind.OPENAPI:  # which the keys of this world cannot describe
                assert status == 200, path
        assert world.openai.connections == world.claude.connections == 0
        assert {sent.target for sent in world.keys.requests} <= {
            *MANAGEMENT,
            "/v1/access_group/x",
            "/openapi.json",
        }


async def test_each_request_that_reaches_an_upstream_has_a_decision_of_its_own(monkeypatch):
    decided = []
    authorize = Admission.authorize

    async def counted(self, *question):
        decided.append(question)
        return await authorize(self, *question)

    monkeypatch.setattr(Admission, "authorize", counted)
    async with running() as world:
        for path, method in ROUTES.items():
            route = resolve(method, path)
            before = len(decided), len(world.openai.requests)
            await say(world.port, request(path, route))
            after = len(decided), len(world.openai.requests)
            sent = route.kind is Kind.INFERENCE and route.dialect == "openai"
            assert after[1] - before[1] == sent, path
            assert after[0] - before[0] == (route.kind is Kind.INFERENCE), path


async def test_row_64_what_was_decided_is_what_is_sent_whatever_happens_between():
    checked, go_on = asyncio.Event(), asyncio.Event()
    async with running() as world:
        world.policy.says = None
        policy_ask = world.policy.ask

        async def ask(question):
            answer = await policy_ask(question)
            if question.model == "gpt-4" and not checked.is_set():
                checked.set()
                await go_on.wait()
            return answer

        world.policy.ask = ask

        async def answer(_recorded, writer):
            writer.write(reply())

        world.openai.script = answer
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(raw_request().replace(b"Connection: close\r\n", b""))
        async with asyncio.timeout(5):
            await checked.wait()
            # The caller sends on, and loses the model, after the check and before the sending.
            writer.write(raw_request(b'{"model":"forbidden","model":"gpt-4-and-more"}'))
            world.policy.says = Deny(8, DenyReason.KEY_MODEL_NOT_ALLOWED, "gpt-4")
            go_on.set()
            answered = await reader.read()
        await hang_up(writer)
        assert statuses(answered) == [200, 403]
        assert [sent.body for sent in world.openai.requests] == [b'{"model":"up-gpt-4"}']
        assert statuses(await say(world.port, raw_request())) == [403]
        assert len(world.openai.requests) == 1
