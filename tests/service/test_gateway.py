"""What the gateway decides, sends and answers, over real sockets."""

import asyncio
import gc
import gzip
import zlib
from urllib.parse import quote

import aiohttp
import pytest

from services.gateway.admission import Admitted
from shared.catalogue import VERSIONED
from shared.credentials import Secret, mint
from shared.decisions import MASTER, Allow, Listing, ListQuestion, Question
from tests.service.gateway_world import (
    HASTY,
    KEY,
    MASTER_KEY,
    OTHER_KEY,
    UPSTREAM_SECRET,
    client,
    raw_request,
    running,
    world,
)
from tests.service.recording import reply

MINTED = mint(lambda alphabet: alphabet[-1]).reveal()

__all__ = ["client", "world"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
async def test_an_allowed_request_reaches_the_upstream_as_decided(world, client, path):
    answer = await client.chat(" gpt-4", path, messages=[{"role": "user", "content": "hi"}])
    assert answer.status == 200
    assert answer.headers["x-grantgate-revision"] == "7"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-litellm-call-id"] == answer.headers["x-request-id"]
    assert answer.headers["x-litellm-model-id"] == "gpt-4-a"
    (sent,) = world.openai.requests
    assert (sent.method, sent.target) == ("POST", "/v1/chat/completions")
    assert sent.json() == {"model": "up-gpt-4", "messages": [{"role": "user", "content": "hi"}]}
    assert sent.header("authorization") == f"Bearer {UPSTREAM_SECRET}"
    assert sent.header("content-type") == "application/json"


async def test_a_denied_request_reaches_nothing_and_is_told_why(world, client):
    answer = await client.chat("gpt-4o")
    assert answer.status == 403
    assert answer.headers["x-grantgate-reason"] == "key_model_not_allowed"
    assert answer.headers["x-grantgate-revision"] == "7"
    assert "x-litellm-model-id" not in answer.headers
    assert answer.error["type"] == "key_model_access_denied"
    assert answer.error["code"] == "403"
    assert answer.error["message"].endswith("Tried to access gpt-4o")
    assert world.reached_nothing()


async def test_the_alias_is_asked_about_and_its_target_dispatched(world, client):
    assert (await client.chat("alias")).status == 200
    assert world.openai.requests[0].json()["model"] == "up-gpt-4"
    assert world.policy.asked[-1].model == "alias"


async def test_the_question_carries_the_digest_the_route_and_the_floor(world, client):
    await client.chat(path="/chat/completions", headers={"x-grantgate-min-revision": "5"})
    digest = Secret(KEY).digest()
    assert world.policy.asked == [Question(digest, "gpt-4", "/v1/chat/completions", 5)]


async def test_an_answer_older_than_the_floor_is_no_answer(world, client):
    answer = await client.chat(headers={"x-grantgate-min-revision": "8"})
    assert answer.status == 503
    assert world.reached_nothing()
    assert (await client.chat(headers={"x-grantgate-min-revision": "-1"})).status == 400


async def test_without_policy_nothing_is_forwarded(world, client):
    world.policy.is_down = True
    for path in ("/v1/chat/completions", "/v1/messages"):
        answer = await client.chat(path=path)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert (await client.send("GET", "/v1/models")).error["type"] == "policy_unavailable"
    assert (await client.send("GET", "/health/readiness")).status == 503
    assert world.reached_nothing()


@pytest.mark.parametrize(
    "says",
    [Listing(7, ("gpt-4",)), Allow(7), Allow(7, "gpt-4"), Allow(7, "", ("gpt-4-a",))],
)
async def test_an_answer_of_the_wrong_shape_admits_nothing(world, client, says):
    world.policy.says = says
    assert (await client.chat()).status == 503
    assert world.reached_nothing()


def test_an_admission_cannot_be_made_without_a_decision():
    with pytest.raises(TypeError):
        Admitted(Allow(1, "m", ("d",)), object())


async def test_the_master_key_is_asked_about_as_itself(world, client):
    answer = await client.chat(headers={"Authorization": f"Bearer {MASTER_KEY}"})
    assert answer.status == 200
    assert world.policy.asked[0].key == MASTER


@pytest.mark.parametrize(
    "key", ["sk-gg-" + "a" * 38, "sk-gg-short", "pk-x", "sk-", "sk-\u00e9", "sk-" + "x" * 600]
)
async def test_a_key_with_a_bad_checksum_or_form_is_refused_without_asking(world, client, key):
    answer = await client.chat(headers={"Authorization": f"Bearer {key}"})
    assert (answer.status, answer.error["type"]) == (401, "auth_error")
    assert key.removeprefix("sk-") not in answer.body.decode() or key == "sk-"
    assert world.policy.asked == []


async def test_an_unknown_key_is_told_that_rather_than_what_is_wrong_with_its_body(world, client):
    headers = {"Authorization": f"Bearer {OTHER_KEY}", "Content-Type": "application/json"}
    answer = await client.send("POST", "/v1/chat/completions", data=b"{", headers=headers)
    assert (answer.status, answer.error["type"]) == (401, "token_not_found_in_db")
    assert world.reached_nothing()


async def test_a_query_or_path_that_names_another_model_is_refused(world, client):
    for path in (
        "/v1/chat/completions?model=claude",
        "/openai/deployments/claude/chat/completions",
        "/engines/claude/chat/completions",
    ):
        answer = await client.chat("gpt-4", path)
        assert (answer.status, answer.error["param"]) == (400, "model")
    assert world.reached_nothing()


async def test_azure_paths_are_the_plain_route_with_the_model_of_the_path(world):
    path = "/openai/deployments/gpt-4/chat/completions?api-version=2024-10-21"
    async with aiohttp.ClientSession(world.url, headers={"api-key": KEY}) as session:
        assert (await session.post(path, json={"messages": []})).status == 200
    assert world.openai.requests[0].target == "/v1/chat/completions"
    assert world.openai.requests[0].json() == {"messages": [], "model": "up-gpt-4"}


async def test_routing_members_are_dropped_and_the_upstream_is_the_configured_one(world, client):
    evil = f"http://127.0.0.1:{world.claude.port}"
    answer = await client.chat(api_base=evil, base_url=evil, fallbacks=["claude"], models=["x"])
    assert answer.status == 200
    assert world.openai.requests[0].json() == {"model": "up-gpt-4"}
    assert not world.claude.requests


async def test_only_allowed_headers_cross(world, client):
    await client.chat(
        headers={
            "x-grantgate-user": "root",
            "X-Forwarded-For": "1.1.1.1",
            "X-Api-Base": "http://evil",
            "OpenAI-Organization": "org",
            "Cookie": "a=b",
            "Idempotency-Key": "once",
        }
    )
    names = {name for name, _ in world.openai.requests[0].headers}
    assert names == {
        "host",
        "accept",
        "accept-encoding",
        "user-agent",
        "idempotency-key",
        "authorization",
        "content-type",
        "content-length",
    }


async def test_upstream_cookies_and_internals_stay_there(world, client):
    world.openai.answering(
        headers=[
            "Set-Cookie: tenant=a",
            "Location: http://internal",
            "X-RateLimit-Remaining: 3",
            "x-grantgate-revision: 99",
        ]
    )
    answer = await client.chat()
    assert answer.headers["x-ratelimit-remaining"] == "3"
    assert answer.headers.getall("x-grantgate-revision") == ["7"]
    assert not {"Set-Cookie", "Location"} & set(answer.headers)
    await client.chat()
    assert world.openai.requests[1].header("cookie") is None


async def test_a_compressed_answer_passes_as_it_is(world, client):
    world.openai.answering(b"\x1f\x8bnot really", headers=["Content-Encoding: gzip"])
    answer = await client.chat(headers={"Accept-Encoding": "gzip"})
    assert answer.body == b"\x1f\x8bnot really"
    assert answer.headers["content-encoding"] == "gzip"
    assert world.openai.requests[0].header("accept-encoding") == "gzip"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "304 Not Modified"])
