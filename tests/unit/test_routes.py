"""The route table is closed: a target is one of its routes in one reading, or nothing."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.errors import Rejected
from services.gateway.list_query import ListQuery
from services.gateway.routes import FIXED, Kind, resolve

CHAT = "/v1/chat/completions"
INFERENCE = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/rerank",
    "/v1/messages",
    "/v1/messages/count_tokens",
]


def status_of(method, target):
    with pytest.raises(Rejected) as refused:
        resolve(method, target)
    return refused.value.status


@pytest.mark.parametrize("path", INFERENCE)
def test_every_inference_route_is_served_with_and_without_v1(path):
    route = resolve("POST", path)
    assert route.kind is Kind.INFERENCE
    assert route.path == path
    assert route.suffix == path.removeprefix("/v1")
    assert resolve("POST", path.removeprefix("/v1")) == route


@pytest.mark.parametrize(
    ("path", "body", "dialect"),
    [
        ("/v1/chat/completions", "json", "openai"),
        ("/v1/audio/transcriptions", "multipart", "openai"),
        ("/v1/audio/translations", "multipart", "openai"),
        ("/v1/images/edits", "multipart", "openai"),
        ("/v1/messages", "json", "anthropic"),
        ("/v1/messages/count_tokens", "json", "anthropic"),
    ],
)
def test_a_route_knows_its_body_and_its_dialect(path, body, dialect):
    route = resolve("POST", path)
    assert (route.body, route.dialect) == (body, dialect)


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("/openai/deployments/gpt-4/chat/completions", "gpt-4"),
        ("/openai/deployments/gpt-4/chat/completions?api-version=2024-10-21", "gpt-4"),
        ("/engines/gpt-4/chat/completions", "gpt-4"),
        ("/v1/engines/openai%2Fgpt-4/chat/completions", "openai/gpt-4"),
        ("/openai/deployments/llama3:8b/chat/completions", "llama3:8b"),
        ("/openai/deployments/a%20b/chat/completions", "a b"),
    ],
)
def test_a_model_in_the_path_is_read_and_the_route_is_the_plain_one(target, model):
    route = resolve("POST", target)
    assert route.model == model
    assert (route.path, route.suffix) == (CHAT, "/chat/completions")


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("/v1/models/gpt-4", "gpt-4"),
        ("/models/openai%2Fgpt-4", "openai/gpt-4"),
        ("/v1/models/openai%2F*", "openai/*"),
    ],
)
def test_a_model_id_may_hold_an_encoded_slash(target, model):
    route = resolve("GET", target)
    assert (route.kind, route.model, route.path) == (Kind.MODEL, model, "/v1/models/{model_id}")


def test_an_escaped_letter_is_the_same_route_with_the_same_check():
    assert resolve("POST", "/v1/%63hat/completions") is resolve("POST", CHAT)


@pytest.mark.parametrize(
    "target",
    [
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/../v1/chat/completions",
        "/v1/%2e/chat/completions",
        "/v1/%2e%2e/v1/chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1%2fchat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions;x=1",
        "/v1/chat/completions%3B",
        "/v1/chat\\completions",
        "/v1/chat%5Ccompletions",
        "/v1/chat/completions%00",
        "/v1/chat/completions%0d%0a",
        "/V1/chat/completions",
        "/v1/Chat/completions",
        "/v1/chat/completions%20",
        "/v2/chat/completions",
        "/v1/chat",
        "/v1/unknown",
        "/v1/models/a/b",
        "/v1/models/..",
        "/v1/models/%2e%2e",
        "/openai/deployments/gpt-4/unknown",
        "/openai/deployments/gpt-4/messages",
        "/openai/deployments//chat/completions",
        "/openai/deployments/%2e%2e/chat/completions",
        "/openai%2Fdeployments/gpt-4/chat/completions",
        "/key",
        "/key/",
        "/key/../team/new",
        "/key%2Fgenerate",
        "/key/generate/x%2Fy",
        "/Key/generate",
        "/keys/generate",
        "/metrics",
        "/livez",
        "/readyz",
        "/v1/decide",
    ],
)
def test_an_odd_spelling_is_no_route(target):
    assert status_of("POST", target) == 404


@pytest.mark.parametrize(
    "target",
    [
        "http://evil/v1/chat/completions",
        "https://evil:443/v1/chat/completions",
        "evil:443",
        "*",
        "",
        "v1/chat/completions",
        "/v1/chat/completions#x",
        "/v1/chat/completions?a#x",
        "/v1/chat/compl\u00e9tions",
        "/v1/chat/completions\x00",
        "/v1/chat completions",
        "/v1/%zz/completions",
        "/v1/%6",
        "/v1/%ff/completions",
    ],
)
def test_a_target_in_another_form_is_malformed(target):
    assert status_of("POST", target) == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "TRACE", "OPTIONS", "HEAD", "post"])
def test_a_wrong_method_is_told_the_right_one(method):
    with pytest.raises(Rejected) as refused:
        resolve(method, CHAT)
    assert refused.value.status == 405
    assert refused.value.headers == (("Allow", "POST"),)


@pytest.mark.parametrize("query", ["api_key=sk-1", "API_KEY=x", "key=x", "access_token=x"])
def test_a_key_in_the_url_is_refused(query):
    assert status_of("POST", f"{CHAT}?{query}") == 400
    assert status_of("GET", f"/v1/models?{query}") == 400


@pytest.mark.parametrize("query", ["unknown=1", "Model=gpt-4", "%6dodel2=x", "model=a&model=b"])
def test_a_query_that_could_route_is_refused(query):
    assert status_of("POST", f"{CHAT}?{query}") == 400


def test_a_query_model_that_differs_from_the_paths_is_refused():
    target = "/openai/deployments/gpt-4/chat/completions?model=gpt-4o"
    assert status_of("POST", target) == 400


@pytest.mark.parametrize(
    "query", ["model=gpt-4o", "%6dodel=gpt-4o", "model=+gpt-4o", "model=gpt%2D4o"]
)
def test_a_query_model_is_only_remembered_for_comparison(query):
    route = resolve("POST", f"{CHAT}?{query}")
    assert (route.model, route.query_model) == (None, "gpt-4o")


def test_what_the_sdks_put_into_the_query_is_dropped():
    assert resolve("POST", "/v1/messages?beta=true") is resolve("POST", "/v1/messages")
    assert resolve("GET", "/v1/models?limit=20&scope=expand") is resolve("GET", "/v1/models")


@pytest.mark.parametrize(
    ("method", "target", "path", "query"),
    [
        ("POST", "/key/generate", "/key/generate", ""),
        ("GET", "/key/info?key=sk-1", "/key/info", "key=sk-1"),
        ("PATCH", "/team/t%2F1", "/team/t%2F1", ""),
        ("POST", "/key/%67enerate", "/key/generate", ""),
        ("DELETE", "/team/x", "/team/x", ""),
    ],
)
def test_management_paths_keep_one_spelling_and_their_query(method, target, path, query):
    route = resolve(method, target)
    assert (route.kind, route.path, route.query) == (Kind.MANAGEMENT, path, query)


def test_the_lists_parameters_are_read_and_others_ignored():
    for path in ("/v1/models", "/models"):
        query = "?team_id=a%20b&include_model_access_groups=True&limit=5&after_id=%zz&x"
        route = resolve("GET", path + query)
        assert route.listing == ListQuery(team_id="a b", include_model_access_groups=True)
        assert resolve("GET", path + "?team_id=&limit=5").listing == ListQuery()
    on = resolve("GET", "/models?return_wildcard_routes=1&only_model_access_groups=true").listing
    assert on == ListQuery(return_wildcard_routes=True, only_model_access_groups=True)
    off = "return_wildcard_routes=false&only_model_access_groups=0"
    assert resolve("GET", f"/models?{off}").listing == ListQuery()
    assert resolve("GET", "/v1/models/x?return_wildcard_routes=maybe").kind is Kind.MODEL


@pytest.mark.parametrize(
    "name",
    ["include_model_access_groups", "only_model_access_groups", "return_wildcard_routes"],
)
@pytest.mark.parametrize("value", ["", "yess", "2", "truee", "null", "true%00", "\u2019"])
def test_a_flag_that_is_neither_true_nor_false_is_named(name, value):
    with pytest.raises(Rejected) as refused:
        resolve("GET", f"/v1/models?{name}={quote(value, safe='%')}")
    assert (refused.value.status, refused.value.param) == (400, name)
    assert name in refused.value.message


def test_a_parameter_of_the_list_that_stands_twice_is_refused():
    with pytest.raises(Rejected) as refused:
        resolve("GET", "/v1/models?team_id=a&team_id=b")
    assert refused.value.param == "team_id"


@pytest.mark.parametrize("below", ["", "/g-1", "/a%2Fb"])
def test_the_other_name_of_unified_groups_is_the_one_spelling(below):
    alias = resolve("PUT", f"/v1/unified_access_group{below}?a=1")
    assert alias == resolve("PUT", f"/v1/access_group{below}?a=1")
    for other in (
        "/unified_access_group/x",
        "/v1/unified_access_groups",
        "/v2/unified_access_group",
    ):
        with pytest.raises(Rejected):
            resolve("GET", other)


@given(st.text(max_size=60))
def test_no_text_is_more_than_a_route_or_a_refusal(text):
    for target in (text, "/" + text, "/v1/" + text):
        try:
            route = resolve("POST", target)
        except Rejected as refused:
            assert refused.status in (400, 404, 405)  # noqa: PT017
        else:
            assert route.suffix == "" or route.path == "/v1" + route.suffix


@given(st.sampled_from(sorted(FIXED)), st.data())
def test_any_escaping_of_a_plain_path_is_that_path(path, data):
    def spell(letter):
        return f"%{ord(letter):02x}" if letter != "/" and data.draw(st.booleans()) else letter

    spelled = "".join(map(spell, path))
    assert resolve(FIXED[path].methods[0], spelled) is FIXED[path]


@given(st.text(min_size=1, max_size=40).filter(lambda name: name.strip() == name))
def test_any_printable_model_survives_the_path(name):
    target = f"/engines/{quote(name, safe='')}/embeddings"
    try:
        route = resolve("POST", target)
    except Rejected as refused:
        assert refused.status == 404  # noqa: PT017
        assert not name.isprintable() or "\\" in name or name in (".", "..")
    else:
        assert route.model == name
