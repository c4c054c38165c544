"""The port of an internal API: what is not HTTP, and what goes wrong, is told in our words."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from services.policy import api
from shared.credentials import TOKEN_HEADER, Secret
from shared.http import Readiness, listen

SECRET = "sk-gg-a-secret-that-nobody-may-repeat"


@pytest.fixture
async def port():
    async def broken(request):
        raise KeyError(request.headers["Authorization"])

    app = web.Application()
    app.add_routes([web.get("/broken", broken)])
    async with listen(app, "127.0.0.1", 0) as opened:
        yield opened.number


async def say(port, *lines):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join((*lines, "", "")).encode("latin-1"))
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "header",
    [
        f"Authorization: Bearer {SECRET}\x00",
        f"Authorization: Bearer {SECRET}{'x' * 9000}",
        f"Authorization: Bearer {SECRET}\rx",
        f"Authorization {SECRET}",
        f"x-api-key : {SECRET}",
    ],
)
async def test_a_malformed_credential_is_in_no_answer_and_in_no_log(port, header, caplog, capfd):
    answer = await say(port, "GET /broken HTTP/1.1", "Host: a", header)
    assert answer.split(b" ")[1] == b"400"
    assert b"The request is not well-formed HTTP." in answer
    logged = caplog.text + "".join(capfd.readouterr())
    assert "request_unreadable" in logged
    assert SECRET not in logged + answer.decode()


async def test_a_failure_is_told_by_its_place_and_not_by_its_text(port, caplog, capfd):
    header = f"Authorization: Bearer {SECRET}"
    answer = await say(port, "GET /broken HTTP/1.1", "Host: a", "Connection: close", header)
    assert answer.split(b" ")[1] == b"500"
    logged = caplog.text + "".join(capfd.readouterr())
    assert "KeyError" in logged
    assert "test_http.py" in logged
    assert SECRET not in logged + answer.decode()


@pytest.mark.parametrize("token", [None, Secret("the-token-of-this-policy")])
async def test_every_route_of_policy_but_health_and_metrics_wants_its_token(token):
    app = api.build(None, Readiness("lease"), lambda: None, token)
    async with listen(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        for route in app.router.routes():
            url = f"http://127.0.0.1:{port.number}{route.resource.canonical}"
            is_open = route.resource.canonical in ("/livez", "/readyz", "/metrics")
            for shown in ("", "wrong", "the-token-of-another-policy"):
                headers = {TOKEN_HEADER: shown}
                async with session.request(route.method, url, headers=headers) as answer:
                    assert (answer.status == 401) != is_open, route
            if not is_open and token is not None:
                headers = {TOKEN_HEADER: token.reveal()}
                async with session.request(route.method, url, headers=headers) as answer:
                    assert answer.status == 400, "let in: an empty body is no question"