async def test_a_redirect_is_neither_followed_nor_shown(world, client, status):
    location = f"Location: http://127.0.0.1:{world.claude.port}/v1"
    world.openai.answering(b"", status=status, headers=[location])
    answer = await client.chat()
    assert answer.status == 502
    assert "Location" not in answer.headers
    assert not world.claude.requests


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_an_upstream_that_refuses_our_credential_is_our_fault(world, client, status, capfd):
    world.openai.answering(f'{{"error":"bad key {UPSTREAM_SECRET}"}}'.encode(), status=status)
    answer = await client.chat()
    assert (answer.status, answer.error["type"]) == (502, "upstream_error")
    assert "upstream_refused_credential" in capfd.readouterr().out


@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "429 Slow Down", "500 Oops"])
async def test_other_upstream_errors_pass_through(world, client, status):
    world.openai.answering(b'{"error":{"message":"theirs"}}', status=status)
    answer = await client.chat()
    assert answer.status == int(status[:3])
    assert answer.body == b'{"error":{"message":"theirs"}}'


async def test_a_deployment_that_cannot_be_reached_is_passed_over(world, client):
    assert (await client.chat("half-down")).status == 200
    assert (await client.chat("half-down")).status == 200
    assert len(world.openai.requests) == 2


async def test_an_unreachable_upstream_is_502(client):
    answer = await client.chat("down")
    assert (answer.status, answer.error["type"]) == (502, "upstream_error")
    assert "127.0.0.1" not in answer.body.decode()


