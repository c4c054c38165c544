"""Ways around a LiteLLM proxy's lists that were reproduced there, each shown to lead nowhere here.

Those that other files of this folder show (a carve-out evaded by spelling, a team's last model,
unified groups with an empty list) are not repeated.
"""

import hashlib

import pytest


def a_key(stack, **fields):
    return stack.manage("/key/generate", fields)["key"]


def test_a_model_in_the_query_does_not_replace_the_checked_one(stack):
    key = a_key(stack, models=["gpt-4"])
    body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}
    answer = stack.call("/v1/chat/completions", body, key=key, model="gpt-4o")
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/openai/deployments/gpt-4o", "/engines/gpt-4o"])
def test_a_model_in_the_path_does_not_replace_the_checked_one(stack, path):
    key = a_key(stack, models=["gpt-4"])
    assert stack.chat(key, "gpt-4", f"{path}/chat/completions").status_code == 400
    assert stack.call(f"{path}/chat/completions", {"messages": []}, key=key).status_code == 403


def test_a_teams_alias_is_checked_by_its_target(stack):
    body = {"models": ["gpt-4", "fast"], "model_aliases": {"fast": "gpt-4o"}}
    key = a_key(stack, team_id=stack.manage("/team/new", body)["team_id"])
    assert stack.chat(key, "gpt-4").status_code == 200
    assert stack.chat(key, "fast").status_code == 403


def test_a_keys_alias_is_checked_by_its_target(stack):
    key = a_key(stack, models=["gpt-4", "fast"], aliases={"fast": "gpt-4o"})
    assert stack.chat(key, "fast").status_code == 403


def test_fallbacks_of_the_client_lead_to_no_model_that_was_not_decided_on(stack):
    key = a_key(stack, models=["gpt-4"])
    fallbacks = [{"model": "gpt-4o"}, "gpt-4o"]
    assert stack.chat(key, "gpt-4o", fallbacks=["gpt-4"]).status_code == 403
    assert stack.chat(key, "nothing", fallbacks=fallbacks).status_code == 403
    served = stack.chat(key, "gpt-4", fallbacks=fallbacks, models=["gpt-4o"])
    assert served.json()["grantgate_demo"]["model"] == "fake"


def test_an_address_in_the_body_changes_neither_the_upstream_nor_its_credential(stack):
    key = a_key(stack, models=["gpt-4"])
    elsewhere = {"api_base": "http://127.0.0.1:1", "api_key": "x", "base_url": "http://127.0.0.1:1"}
    demo = stack.chat(key, "gpt-4", **elsewhere).json()["grantgate_demo"]
    assert demo["credential"] == hashlib.sha256(b"demo-key").hexdigest()[:12]


@pytest.mark.parametrize(
    ("entry", "model"),
    [
        ("openai/gpt-3.5*", "openai/gpt-3x5-turbo"),  # a dot that is any character
        ("openai/*-mini", "openai/o9-mini-and-more"),  # an end that is not anchored
        ("openai/gpt*", "xopenai/gpt-4"),  # a beginning that is not
        ("openai/*", "openaiz/gpt-4"),  # a provider by the start of its name
        ("openai/*", "gpt-4"),  # a provider by a list of prices
        ("openai/*", "gpt-4o"),
        ("openai/(o1|gpt)*", "openai/gpt-4"),
        ("gpt-4", "GPT-4"),
        ("gpt-4", "gpt-4/../gpt-4o"),
    ],
)
def test_a_pattern_covers_what_it_says_and_no_more(stack, entry, model):
    answer = stack.chat(a_key(stack, models=[entry]), model)
    assert (answer.status_code, answer.headers["x-grantgate-reason"]) == (
        403,
        "key_model_not_allowed",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/bedrock/model/gpt-4/invoke",
        "/azure/openai/deployments/gpt-4/chat/completions",
        "/vertex_ai/v1/projects/p/models/gpt-4:generateContent",
        "/gemini/v1beta/models/gpt-4:generateContent",
        "/anthropic/v1/messages",
        "/openai/v1/chat/completions",
        "/openai_passthrough/v1/chat/completions",
        "/watsonx/ml/v1/text/chat",
        "/v1/batches",
        "/v1/realtime",
    ],
)
def test_no_route_passes_through_undecided(stack, path):
    assert stack.chat(a_key(stack), "gpt-4", path).status_code == 404


@pytest.mark.parametrize("path", ["/model/info", "/v1/model/info", "/model_group/info"])
def test_the_information_on_models_is_of_those_one_may_call(stack, path):
    answer = stack.call(path, key=a_key(stack, models=["gpt-4"]))
    assert "gpt-4o" not in answer.text
    assert "demo-key" not in answer.text
    assert "127.0.0.1" not in answer.text


def test_all_team_models_without_a_team_is_nothing(stack):
    assert stack.chat(a_key(stack, models=["all-team-models"]), "gpt-4").status_code == 403
    assert stack.chat(a_key(stack, models=["all-team-models", "gpt-4"]), "gpt-4").status_code == 403


def test_a_teams_block_holds_from_the_moment_it_is_answered(stack):
    team = stack.manage("/team/new", {"models": ["gpt-4"]})["team_id"]
    key = a_key(stack, team_id=team)
    assert stack.chat(key, "gpt-4").status_code == 200
    stack.manage("/team/block", {"team_id": team})
    assert stack.chat(key, "gpt-4").headers["x-grantgate-reason"] == "team_blocked"
    stack.manage("/team/unblock", {"team_id": team})
    assert stack.chat(key, "gpt-4").status_code == 200


def test_a_refusal_of_a_key_shows_neither_the_key_nor_its_digest(stack):
    key = "sk-invented-by-these-tests"
    text = stack.chat(key, "gpt-4").text
    assert key not in text
    assert hashlib.sha256(key.encode()).hexdigest() not in text
