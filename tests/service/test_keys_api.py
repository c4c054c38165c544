import asyncio
import io
import itertools
import json
import logging
import secrets

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from services.keys import errors
from services.keys.api import ManagementApi
from services.keys.errors import Denied, ManagementError
from services.keys.incoming import MAX_BODY_BYTES
from services.keys.replies import STATUSES
from shared.credentials import Secret
from tests.service.memory_journal import MemoryJournal
from tests.unit.management_world import VAULT

MASTER = "sk-1234567890-master"
NOW = 1_767_225_600.0
AUTH = {"Authorization": f"Bearer {MASTER}"}

POSTS = [
    "/key/generate",
    "/key/update",
    "/key/delete",
    "/key/block",
    "/key/unblock",
    "/team/new",
    "/team/update",
    "/team/delete",
    "/team/block",
    "/team/unblock",
    "/team/model/add",
    "/team/model/delete",
]
GETS = ["/key/info", "/key/list", "/team/info", "/team/list"]
EVERY_ROUTE = [("POST", path) for path in POSTS] + [("GET", path) for path in GETS]


@pytest.fixture
def journal():
    return MemoryJournal()


@pytest.fixture
async def client(journal):
    ids = (f"id-{n}" for n in itertools.count(1))
    api = ManagementApi(
        journal,
        Secret(MASTER),
        clock=lambda: NOW,
        choose=secrets.choice,
        new_id=lambda: next(ids),
        vault=VAULT,
    )
    app = web.Application(middlewares=[api.middleware])
    app.add_routes(api.routes())

    async def broken(_request):
        msg = f"a bug that knows {MASTER}"
        raise RuntimeError(msg)

    app.router.add_get("/broken", broken)
    async with TestClient(TestServer(app)) as client:
        yield client


async def post(client, path, body=None, headers=None, **more):
    return await client.post(path, json=body or {}, headers={**AUTH, **(headers or {})}, **more)


async def made(client, path, **body):
    response = await post(client, path, body)
    assert response.status == 200, await response.text()
    return await response.json()


async def error_of(response):
    body = await response.json()
    error = body["error"]
    assert set(body) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == str(response.status)
    assert response.headers["x-request-id"]
    return error


# -- the story of the requirement


async def test_a_key_and_a_team_are_restricted_as_the_documentation_shows(client, journal):
    key = await made(client, "/key/generate", models=["gpt-3.5-turbo", "gpt-4"])
    assert key["models"] == ["gpt-3.5-turbo", "gpt-4"]
    team = await made(client, "/team/new", team_alias="litellm-dev", models=["azure-gpt-3.5"])
    member = await made(client, "/key/generate", team_id=team["team_id"])
    assert member["team_id"] == team["team_id"]
    grouped = await made(client, "/key/generate", models=["beta-models"], max_budget=0)
    assert grouped["max_budget"] == 0
    assert len(journal.state.keys) == 3
    assert [reason for reason, _, _ in journal.committed] == [
        "key/generate",
        "team/new",
        "key/generate",
        "key/generate",
    ]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"models": ["beta-models"], # a group\n"max_budget": 0,}', "comment"),
        ('{\n"models": ["default-models"],\n}', "trailing comma at line 2, column 29"),
    ],
)
async def test_the_documentations_malformed_bodies_are_pointed_at(client, journal, body, place):
    headers = {**AUTH, "Content-Type": "application/json"}
    response = await client.post("/key/generate", data=body, headers=headers)
    error = await error_of(response)
    assert response.status == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", "request_body")
    assert place in error["message"]
    assert not journal.committed


async def test_every_route_works_for_the_master_key(client):
    team = (await made(client, "/team/new", team_alias="t", models=["a"]))["team_id"]
    key = (await made(client, "/key/generate", team_id=team, key_alias="one"))["key"]
    await made(client, "/key/update", key=key, rpm_limit=1)
    await made(client, "/key/block", key=key)
    await made(client, "/key/unblock", key=key)
    await made(client, "/team/update", team_id=team, models=["a", "b"])
    await made(client, "/team/block", team_id=team)
    await made(client, "/team/unblock", team_id=team)
    await made(client, "/team/model/add", team_id=team, models=["c"])
    await made(client, "/team/model/delete", team_id=team, models=["a"])
    for path in (f"/key/info?key={key}", "/key/list", f"/team/info?team_id={team}", "/team/list"):
        response = await client.get(path, headers=AUTH)
        assert response.status == 200, path
        assert int(response.headers["x-grantgate-revision"]) == 10
    await made(client, "/key/delete", keys=[key])
    await made(client, "/team/delete", team_ids=[team])


