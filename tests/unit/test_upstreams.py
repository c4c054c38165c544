"""Addresses, credentials and model names of upstreams; and that none of it leaks."""

# ruff: noqa: E501 - the tables hold whole messages and addresses, one case a line

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstreams import Upstream, Upstreams, build
from shared.config import Config
from shared.credentials import Secret
from shared.model_list import ModelEntry
from shared.patterns import Pattern
from shared.reading import ConfigError
from shared.settings import Settings

SECRET = "very-secret"


def config(*entries: ModelEntry, **environment: str) -> Config:
    return Config(
        file="config.yaml",
        models=entries,
        settings=Settings(),
        master_key=None,
        environment={name: Secret(value) for name, value in environment.items()},
    )


def entry(model: str, name: str = "m", **fields: object) -> ModelEntry:
    if isinstance(fields.get("api_key"), str):
        fields["api_key"] = Secret(fields["api_key"])
    headers = fields.pop("extra_headers", {})
    return ModelEntry(
        id="id",
        model_name=name,
        access_groups=(),
        position=0,
        path="model_list[0]",
        model=model,
        extra_headers={k: Secret(v) for k, v in headers.items()},
        **fields,
    )


def upstream(
    model: str, environ: dict[str, str] | None = None, name: str = "m", **fields: object
) -> Upstream:
    found = build(config(entry(model, name, **fields)), environ or {}).get("id")
    assert found is not None
    return found


def refusal(model: str, environ: dict[str, str] | None = None, **fields: object) -> str:
    with pytest.raises(ConfigError) as caught:
        upstream(model, environ, **fields)
    message = str(caught.value)
    assert SECRET not in message
    return message.removeprefix("config.yaml: model_list[0].litellm_params.")


AZURE = "https://r.openai.azure.com"
CHAT = "/chat/completions"


@pytest.mark.parametrize(
    ("model", "api_base", "suffix", "expected"),
    [
        ("openai/m", None, CHAT, "https://api.openai.com/v1/chat/completions"),
        ("openai/m", "https://x.up.railway.app/", CHAT, "https://x.up.railway.app" + CHAT),
        ("openai/m", "http://h:1/v1//", "/embeddings", "http://h:1/v1/embeddings"),
        ("openai/m", "http://[::1]:8080/a/b", CHAT, "http://[::1]:8080/a/b" + CHAT),
        ("foo/m", "http://h", CHAT, "http://h" + CHAT),
        ("groq/m", None, CHAT, "https://api.groq.com/openai/v1" + CHAT),
        ("anthropic/m", None, "/messages", "https://api.anthropic.com/v1/messages"),
        ("anthropic/m", "http://h", "/messages", "http://h/v1/messages"),
        ("anthropic/m", "http://h/v1/", "/messages", "http://h/v1/messages"),
        ("anthropic/m", "http://h/v1/messages", "/messages", "http://h/v1/messages"),
        ("anthropic/m", "http://h/a", "/messages/count_tokens", "http://h/a/v1/messages/count_tokens"),
        ("ollama/m", "http://h:11434", CHAT, "http://h:11434/v1" + CHAT),
        ("azure/m", AZURE, CHAT, f"{AZURE}/openai/deployments/m{CHAT}?api-version=2025-02-01-preview"),
        ("azure/m", AZURE + "/openai/", "/embeddings", f"{AZURE}/openai/deployments/m/embeddings?api-version=2025-02-01-preview"),
        ("azure/a/b?c", AZURE, CHAT, f"{AZURE}/openai/deployments/a%2Fb%3Fc{CHAT}?api-version=2025-02-01-preview"),
        ("azure/m", AZURE, "/responses", f"{AZURE}/openai/responses?api-version=2025-02-01-preview"),
        ("azure/m", AZURE + "/openai/v1", CHAT, f"{AZURE}/openai/v1{CHAT}"),
    ],
)  # fmt: skip
def test_the_address_is_the_base_and_the_routes_part_after_v1(model, api_base, suffix, expected):
    found = upstream(model, api_base=api_base, api_key="k")
    assert found.url_for(suffix, found.upstream_model("m")) == expected


@pytest.mark.parametrize(
    ("field", "variable", "expected"),
    [
        (None, None, "2025-02-01-preview"),
        (None, "2024-06-01", "2024-06-01"),
        ("2024-10-21", "2024-06-01", "2024-10-21"),
        ("os.environ/V", None, "2023-05-15"),
    ],
)
def test_azures_version_comes_from_the_entry_then_the_environment(field, variable, expected):
    environ = {"V": "2023-05-15"} | ({"AZURE_API_VERSION": variable} if variable else {})
    found = upstream("azure/m", environ, api_base=AZURE, api_key="k", api_version=field)
    assert found.azure_version == expected