@HASTY
async def test_a_silent_upstream_is_504(world, client):
    async def silent(_recorded, _writer):
        await world.openai.client_left.wait()

    world.openai.script = silent
    answer = await client.chat()
    assert (answer.status, answer.error["type"]) == (504, "upstream_timeout")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 20", b"garbage\r\n\r\n", reply()[:-3]])
async def test_an_upstream_that_breaks_off_before_a_whole_answer_is_502(world, client, answer):
    async def break_off(_recorded, writer):
        writer.write(answer)
        writer.close()

    world.openai.script = break_off
    assert (await client.chat()).status == 502


async def test_a_deployment_this_gateway_does_not_know_is_503_and_logged(client, capfd):
    answer = await client.chat("lost")
    assert (answer.status, answer.error["type"]) == (503, "configuration_mismatch")
    assert "deployment_unknown" in capfd.readouterr().out


async def test_a_model_on_the_other_api_is_told_its_route(world, client):
    answer = await client.chat("claude")
    assert (answer.status, "/v1/messages" in answer.error["message"]) == (400, True)
    answer = await client.chat("gpt-4", "/v1/messages")
    assert answer.json()["type"] == "error"
    assert "/v1/chat/completions" in answer.error["message"]
    assert world.reached_nothing()


async def test_only_deployments_of_the_routes_dialect_are_used(world, client):
    assert (await client.chat("mixed")).status == 200
    assert (await client.chat("mixed", "/v1/messages")).status == 200
    assert (len(world.openai.requests), len(world.claude.requests)) == (1, 1)


async def test_messages_go_to_anthropic_with_its_credential_and_error_shape(world, client):
    async with aiohttp.ClientSession() as session:
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        sent = session.post(
            world.url + "/v1/messages?beta=true", json={"model": "claude"}, headers=headers
        )
        async with sent as response:
            assert response.status == 200
    (sent,) = world.claude.requests
    assert (sent.target, sent.header("x-api-key")) == ("/v1/messages", UPSTREAM_SECRET)
    assert sent.header("authorization") is None
    denied = await client.chat("gpt-4o", "/v1/messages")
    assert denied.status == 403
    assert denied.error["type"] == "permission_error"
    assert denied.json()["request_id"] == denied.headers["request-id"]


async def test_requests_spread_evenly_over_the_deployments_of_a_name(world, client):
    for _ in range(6):
        await client.chat("spread")
        await client.chat("gpt-4")
    models = [sent.json()["model"] for sent in world.openai.requests]
    assert models.count("up-spread-a") == models.count("up-spread-b") == 3


async def test_a_form_reaches_the_upstream_with_one_model_and_its_file(world, client):
    sound = bytes(range(256)) * 2000
    form = aiohttp.FormData()
    form.add_field("file", sound, filename="a.wav", content_type="audio/wav")
    form.add_field("model", "gpt-4")
    answer = await client.send("POST", "/v1/audio/transcriptions", data=form)
    assert answer.status == 200
    (sent,) = world.openai.requests
    assert sent.target == "/v1/audio/transcriptions"
    assert sent.body.count(b'name="model"') == 1
    assert b'name="model"\r\n\r\nup-gpt-4\r\n' in sent.body
    assert sound in sent.body
    assert int(sent.header("content-length")) == len(sent.body)


async def test_models_are_listed_in_the_callers_shape(world, client):
    listed = (await client.send("GET", "/v1/models")).json()
    assert listed["object"] == "list"
    assert listed["data"][0] == {
        "id": "gpt-4",
        "object": "model",
        "created": 1677610602,
        "owned_by": "openai",
    }
    assert world.policy.asked == [ListQuestion(Secret(KEY).digest(), "/v1/models", 0)]
    headers = {"anthropic-version": "2023-06-01"}
    page = (await client.send("GET", "/models?limit=5", headers=headers)).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("gpt-4", "openai/*", False)
    assert page["data"][0]["type"] == "model"