# -- who may call


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {MASTER}"},
        {"authorization": f"bearer  {MASTER} "},
        {"x-api-key": MASTER},
        {"api-key": MASTER},
        {"x-litellm-api-key": MASTER},
        {"x-api-key": MASTER, "Authorization": f"Bearer {MASTER}"},
    ],
)
async def test_the_master_key_is_taken_from_each_header(client, headers):
    response = await client.get("/key/list", headers=headers)
    assert response.status == 200


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "No api key passed in."),
        ([("Authorization", "")], "Malformed API Key"),
        ([("Authorization", MASTER)], "Ensure Key has `Bearer ` prefix"),
        ([("Authorization", f"Basic {MASTER}")], "Ensure Key has `Bearer ` prefix"),
        ([("Authorization", "Bearer ")], "No api key passed in."),
        ([("x-api-key", "")], "No api key passed in."),
        ([("Authorization", "Bearer nonsense")], "Malformed API Key"),
        ([("Authorization", "Bearer sk-gg-" + "a" * 38)], "Malformed API Key"),
        ([("Authorization", f"Bearer {MASTER}")] * 2, "More than one Authorization"),
        ([("Authorization", f"Bearer {MASTER}"), ("api-key", "sk-other")], "Different credentials"),
        ([("x-api-key", MASTER), ("x-api-key", "sk-other")], "Different credentials"),
    ],
)
@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
async def test_no_route_opens_to_a_missing_or_doubtful_credential(
    client, journal, method, path, headers, message
):
    response = await client.request(method, path, headers=headers, data=b"{}")
    error = await error_of(response)
    assert response.status == 401
    assert (error["type"], error["param"]) == ("auth_error", None)
    assert message in error["message"]
    assert not journal.committed


@pytest.mark.parametrize(("method", "path"), [("POST", path) for path in POSTS])
async def test_a_key_of_no_user_manages_nothing(client, journal, method, path):
    key = (await made(client, "/key/generate", models=["*"]))["key"]
    response = await client.request(method, path, headers={"x-api-key": key}, data=b"{}")
    error = await error_of(response)
    assert response.status == 401
    assert error["type"] == "auth_error"
    assert "Only proxy admin can be used to generate, delete, update info" in error["message"]
    assert f"Route={path}" in error["message"]
    assert len(journal.committed) == 1


async def test_an_unknown_key_is_told_apart_and_never_quoted(client):
    unknown = "sk-unknown-0123456789"
    response = await client.get("/key/list", headers={"Authorization": f"Bearer {unknown}"})
    error = await error_of(response)
    assert response.status == 401
    assert (error["type"], error["param"]) == ("token_not_found_in_db", "key")
    text = await response.text()
    assert unknown not in text
    assert Secret(unknown).digest().hex() not in text


async def test_bytes_that_are_no_text_in_a_key_are_refused(client):
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /key/list HTTP/1.1\r\nHost: x\r\nx-api-key: sk-\xff\xfe\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()
    await writer.wait_closed()


# -- bodies


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "Application/JSON; charset=UTF-8"}, 200),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 415),
    ],
)
async def test_only_plain_json_is_read(client, headers, status):
    response = await client.post("/key/generate", data=b"{}", headers={**AUTH, **headers})
    assert response.status == status


async def test_a_body_without_a_type_is_json(client):
    async with ClientSession(skip_auto_headers=["Content-Type"]) as session:
        url = client.make_url("/key/generate")
        async with session.post(url, data=b'{"models": ["a"]}', headers=AUTH) as response:
            assert response.status == 200
            assert (await response.json())["models"] == ["a"]


async def test_a_compressed_body_is_not_unpacked(client):
    headers = {**AUTH, "Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = await client.post("/key/generate", data=b"\x1f\x8b", headers=headers)
    assert response.status == 415


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_over_the_limit_is_refused(client, journal, chunked):
    async def send(padding):
        body = b'{"metadata": {"a": "%s"}}' % (b"x" * padding)
        sent = _pieces(body) if chunked else io.BytesIO(body)
        headers = {**AUTH, "Content-Type": "application/json"}
        return await client.post("/key/generate", data=sent, headers=headers)

    assert (await send(MAX_BODY_BYTES - 1000)).status == 200
    response = await send(MAX_BODY_BYTES)
    assert response.status == 413
    assert str(MAX_BODY_BYTES) in (await error_of(response))["message"]
    assert len(journal.committed) == 1


async def _pieces(body):
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"models": ["a"], "models": []}'])
async def test_a_body_that_is_no_single_object_makes_no_key(client, journal, body):
    headers = {**AUTH, "Content-Type": "application/json"}
    response = await client.post("/key/generate", data=body, headers=headers)
    assert response.status == 400
    assert (await error_of(response))["param"] == "request_body"
    assert not journal.committed


