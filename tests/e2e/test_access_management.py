"""What is changed at run time, as callers of the gateway see it: models, groups, members, users."""

import time

import pytest

from tests.e2e.stack import MASTER_KEY

UPSTREAM = {"api_base": "os.environ/GRANTGATE_DEMO_UPSTREAM", "api_key": "sk-stored"}


def new_model(stack, name, upstream="stored", **info):
    params = {"model": f"openai/{upstream}", **UPSTREAM}
    body = {"model_name": name, "litellm_params": params, "model_info": info}
    return stack.manage("/model/new", body)["model_id"]


def request(stack, method, path, body=None, key=None):
    headers = {"Authorization": f"Bearer {key or MASTER_KEY}"}
    return stack.http.request(method, path, json=body, headers=headers)


def test_a_model_made_at_run_time_serves_when_the_call_returns(stack):
    model_id = new_model(stack, "stored-model", access_groups=["stored-group"])
    key = stack.manage("/key/generate", {"models": ["stored-group"]})["key"]
    answer = stack.chat(key, "stored-model")
    assert answer.status_code == 200, answer.text
    assert answer.json()["grantgate_demo"]["model"] == "stored"
    assert "stored-model" in {m["id"] for m in stack.call("/v1/models", key=key).json()["data"]}

    change = {"litellm_params": {"model": "openai/elsewhere"}, "model_info": {"id": model_id}}
    stack.manage("/model/update", change)
    assert stack.chat(key, "stored-model").json()["grantgate_demo"]["model"] == "elsewhere"

    stack.manage("/model/block", {"model_id": model_id})
    refused = stack.chat(key, "stored-model")
    assert (refused.status_code, refused.headers["x-grantgate-reason"]) == (403, "model_blocked")
    stack.manage("/model/unblock", {"model_id": model_id})
    assert stack.chat(key, "stored-model").status_code == 200
    shown = stack.manage("/model/info", litellm_model_id=model_id)
    assert "sk-stored" not in str(shown)
    stack.manage("/model/delete", {"id": model_id})
    assert stack.chat(key, "stored-model").headers["x-grantgate-reason"] == "key_model_not_allowed"


def test_a_model_made_at_run_time_may_lead_to_the_demo_upstream_and_to_no_private_network(stack):
    params = {"model": "openai/x", "api_base": "http://169.254.169.254/latest"}
    answer = request(stack, "POST", "/model/new", {"model_name": "x", "litellm_params": params})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "litellm_params.api_base"


def test_access_groups_are_changed_in_one_step(stack):
    for name in ("group-a", "group-b"):
        new_model(stack, name)
    stack.manage("/access_group/new", {"access_group": "made", "model_names": ["group-a"]})
    key = stack.manage("/key/generate", {"models": ["made"]})["key"]
    assert stack.chat(key, "group-a").status_code == 200
    assert stack.chat(key, "group-b").status_code == 403
    body = {"model_names": ["group-b"]}
    assert request(stack, "PUT", "/access_group/made/update", body).status_code == 200
    assert stack.chat(key, "group-a").status_code == 403
    assert stack.chat(key, "group-b").status_code == 200
    assert request(stack, "DELETE", "/access_group/made/delete").status_code == 200
    assert stack.chat(key, "group-b").status_code == 403


def test_unified_groups_are_all_a_key_with_no_models_may_call(stack):
    new_model(stack, "unified-a")
    body = {"access_group_name": "unified", "access_model_names": ["unified-a"]}
    made = request(stack, "POST", "/v1/access_group", body)
    assert made.status_code == 201, made.text
    group = made.json()["access_group_id"]
    key = stack.manage("/key/generate", {"access_group_ids": [group]})["key"]
    assert stack.chat(key, "unified-a").status_code == 200
    assert stack.chat(key, "gpt-4").status_code == 403
    assert request(stack, "DELETE", f"/v1/access_group/{group}").status_code == 204
    assert stack.chat(key, "unified-a").status_code == 403


def test_a_members_list_is_a_third(stack):
    for name in ("member-a", "member-b"):
        new_model(stack, name)
    team = stack.manage("/team/new", {"models": ["member-a", "member-b"]})["team_id"]
    member = {"role": "user", "user_id": "restricted"}
    body = {"team_id": team, "member": member, "allowed_models": ["member-a"]}
    stack.manage("/team/member_add", body)
    key = stack.manage("/key/generate", {"team_id": team, "user_id": "restricted"})["key"]
    assert stack.chat(key, "member-a").status_code == 200
    refused = stack.chat(key, "member-b")
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "team_member_model_access_denied"
    assert "['member-a']" in refused.json()["error"]["message"]
    body = {"team_id": team, "user_id": "restricted", "allowed_models": None}
    stack.manage("/team/member_update", body)
    assert stack.chat(key, "member-b").status_code == 200
    stack.manage("/team/member_delete", {"team_id": team, "user_id": "restricted"})
    assert stack.chat(key, "member-a").status_code == 401