@pytest.mark.parametrize(
    ("model", "fields", "environ", "expected"),
    [
        ("openai/m", {"api_key": "k"}, {}, {"authorization": "Bearer k"}),
        ("openai/m", {"api_key": "os.environ/K"}, {"K": "k"}, {"authorization": "Bearer k"}),
        ("openai/m", {}, {"OPENAI_API_KEY": "k"}, {"authorization": "Bearer k"}),
        ("anthropic/m", {"api_key": "k"}, {}, {"x-api-key": "k"}),
        ("azure/m", {"api_key": "k", "api_base": AZURE}, {}, {"api-key": "k"}),
        ("azure/m", {"api_base": AZURE}, {"AZURE_API_KEY": "k"}, {"api-key": "k"}),
        ("foo/m", {"api_key": "k", "api_base": "http://h"}, {}, {"authorization": "Bearer k"}),
        ("foo/m", {"api_base": "http://h"}, {}, {}),
        ("ollama/m", {}, {}, {}),
        (
            "together_ai/m",
            {},
            {"TOGETHERAI_API_KEY": "b", "TOGETHER_AI_TOKEN": "c"},
            {"authorization": "Bearer b"},
        ),
        (
            "openai/m",
            {"api_key": "k", "organization": "os.environ/ORG"},
            {"ORG": "o"},
            {"authorization": "Bearer k", "openai-organization": "o"},
        ),
        (
            "openai/m",
            {"api_key": "k", "extra_headers": {"X-Team": "os.environ/T"}},
            {"T": "red"},
            {"authorization": "Bearer k", "x-team": "red"},
        ),
        (
            "openai/m",
            {"extra_headers": {"Authorization": "Basic abc"}},
            {},
            {"authorization": "Basic abc"},
        ),
    ],
)
def test_the_credential_stands_in_the_providers_header_once(model, fields, environ, expected):
    headers = upstream(model, environ, **fields).headers
    assert dict(headers) == expected
    assert len(headers) == len(expected)


@pytest.mark.parametrize("model", ["openai/m", "anthropic/m", "groq/m"])
def test_a_providers_own_key_never_goes_to_another_address(model):
    environ = {"OPENAI_API_KEY": SECRET, "ANTHROPIC_API_KEY": SECRET, "GROQ_API_KEY": SECRET}
    assert upstream(model, environ, api_base="http://elsewhere").headers == ()