async def test_a_wrong_type_is_answered_in_pydantics_shape(client):
    response = await post(client, "/key/generate", {"models": ["a", 1]})
    assert response.status == 422
    assert await response.json() == {
        "detail": [
            {
                "type": "string_type",
                "loc": ["body", "models", 1],
                "msg": "Input should be a valid string",
            }
        ]
    }


async def test_warnings_come_with_the_answer(client):
    answer = await made(client, "/key/generate", models=["unheard-of"], colour="blue")
    assert answer["warnings"][0] == "unknown field 'colour' was ignored"
    assert "unheard-of" in answer["warnings"][1]
    answer = await made(client, "/key/block", key=answer["key"], colour="blue")
    assert answer["warnings"] == ["unknown field 'colour' was ignored"]
    answer = await made(client, "/key/delete", keys=[answer["token"]])
    assert "warnings" not in answer


async def test_a_typo_does_not_make_an_unrestricted_key(client, journal):
    response = await post(client, "/key/generate", {"model": ["gpt-4"]})
    error = await error_of(response)
    assert response.status == 400
    assert error["param"] == "model"
    assert "did you mean 'models'" in error["message"]
    assert not journal.committed


async def test_no_key_may_be_the_master_key(client):
    response = await post(client, "/key/generate", {"key": MASTER})
    assert response.status == 400
    assert MASTER not in await response.text()


# -- queries


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/key/list?size=101", 422),
        ("/key/list?page=0", 422),
        ("/key/list?page=1&page=2", 400),
        ("/key/list?utm=1", 200),
        ("/team/info", 422),
        ("/team/info?team_id=nope", 404),
        ("/key/info", 404),
        ("/key/info?key=sk-unknown-0123456789", 404),
        ("/key/info?key=%FF%00", 404),
    ],
)
async def test_a_wrong_query_is_refused(client, path, status):
    response = await client.get(path, headers=AUTH)
    assert response.status == status


async def test_not_found_is_litellms(client):
    for path in ("/key/block", "/key/unblock", "/key/update"):
        response = await post(client, path, {"key": "sk-unknown-0123456789"})
        error = await error_of(response)
        assert response.status == 404
        assert (error["message"], error["type"]) == ("Key not found.", "not_found_error")


# -- what every answer carries


async def test_a_write_answers_its_revision(client):
    for revision in (1, 2):
        response = await post(client, "/key/generate")
        assert response.headers["x-grantgate-revision"] == str(revision)
        assert response.headers["x-grantgate-propagation"] == "enforced"
        assert response.headers["Content-Type"].startswith("application/json")


async def test_a_write_that_is_not_in_force_yet_says_so(client, journal):
    response = await post(client, "/key/generate?wait=0")
    assert response.status == 202
    assert response.headers["x-grantgate-propagation"] == "pending"
    assert (await response.json())["key"]
    assert (await post(client, "/key/generate?wait=1")).status == 200
    assert (await post(client, "/key/generate?wait=no")).status == 400
    journal.is_cut_off = True
    response = await post(client, "/key/generate")
    assert response.status == 202
    assert response.headers["x-grantgate-propagation"] == "pending"
    assert len(journal.committed) == 3


async def test_every_answer_says_which_revision_is_known_here(client, journal):
    await made(client, "/team/new")
    head = str(journal.state.rev)
    for path in ("/key/generate", "/nowhere", "/key/info", "/broken"):
        for headers in (AUTH, {}, {"Authorization": "Bearer sk-nobody"}):
            response = await client.post(path, json={"models": 1}, headers=headers)
            assert response.status >= 400
            assert response.headers["x-grantgate-revision"] == head
    journal.is_down = True
    response = await post(client, "/key/generate")
    assert (response.status, response.headers["x-grantgate-revision"]) == (503, head)


@pytest.mark.parametrize("call", [("POST", "/key/generate"), ("GET", "/key/list")])
async def test_an_answer_is_of_the_revision_asked_for_or_later(client, journal, call):
    async def ask(*least):
        headers = [*AUTH.items(), *(("x-grantgate-min-revision", each) for each in least)]
        json = {} if call[0] == "POST" else None
        return await client.request(*call, json=json, headers=headers)

    await made(client, "/team/new")
    assert (await ask("1")).status == 200
    head = journal.state.rev
    response = await ask(str(head + 1))
    error = await error_of(response)
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert str(head) in error["message"]
    for wrong in (["x"], ["-1"], ["1.5"], [""], ["1", "1"]):
        response = await ask(*wrong)
        error = await error_of(response)
        assert (response.status, error["param"]) == (400, "x-grantgate-min-revision")
    assert journal.state.rev == head


