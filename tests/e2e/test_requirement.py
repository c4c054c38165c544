"""What the product is for, by HTTP as a user types it: keys, teams, access groups, wildcards."""

import pytest

from tests.e2e.stack import MASTER_KEY

PATHS = ["/v1/chat/completions", "/chat/completions"]


@pytest.mark.parametrize("path", PATHS)
def test_a_key_may_call_its_models_and_no_other(stack, path):
    key = stack.manage("/key/generate", {"models": ["gpt-3.5-turbo", "gpt-4"]})["key"]

    allowed = stack.chat(key, "gpt-4", path)
    refused = stack.chat(key, "gpt-4o", path)

    assert allowed.status_code == 200
    assert allowed.json()["choices"][0]["message"]["content"]
    assert refused.status_code == 403
    assert refused.json()["error"] == {
        "message": "key not allowed to access model. This key can only access "
        "models=['gpt-3.5-turbo', 'gpt-4']. Tried to access gpt-4o",
        "type": "key_model_access_denied",
        "param": "model",
        "code": "403",
    }
    assert refused.headers["x-grantgate-reason"] == "key_model_not_allowed"


@pytest.mark.parametrize("path", PATHS)
def test_a_team_may_call_its_models_and_no_other(stack, path):
    team = stack.manage("/team/new", {"team_alias": "litellm-dev", "models": ["azure-gpt-3.5"]})[
        "team_id"
    ]
    key = stack.manage("/key/generate", {"team_id": team})["key"]

    allowed = stack.chat(key, "azure-gpt-3.5", path)
    refused = stack.chat(key, "BEDROCK_GROUP", path)

    assert allowed.status_code == 200
    assert refused.status_code == 403
    assert refused.json()["error"] == {
        "message": "Invalid model for team litellm-dev: BEDROCK_GROUP. "
        "Valid models for team are: ['azure-gpt-3.5']",
        "type": "team_model_access_denied",
        "param": "model",
        "code": "403",
    }


@pytest.mark.parametrize("path", PATHS)
def test_a_key_with_an_access_group_may_call_the_models_that_carry_it(stack, path):
    key = stack.manage("/key/generate", {"models": ["beta-models"], "max_budget": 0})["key"]

    assert stack.chat(key, "gpt-4", path).status_code == 200
    assert stack.chat(key, "fireworks-llama-v3-70b-instruct", path).status_code == 200
    assert stack.chat(key, "gpt-4o", path).status_code == 403
    assert stack.chat(key, "beta-models", path).status_code in (400, 403)


@pytest.mark.parametrize("path", PATHS)
def test_a_team_with_an_access_group_may_call_the_models_that_carry_it(stack, path):
    team = stack.manage("/team/new", {"models": ["beta-models"]})["team_id"]
    key = stack.manage("/key/generate", {"team_id": team})["key"]

    assert stack.chat(key, "gpt-4", path).status_code == 200
    assert stack.chat(key, "gpt-4o", path).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_a_narrow_wildcard_is_carved_out_of_a_wide_one(stack, path):
    key = stack.manage("/key/generate", {"models": ["default-models"]})["key"]
    both = stack.manage("/key/generate", {"models": ["default-models", "restricted-models"]})["key"]

    allowed = stack.chat(key, "openai/gpt-4", path)

    assert allowed.status_code == 200
    assert allowed.json()["grantgate_demo"]["model"] == "gpt-4"
    assert stack.chat(key, "openai/o1-mini", path).status_code == 403
    for spelling in ("openai/O1-mini", "openai/openai/o1-mini", "OPENAI/o1-mini"):
        assert stack.chat(key, spelling, path).status_code == 403
    assert stack.chat(both, "openai/o1-mini", path).status_code == 200


def test_a_block_holds_from_the_moment_it_is_answered(stack):
    key = stack.manage("/key/generate", {"models": ["gpt-4"]})["key"]
    for _ in range(20):
        assert stack.chat(key, "gpt-4").status_code == 200
        stack.manage("/key/block", {"key": key})
        assert stack.chat(key, "gpt-4").status_code == 401
        stack.manage("/key/unblock", {"key": key})


def test_a_team_that_loses_its_last_model_has_none(stack):
    team = stack.manage("/team/new", {"models": ["gpt-4"]})["team_id"]
    key = stack.manage("/key/generate", {"team_id": team})["key"]

    stack.manage("/team/model/delete", {"team_id": team, "models": ["gpt-4"]})

    assert stack.manage("/team/info", team_id=team)["team_info"]["models"] == ["no-default-models"]
    assert stack.chat(key, "gpt-4").status_code == 403


def test_a_deleted_team_takes_its_keys_with_it(stack):
    team = stack.manage("/team/new", {"models": ["gpt-4"]})["team_id"]
    key = stack.manage("/key/generate", {"team_id": team})["key"]

    stack.manage("/team/delete", {"team_ids": [team]})

    assert stack.chat(key, "gpt-4").status_code == 401


def test_a_body_with_a_comment_says_where_it_is(stack):
    answer = stack.http.post(
        "/key/generate",
        content='{"models": ["beta-models"], # Model Access Group\n"max_budget": 0}',
        headers={
            "Authorization": f"Bearer {MASTER_KEY}",
            "Content-Type": "application/json",
        },
    )

    assert answer.status_code == 400
    assert "line 1" in answer.json()["error"]["message"]


def test_management_needs_the_master_key(stack):
    key = stack.manage("/key/generate", {})["key"]

    assert stack.call("/key/generate", {}, key=key).status_code == 401
    assert stack.http.post("/key/generate", json={}).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "/v1/files",
        "/internal/snapshot",
        "/metrics",
        "/v1/decide",
    ],
)
def test_any_other_path_is_not_found_and_never_proxied(stack, path):
    assert stack.call(path, {"model": "gpt-4"}).status_code == 404


def test_every_answer_names_its_request_and_revision(stack):
    key = stack.manage("/key/generate", {"models": ["gpt-4"]})["key"]

    allowed, refused = stack.chat(key, "gpt-4"), stack.chat(key, "gpt-4o")

    for answer in (allowed, refused):
        assert answer.headers["x-request-id"]
        assert int(answer.headers["x-grantgate-revision"]) > 0


def test_a_request_is_decided_at_the_revision_it_asks_for_or_refused(stack):
    made = stack.call("/key/generate", {"models": ["gpt-4"]})
    key, revision = made.json()["key"], int(made.headers["x-grantgate-revision"])
    body = {"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]}

    def at(least):
        headers = {"x-grantgate-min-revision": str(least)}
        return stack.call("/v1/chat/completions", body, key=key, headers=headers)

    assert at(revision).status_code == 200
    late = at(revision + 1_000_000)
    assert late.status_code == 503
    assert late.json()["error"]["type"] == "policy_unavailable"
    assert late.headers["retry-after"] == "1"
    assert at(revision).status_code == 200