def test_variables_of_the_file_resolve_below_the_real_ones():
    model = entry("openai/m", api_key="os.environ/K", organization="os.environ/O")
    found = build(config(model, K="file", O="file"), {"O": "real"}).get("id")
    assert dict(found.headers) == {"authorization": "Bearer file", "openai-organization": "real"}


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("openai/m", {"api_key": "os.environ/NO"}, "api_key: environment variable NO is not set; set NO, or write the value here"),
        ("openai/m", {"api_base": "os.environ/NO"}, "api_base: environment variable NO is not set; set NO, or write the value here"),
        ("os.environ/NO", {}, "model: environment variable NO is not set; set NO, or write the value here"),
        ("openai/m", {"api_key": "k", "extra_headers": {"x-a": "os.environ/NO"}}, "extra_headers.x-a: environment variable NO is not set; set NO, or write the value here"),
        ("azure/m", {"api_base": AZURE, "api_key": "k", "api_version": "os.environ/NO"}, "api_version: environment variable NO is not set; set NO, or write the value here"),
        ("openai/m", {"api_key": "os.environ/EMPTY"}, "api_key: environment variable EMPTY is empty; set EMPTY, or write the value here"),
        ("openai/m", {}, "api_key: is missing, and OPENAI_API_KEY is not set; write api_key: os.environ/NAME, or set OPENAI_API_KEY"),
        ("openai/", {"api_key": "k"}, "model: names a provider and no model; write provider/model, such as openai/gpt-4o"),
        ("azure/m", {"api_key": "k"}, "api_base: is missing, and this provider has no default; write the endpoint's base URL"),
        ("hosted_vllm/m", {}, "api_base: is missing, and this provider has no default; write the endpoint's base URL"),
        ("openai/m", {"api_base": f"http://u:{SECRET}@h"}, "api_base: holds a user name or password; put the credential into api_key or extra_headers"),
        ("openai/m", {"api_base": f"http://h?key={SECRET}"}, "api_base: has a query or fragment; leave it out; for Azure write api_version"),
        ("openai/m", {"api_base": "http://h#f"}, "api_base: has a query or fragment; leave it out; for Azure write api_version"),
        ("openai/m", {"api_base": "ftp://h"}, "api_base: must be an http:// or https:// URL; write it like https://host/v1"),
        ("openai/m", {"api_base": "file:///etc/passwd"}, "api_base: must be an http:// or https:// URL; write it like https://host/v1"),
        ("openai/m", {"api_base": "localhost:8000"}, "api_base: must be an http:// or https:// URL; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://"}, "api_base: has no usable host and port; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://h:99999"}, "api_base: has no usable host and port; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://h:0"}, "api_base: has no usable host and port; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://h/a b"}, "api_base: has white space or a character that a URL cannot have; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://h/\r\nx"}, "api_base: has white space or a character that a URL cannot have; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://h\\x"}, "api_base: has white space or a character that a URL cannot have; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://h/a/../b"}, "api_base: has '.' or '..' in its path; write it like https://host/v1"),
        ("openai/m", {"api_base": "http://h/v1/chat/completions"}, "api_base: ends in /chat/completions, which is added to it for each request; leave that part out"),
        ("azure/m", {"api_base": AZURE + "/openai/deployments/x", "api_key": "k"}, "api_base: names an Azure deployment; give the resource's address, and the deployment as azure/<name>"),
        ("azure/m", {"api_base": AZURE, "api_key": "k", "api_version": "1&x=y"}, "api_version: is not an API version; write one like 2024-10-21"),
        ("openai/m", {"api_key": SECRET + "\n"}, "api_key: has white space or a character that a header cannot carry; correct the key, or the variable it comes from"),
        ("openai/m", {"api_key": "k", "extra_headers": {"Host": SECRET}}, "extra_headers.Host: is set by Grantgate for every request; remove it"),
        ("openai/m", {"api_key": "k", "extra_headers": {"Content-Length": "1"}}, "extra_headers.Content-Length: is set by Grantgate for every request; remove it"),
        ("openai/m", {"api_key": "k", "extra_headers": {"transfer-encoding": "x"}}, "extra_headers.transfer-encoding: is set by Grantgate for every request; remove it"),
        ("openai/m", {"api_key": "k", "extra_headers": {"Connection": "x"}}, "extra_headers.Connection: is set by Grantgate for every request; remove it"),
        ("openai/m", {"api_key": "k", "extra_headers": {"x y": "x"}}, "extra_headers.x y: is not a header name; use letters, digits and '-'"),
        ("openai/m", {"api_key": "k", "extra_headers": {"x": SECRET + "\r\ny: z"}}, "extra_headers.x: has a character that a header cannot carry, or white space at an end; correct the value"),
        ("openai/m", {"api_key": "k", "extra_headers": {"x": "a", "X": "b"}}, "extra_headers.X: stands twice, in different letter case; keep one of them"),
        ("openai/m", {"api_key": "k", "timeout": "os.environ/EMPTY"}, "timeout: environment variable EMPTY is empty; set EMPTY, or write the value here"),
        ("openai/m", {"api_key": "k", "timeout": "os.environ/TEXT"}, "timeout: the variable does not hold a number of seconds; set it to one"),
        ("os.environ/STARS", {"api_key": "k"}, "model: has 1 '*' where model_name has 0; each '*' here takes what one '*' of model_name stands for"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_without_any_secret(model, fields, expected):
    environ = {"EMPTY": "", "TEXT": "soon", "STARS": "openai/*"}
    assert refusal(model, environ, **fields) == expected


@pytest.mark.parametrize(
    ("model", "fields", "named"),
    [
        ("foo/bar", {}, "'foo'"),
        ("bedrock/anthropic.claude", {}, "'bedrock'"),
        ("gpt-4", {"custom_llm_provider": "foo"}, "'foo'"),
    ],
)
def test_an_unknown_provider_without_api_base_is_refused_with_the_known_ones(model, fields, named):
    message = refusal(model, **fields)
    assert message.startswith(f"model: the provider {named} is not known; give api_base, or begin")
    assert "anthropic, azure, " in message


def test_a_timeout_may_stand_in_the_environment():
    found = upstream("openai/m", {"T": "2.5"}, api_key="k", timeout="os.environ/T")
    assert found.timeout_s == 2.5
    assert upstream("openai/m", api_key="k", timeout=3.0).timeout_s == 3.0


@pytest.mark.parametrize(
    ("name", "model", "asked", "sent"),
    [
        ("gpt-4", "openai/fake", "gpt-4", "fake"),
        ("openai/*", "openai/*", "openai/gpt-4", "gpt-4"),
        ("openai/o1-*", "openai/o1-*", "openai/o1-mini", "o1-mini"),
        ("claude-*", "anthropic/claude-*", "claude-x", "claude-x"),
        ("a/*-x-*", "openai/*", "a/1-x-2", "1"),
        ("a/*-x-*", "openai/*:*", "a/1-x-2", "1:2"),
        ("any/*", "openai/fixed", "any/thing", "fixed"),
        ("*", "openai/*", "a/b", "a/b"),
        ("foo/*", "foo/*", "foo/x", "foo/x"),
    ],
)
def test_the_name_asked_for_fills_the_upstream_name(name, model, asked, sent):
    found = upstream(model, name=name, api_key="k", api_base="http://h")
    assert found.upstream_model(asked) == sent


@pytest.mark.parametrize(("name", "asked"), [("gpt-4", "gpt-5"), ("a/*", "b/x"), ("a/*", "A/x")])
def test_a_name_that_is_not_served_is_never_sent(name, asked):
    with pytest.raises(ValueError, match="does not serve"):
        upstream("openai/m", name=name, api_key="k").upstream_model(asked)


@given(
    st.lists(st.text("ab/-", max_size=4), min_size=2, max_size=4),
    st.lists(st.text("abc/-", max_size=4), min_size=3, max_size=3),
)
def test_filling_a_pattern_with_its_own_captures_gives_the_name_back(literals, parts):
    pattern = "*".join(literals)
    stars = len(literals) - 1
    asked = "".join(a + b for a, b in zip(literals, [*parts[:stars], ""], strict=True))
    assert Pattern(pattern).matches(asked)
    found = upstream(f"openai/x{pattern}", name=pattern, api_key="k")
    assert found.upstream_model(asked) == "x" + asked


def test_upstreams_answer_by_deployment_id_and_none_for_a_stranger():
    found = build(config(entry("openai/m", api_key="k")), {})
    assert isinstance(found, Upstreams)
    assert len(found) == 1
    assert found.get("id") is not None
    assert found.get("other") is None


def test_anthropics_deployments_speak_anthropics_api_and_others_openais():
    assert upstream("anthropic/m", api_key="k").speaks == "anthropic"
    assert upstream("gemini/m", api_key="k").speaks == "openai"


def test_nothing_prints_an_address_or_a_credential():
    found = upstream("openai/m", api_key=SECRET, api_base=f"http://{SECRET}.example")
    for thing in (found, [found], {"a": found}, msgspec.structs.replace(found, id="b")):
        assert SECRET not in repr(thing)
        assert SECRET not in f"{thing}"


@pytest.mark.parametrize(
    ("name", "model", "theirs", "requested"),
    [
        ("openai/*", "*", "gpt-4", "openai/gpt-4"),
        ("mine-*", "ft:*:org", "ft:a:org", "mine-a"),
        ("mine-*", "ft:*:org", "gpt-4", None),
        ("*/x-*", "*-*", "a-b", "a/x-b"),
        ("*-*", "*/*", "a-b/c", None),  # a-b-c would be sent as a/b-c
        ("a*/*", "*/b*", "c/bd", "ac/d"),
        ("openai/*", "gpt-4", "gpt-4", None),
        ("x/*-*", "*", "a", None),
        ("plain", "plain", "plain", None),
    ],
)
def test_an_upstreams_name_is_turned_back_into_the_one_that_asks_for_it(
    name, model, theirs, requested
):
    upstream = Upstream(id="d", speaks="openai", base_url="http://u", name=name, model=model)
    found = upstream.requested_name(theirs)
    assert found == requested
    assert found is None or upstream.upstream_model(found) == theirs


def test_upstreams_are_asked_only_when_their_names_can_be_turned_back():
    def url(name, model, **more):
        fields = {"speaks": "openai", "base_url": "http://u/v1"} | more
        return Upstream(id="d", name=name, model=model, **fields).models_url

    assert url("openai/*", "*") == "http://u/v1/models"
    assert url("c/*", "*", speaks="anthropic") == "http://u/v1/models?limit=1000"
    assert url("openai/*", "gpt-4") is None
    assert url("plain", "plain") is None
    assert url("azure/*", "*", lists_models=False) is None