@pytest.mark.parametrize(
    ("name", "status"), [("gpt-4", 200), ("openai%2F*", 200), ("gpt-4o", 404), ("other%2F*", 404)]
)
async def test_one_model_is_found_when_it_may_be_called(client, name, status):
    answer = await client.send("GET", f"/v1/models/{name}")
    assert answer.status == status


async def test_health_is_public(client, world):
    assert (await client.send("GET", "/health/liveliness")).json() == "I'm alive!"
    assert (await client.send("GET", "/health/liveness")).json() == "I'm alive!"
    assert (await client.send("GET", "/health/readiness")).json()["status"] == "healthy"
    assert (await client.send("GET", "/")).status == 200
    assert world.policy.asked == []


async def test_management_is_forwarded_with_one_spelling_of_the_key(world, client):
    world.keys.answering(
        b'{"key":"sk-new"}',
        headers=[
            "x-grantgate-revision: 12",
            "Set-Cookie: a=b",
            "x-grantgate-propagation: enforced",
        ],
    )
    answer = await client.send(
        "POST",
        "/key/%67enerate",
        json={"models": []},
        headers={
            "Authorization": f"bearer {MASTER_KEY}",
            "Cookie": "a=b",
            "litellm-changed-by": "me",
        },
    )
    assert (answer.status, answer.json()) == (200, {"key": "sk-new"})
    assert answer.headers.getall("x-grantgate-revision") == ["12"]
    assert answer.headers["x-grantgate-propagation"] == "enforced"
    assert "Set-Cookie" not in answer.headers
    (sent,) = world.keys.requests
    assert (sent.method, sent.target) == ("POST", "/key/generate")
    assert sent.header("authorization") == f"Bearer {MASTER_KEY}"
    assert sent.header("litellm-changed-by") == "me"
    assert sent.header("cookie") is None
    assert world.policy.floor == 12


async def test_a_pending_or_failed_write_or_a_read_raises_no_floor(world, client):
    for status, word in (("202 Accepted", "pending"), ("500 Oops", None), ("200 OK", None)):
        told = ["x-grantgate-revision: 12"]
        told += [f"x-grantgate-propagation: {word}"] if word else []
        world.keys.answering(status=status, headers=told)
        await client.send("POST", "/key/health", json={})
    assert world.policy.floor == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_a_management_call_whose_answer_is_lost_is_not_repeated(world, client, method):
    async def lose(_recorded, writer):
        writer.close()

    world.keys.script = lose
    answer = await client.send(method, "/access_group/g/update", json={})
    assert answer.status == 503
    assert len(world.keys.requests) == 1


async def test_a_management_call_without_a_body_has_no_type(world, client):
    world.keys.answering(b"{}")
    await client.send("POST", "/key/health", skip_auto_headers=["Content-Type"])
    assert world.keys.requests[0].header("content-type") is None


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("PUT", "/v1/messages", {}, 405),
        ("POST", "/v1/messages?foo=1", {}, 400),
        ("POST", "/v1/messages", {"Content-Encoding": "gzip"}, 415),
        ("POST", "/messages", {"Expect": "nothing"}, 417),
    ],
)
async def test_errors_on_anthropics_routes_are_its_own(client, method, target, headers, status):
    answer = await client.send(method, target, json={"model": "claude"}, headers=headers)
    assert (answer.status, answer.json()["type"]) == (status, "error")


@pytest.mark.parametrize("target", ["/nowhere", "/v1/files", "/health/liveliness"])
async def test_an_answer_that_was_not_decided_on_tells_the_newest_revision_known(
    world, client, target
):
    world.policy.saw(9)
    answer = await client.send("GET", target)
    assert answer.headers["x-grantgate-revision"] == "9"


@pytest.mark.parametrize("status", ["400 Bad", "429 Slow Down", "500 Oops", "200 OK"])
async def test_an_upstream_that_repeats_its_credential_is_not_repeated(world, client, status):
    body = b'{"error": "bad key %s"}' % UPSTREAM_SECRET.encode()
    if status.startswith("200"):
        body = b"{}"
    world.openai.answering(body, status=status, headers=[f"x-ratelimit-key: {UPSTREAM_SECRET}"])
    answer = await client.chat()
    assert answer.status == int(status[:3])
    assert "x-ratelimit-key" not in answer.headers
    assert UPSTREAM_SECRET not in answer.body.decode()
    assert len(answer.body) >= 2


def _bomb():
    return gzip.compress(bytes(64 * 1024 * 1024))