def test_a_users_list_binds_their_keys_and_their_role_is_theirs(stack):
    new_model(stack, "user-a")
    body = {"user_id": "eve", "models": ["user-a"], "user_role": "internal_user"}
    made = stack.manage("/user/new", body)
    assert stack.chat(made["key"], "user-a").status_code == 200
    refused = stack.call("/key/generate", {"models": ["gpt-4"]}, key=made["key"])
    assert refused.status_code == 403, refused.text
    assert "'gpt-4'" in refused.json()["error"]["message"]
    own = stack.manage("/key/generate", {"models": ["user-a"]}, key=made["key"])
    assert own["user_id"] == "eve"
    stack.manage("/user/update", {"user_id": "eve", "models": ["no-default-models"]})
    refused = stack.chat(own["key"], "user-a")
    assert refused.json()["error"]["type"] == "user_model_access_denied"
    assert stack.call("/team/new", {}, key=own["key"]).status_code == 401
    stack.manage("/user/update", {"user_id": "eve", "user_role": "proxy_admin"})
    assert stack.call("/team/new", {}, key=own["key"]).status_code == 200
    stack.manage("/user/delete", {"user_ids": ["eve"]})
    assert stack.chat(own["key"], "user-a").status_code == 401


@pytest.mark.parametrize("path", ["/key/regenerate", "/key/{key}/regenerate"])
def test_an_old_secret_works_for_its_grace_period_and_says_so(stack, path):
    name = f"rotated-{len(path)}"
    new_model(stack, name)
    old = stack.manage("/key/generate", {"models": [name]})["key"]
    body = {"key": old, "grace_period": "3s"}
    began = time.monotonic()
    new = stack.manage(path.format(key=old), body)["key"]
    assert stack.chat(new, name).status_code == 200
    assert "x-grantgate-key-retires-at" not in stack.chat(new, name).headers
    answer = stack.chat(old, name)
    assert answer.status_code == 200
    retires_at = answer.headers["x-grantgate-key-retires-at"]
    for other in ("/v1/models", "/key/info"):
        assert stack.call(other, key=old).headers["x-grantgate-key-retires-at"] == retires_at
    while stack.chat(old, name).status_code == 200:
        assert time.monotonic() < began + 10
    assert time.monotonic() > began + 2
    refused = stack.chat(old, name)
    assert (refused.status_code, refused.headers["x-grantgate-reason"]) == (401, "key_expired")
    assert stack.chat(new, name).status_code == 200


def test_a_write_with_an_idempotency_key_is_carried_out_once(stack):
    headers = {"Idempotency-Key": "make-it-once"}
    first = stack.call("/key/generate", {"models": ["gpt-4"]}, headers=headers)
    again = stack.call("/key/generate", {"models": ["gpt-4"]}, headers=headers)
    assert again.json() == first.json()
    assert again.headers["x-grantgate-replayed"] == "true"
    other = stack.call("/key/generate", {"models": ["gpt-4o"]}, headers=headers)
    assert other.status_code == 422


def test_a_teams_models_are_listed_for_its_members_its_keys_and_admins_alone(stack):
    for name in ("team-list-a", "team-list-b"):
        new_model(stack, name, access_groups=[name + "-group"])
    users = {"tl-member": "internal_user", "tl-admin": "proxy_admin", "tl-other": "internal_user"}
    keys = {
        user: stack.manage("/user/new", {"user_id": user, "user_role": role})["key"]
        for user, role in users.items()
    }
    body = {
        "models": ["team-list-a", "team-list-b-group"],
        "members_with_roles": [{"role": "user", "user_id": "tl-member"}],
    }
    team = stack.manage("/team/new", body)["team_id"]
    own = stack.manage("/key/generate", {"team_id": team, "models": ["team-list-a"]})["key"]
    for key in (MASTER_KEY, own, keys["tl-member"], keys["tl-admin"]):
        answer = stack.manage("/v1/models", key=key, team_id=team, include_model_access_groups=True)
        listed = [model["id"] for model in answer["data"]]
        assert listed == ["team-list-a", "team-list-b", "team-list-b-group"]
    refused = stack.call("/v1/models", key=keys["tl-other"], team_id=team)
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "team_id")
    assert team in refused.json()["error"]["message"]


def test_unified_groups_have_two_paths(stack):
    alias = "/v1/unified_access_group"
    made = request(stack, "POST", alias, {"access_group_name": "by-alias"})
    assert made.status_code == 201, made.text
    group = made.json()["access_group_id"]
    update = {"description": "changed"}
    assert request(stack, "PUT", f"{alias}/{group}", update).status_code == 200
    for path in (alias, "/v1/access_group"):
        assert request(stack, "GET", f"{path}/{group}").json()["description"] == "changed"
        assert group in {each["access_group_id"] for each in request(stack, "GET", path).json()}
    assert request(stack, "DELETE", f"{alias}/{group}").status_code == 204
    assert request(stack, "GET", f"/v1/access_group/{group}").status_code == 404