@pytest.mark.parametrize("path", ["/key/generate?wait=1&", "/team/new?", "/v2/key/info?"])
async def test_a_field_in_the_query_of_a_call_that_has_a_body_is_refused(client, journal, path):
    response = await post(client, f"{path}models=x")
    error = await error_of(response)
    assert (response.status, error["param"]) == (400, "models")
    assert "body" in error["message"]
    assert not journal.committed


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("abc-DEF_1.2", "abc-DEF_1.2"),
        ("x" * 128, "x" * 128),
        ("x" * 129, "id-1"),
        ("a b", "id-1"),
        ("", "id-1"),
        ("a;b", "id-1"),
    ],
)
async def test_a_request_id_is_taken_when_it_is_harmless(client, sent, answered):
    response = await client.get("/nowhere", headers={"x-request-id": sent})
    assert response.headers["x-request-id"] == answered


async def test_the_log_names_the_request_and_who_asked(client, journal):
    await post(client, "/key/generate", headers={"x-request-id": "r1"})
    headers = {"x-request-id": "r2", "litellm-changed-by": "alice@example.com"}
    answer = await (await post(client, "/key/generate", headers=headers)).json()
    assert journal.committed == [
        ("key/generate", "master_key", "r1"),
        ("key/generate", "master_key for alice@example.com", "r2"),
    ]
    assert answer["created_by"] == "alice@example.com"


# -- what does not work


@pytest.mark.parametrize("path", POSTS)
async def test_a_write_by_get_is_refused(client, path):
    response = await client.get(path, headers=AUTH)
    await error_of(response)
    assert response.status == 405
    # A team may have any id, so PATCH /team/<any id> is a path of its own.
    assert response.headers["Allow"] == (
        "PATCH,POST" if path.count("/team/") and path.count("/") == 2 else "POST"
    )


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_read_by_another_method_is_refused(client, path, method):
    response = await client.request(method, path, headers=AUTH)
    await error_of(response)
    assert response.status == 405


@pytest.mark.parametrize("path", ["/", "/key", "/key/generate/", "/KEY/list", "/key//list", "/é"])
async def test_any_other_path_is_not_found(client, path):
    response = await client.get(path, headers=AUTH)
    assert response.status == 404
    assert (await error_of(response))["type"] == "not_found_error"


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
async def test_without_the_log_nothing_is_answered(client, journal, method, path):
    journal.is_down = True
    bodies = {"/key/delete": {"keys": ["x"]}, "/team/delete": {"team_ids": ["x"]}}
    named = {"key": "x", "team_id": "x", "models": []}
    body = json.dumps(bodies.get(path, named if path not in ("/key/generate", "/team/new") else {}))
    headers = {**AUTH, "Content-Type": "application/json"}
    query = {"key": "x", "team_id": "x"} if method == "GET" else {}
    response = await client.request(method, path, headers=headers, data=body, params=query)
    error = await error_of(response)
    assert response.status == 503
    assert error["type"] == "no_db_connection"
    assert response.headers["Retry-After"] == "1"


async def test_an_unknown_key_without_the_log_is_not_a_no(client, journal):
    journal.is_down = True
    headers = {"Authorization": "Bearer sk-unknown-0123456789"}
    assert (await client.get("/key/list", headers=headers)).status == 503


async def test_a_bug_is_a_500_without_detail_and_in_the_log(client, capsys):
    response = await client.get("/broken", headers={"x-request-id": "r9"})
    error = await error_of(response)
    assert response.status == 500
    assert error["message"] == "Internal Server Error"
    assert "r9" in capsys.readouterr().out


async def test_no_secret_reaches_a_log(client, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    key = (await made(client, "/key/generate", key="sk-a-custom-secret-1"))["key"]
    await made(client, "/key/update", key=key, models=["a"])
    await post(client, "/key/block", {"key": key, "model": 1})
    await client.post("/key/block", data=f'{{"key": "{key}",}}', headers=AUTH)
    await made(client, "/key/delete", keys=[key])
    logged = "".join(r.getMessage() for r in caplog.records if r.name.startswith("services"))
    logged += capsys.readouterr().out
    assert key not in logged
    assert MASTER not in logged


def test_every_management_error_has_a_status():
    def below(error):
        return {error}.union(*(below(sub) for sub in error.__subclasses__()))

    # Those of other modules (the doctor's) are not answers of the API.
    found = {error for error in below(ManagementError) if error.__module__ == errors.__name__}
    assert set(STATUSES) == found - {ManagementError, Denied}