@pytest.mark.parametrize(
    ("coding", "encode", "is_shown"),
    [
        ("gzip", gzip.compress, True),
        ("x-gzip", gzip.compress, True),
        ("deflate", zlib.compress, True),
        ("br", bytes, False),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body)), False),
        ("gzip", lambda body: gzip.compress(body) * 2, False),
        ("gzip", lambda body: gzip.compress(body)[:-1], False),
        ("gzip", lambda _: _bomb(), False),
    ],
)
async def test_a_credential_in_a_compressed_error_is_not_repeated(
    world, client, coding, encode, is_shown
):
    body = b'{"error": {"message": "bad key %s"}}' % UPSTREAM_SECRET.encode()
    head = [f"Content-Encoding: {coding}", "Retry-After: 7"]
    world.openai.answering(encode(body), status="429 Slow Down", headers=head)
    answer = await client.chat(headers={"Accept-Encoding": coding})
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert "content-encoding" not in answer.headers
    shown = "bad key [redacted]"
    assert (answer.error["message"] == shown) == is_shown
    assert UPSTREAM_SECRET not in answer.body.decode()


async def test_a_policy_that_stays_away_floods_no_log(world, client, capfd):
    world.policy.is_down = True
    for _ in range(60):
        assert (await client.chat()).status == 503
    written = "".join(capfd.readouterr()).count("policy_unavailable")
    assert 1 <= written < 60


async def test_a_key_in_the_wrong_place_is_repeated_nowhere(client, capfd):
    for answer in (
        await client.chat(KEY),
        await client.send("GET", f"/v1/models/{KEY}"),
        await client.chat("gpt-4", headers={"x-request-id": KEY}),
    ):
        assert KEY not in answer.body.decode()
        assert KEY not in str(answer.headers)
    assert KEY not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", [KEY, MASTER_KEY, MINTED, f"openai/{MINTED}", f" {MINTED}"])
async def test_a_key_in_the_place_of_a_name_is_refused_and_not_sent_to_policy(world, client, name):
    answer = await client.chat(name)
    assert (answer.status, answer.headers["x-grantgate-reason"]) == (400, "bad_model_name")
    assert (await client.send("GET", f"/v1/models/{quote(name, '')}")).status == 404
    listed = await client.send("GET", f"/v1/models?team_id={quote(name, '')}")
    assert (listed.status, listed.error["param"]) == (400, "team_id")
    assert len(world.policy.asked) == 2
    assert name.strip() not in f"{world.policy.asked}"


async def test_a_name_that_only_begins_like_a_key_is_asked_about(world, client):
    assert (await client.chat("sk-telecom/a.x-4-light-of-tests")).status == 403
    assert world.policy.asked[-1].model == "sk-telecom/a.x-4-light-of-tests"


async def test_management_without_keys_is_503():
    async with running() as world:
        world.gateway._management._keys_url = "http://127.0.0.1:1"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            url = world.url + "/key/info?key=x"
            async with session.get(url) as response:
                assert (response.status, response.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("key", [None, "no-key-at-all", "sk-gg-" + "a" * 38])
async def test_management_without_a_key_is_401_and_not_forwarded(world, key):
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(world.url, headers=headers) as session:
        assert (await session.post("/key/generate", json={})).status == 401
    assert not world.keys.requests


@pytest.mark.parametrize(
    "name", ["GPT-4", "gpt\x00", "gpt/../x", "gp*", ".*", "gpt-\u0434", "x" * 10_000, "x" * 900_000]
)
async def test_a_name_that_is_not_the_granted_one_is_refused(world, client, name):
    answer = await client.chat(name)
    assert answer.status in (400, 403)
    assert len(answer.body) < 1500
    assert world.reached_nothing()
    assert all(len(ask.model or "") <= 513 for ask in world.policy.asked)


async def test_a_deployment_that_is_known_serves_while_another_cannot_be_fetched(world, client):
    async def hang(_recorded, _writer):
        await world.keys.client_left.wait()

    world.keys.script = hang
    world.stored._token = Secret("the internal token")
    world.policy.says = Allow(7, "gpt-4", ("gpt-4-a", f"made-at-run-time{VERSIONED}1"), "t-1")
    async with asyncio.timeout(2):
        assert [(await client.chat()).status for _ in range(3)] == [200] * 3
    assert len(world.keys.requests) <= 1


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
async def test_a_request_leaves_nothing_for_the_collector(world, key):
    request = raw_request(key=key).replace(b"Connection: close\r\n", b"")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)

    async def ask():
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length))

    try:
        for _ in range(5):
            await ask()
        gc.collect()
        gc.disable()
        for _ in range(100):
            await ask()
        assert gc.collect() < 100
    finally:
        gc.enable()
        writer.close()
