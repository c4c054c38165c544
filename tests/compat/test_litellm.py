"""LiteLLM's own management client and CLI, unchanged, drive a running Grantgate."""

import hashlib
import json

import pytest

from tests.compat.conftest import client_of

UPSTREAM = "os.environ/GRANTGATE_DEMO_UPSTREAM"
HELLO = [{"role": "user", "content": "Hello"}]


def test_a_key_of_a_team_from_the_first_call_to_the_last(stack, client):
    # The client has no call of its own for making a team; its generic one does it.
    team = client.do("http.request", method="POST", uri="/team/new", json={"models": ["gpt-4"]})
    made = client.do(
        "keys.generate",
        models=["gpt-4"],
        aliases={"cheap": "gpt-4"},
        spend=0.5,
        duration="1h",
        key_alias="compat-key",
        team_id=team["team_id"],
        config={},
    )
    secret, digest = made["key"], made["token"]
    assert digest == hashlib.sha256(secret.encode()).hexdigest()
    page = client.do("keys.list", team_id=team["team_id"], return_full_object=True, size=50)
    assert [key["token"] for key in page["keys"]] == [digest]
    assert page["keys"][0]["key_alias"] == "compat-key"
    assert (page["total_count"], page["current_page"], page["total_pages"]) == (1, 1, 1)
    for named in (secret, digest):
        assert client.do("keys.info", key=named)["info"]["models"] == ["gpt-4"]
    assert stack.chat(secret, "gpt-4").status_code == 200
    client.do("keys.update", key=secret, models=["gpt-3.5-turbo"], key_alias="compat-renamed")
    assert stack.chat(secret, "gpt-4").status_code == 403
    assert client.do("keys.list", key_alias="compat-renamed")["keys"] == [digest]
    assert client.do("keys.delete", keys=[secret])["deleted_keys"] == [secret]
    assert client.ask("keys.info", key=digest)["raised"] == "HTTPError"
    assert stack.chat(secret, "gpt-3.5-turbo").status_code == 401


def test_a_key_by_its_alias(client):
    client.do("keys.generate", key_alias="compat-by-alias")
    deleted = client.do("keys.delete", key_aliases=["compat-by-alias"])
    assert deleted["deleted_keys"] == ["compat-by-alias"]


def test_teams_listed_whole_and_by_page(client):
    for alias in ("compat-b", "compat-a"):
        body = {"team_alias": alias, "models": ["gpt-4"]}
        client.do("http.request", method="POST", uri="/team/new", json=body)
    aliases = {team["team_alias"] for team in client.do("teams.list")}
    assert {"compat-a", "compat-b"} <= aliases
    page = client.do("teams.list_v2", team_alias="compat-", sort_by="team_alias")
    assert [team["team_alias"] for team in page["teams"]] == ["compat-a", "compat-b"]
    # Without a column, the newest come first, whatever order the client sends along.
    page = client.do("teams.list_v2", team_alias="compat-", page_size=1)
    assert [team["team_alias"] for team in page["teams"]] == ["compat-a"]
    assert (page["total"], page["total_pages"]) == (2, 2)
    assert client.do("teams.get_available") == []


def test_a_team_from_the_first_call_to_the_last(stack, client):
    def call(path, method="POST", **body):
        sent = {"json": body} if body else {}
        return client.do("http.request", method=method, uri=path, **sent)

    team_id = call("/team/new", team_alias="compat-team", models=["gpt-4"])["team_id"]
    key = client.do("keys.generate", team_id=team_id)["key"]
    assert stack.chat(key, "gpt-4").status_code == 200
    call("/team/update", team_id=team_id, models=["gpt-3.5-turbo"])
    assert stack.chat(key, "gpt-4").status_code == 403
    call("/team/member_add", team_id=team_id, member={"role": "user", "user_id": "compat-member"})
    shown = call(f"/team/info?team_id={team_id}", method="GET")
    assert shown["team_info"]["models"] == ["gpt-3.5-turbo"]
    assert [member["user_id"] for member in shown["team_memberships"]] == ["compat-member"]
    assert client.do("teams.list_v2", user_id="compat-member")["teams"][0]["team_id"] == team_id
    assert call("/team/delete", team_ids=[team_id])["deleted_teams"] == [team_id]
    assert stack.chat(key, "gpt-3.5-turbo").status_code == 401


def test_a_model_from_the_first_call_to_the_last(client):
    params = {"model": "openai/first", "api_base": UPSTREAM, "api_key": "sk-compat-upstream"}
    made = client.do("models.new", model_name="compat-model", model_params=params)
    model_id = made["model_id"]
    assert "compat-model" in {model["id"] for model in client.do("models.list")}
    assert client.do("models.get", model_name="compat-model")["model_info"]["id"] == model_id
    shown = client.do("models.info")
    assert "sk-compat-upstream" not in json.dumps(shown)
    said = client.do("chat.completions", model="compat-model", messages=HELLO)
    assert said["grantgate_demo"]["model"] == "first"
    client.do("models.update", model_id=model_id, model_params={"model": "openai/second"})
    chunks = client.do("chat.completions_stream", model="compat-model", messages=HELLO)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    said = client.do("chat.completions", model="compat-model", messages=HELLO)
    assert said["grantgate_demo"]["model"] == "second"
    assert "compat-model" in {g["model_group"] for g in client.do("model_groups.info")}
    client.do("models.delete", model_id=model_id)
    assert client.ask("models.get", model_id=model_id)["raised"] == "NotFoundError"
    assert client.ask("models.delete", model_id=model_id)["raised"] == "NotFoundError"


def test_users(client):
    team = client.do("http.request", method="POST", uri="/team/new", json={})["team_id"]
    data = {"user_email": "compat@example.org", "user_role": "internal_user", "teams": [team]}
    user_id = client.do("users.create_user", user_data=data)["user_id"]
    listed = {user["user_id"]: user for user in client.do("users.list_users")}
    assert listed[user_id]["teams"] == [team]
    assert client.do("users.get_user", user_id=user_id)["user_info"]["user_role"] == "internal_user"
    assert client.do("users.get_user_v2", user_id=user_id)["user_email"] == "compat@example.org"
    client.do("users.delete_user", user_ids=[user_id])
    assert client.ask("users.get_user", user_id=user_id)["raised"] == "NotFoundError"


def test_refusals_are_its_own_exceptions(stack, client, tmp_path):
    key = client.do("keys.generate", models=["gpt-4"])["key"]
    with client_of(stack, tmp_path, key) as theirs:
        assert [m["id"] for m in theirs.do("models.list")] == ["gpt-4"]
        refused = theirs.ask("chat.completions", model="gpt-4o", messages=HELLO)
        assert (refused["raised"], "403" in refused["says"]) == ("HTTPError", True)
        made = theirs.ask("keys.delete", key_aliases=["any"])
        assert made["raised"] == "UnauthorizedError"
    with client_of(stack, tmp_path, "sk-gg-nobody") as nobody:
        assert nobody.ask("models.list")["raised"] == "UnauthorizedError"
        assert nobody.ask("teams.list")["raised"] == "UnauthorizedError"


@pytest.mark.timeout(300)
def test_the_cli(cli):
    team = json.loads(cli("http", "request", "POST", "/team/new", "-j", '{"team_alias": "of-cli"}'))
    team_id = team["team_id"]
    params = ("-p", "model=openai/by-cli", "-p", f"api_base={UPSTREAM}", "-p", "api_key=sk-of-cli")
    model_id = json.loads(cli("models", "add", "cli-model", *params))["model_id"]
    assert "cli-model" in cli("models", "list")
    assert "openai/by-cli" in cli("models", "info")
    assert json.loads(cli("models", "get", "--id", model_id))["model_name"] == "cli-model"
    cli("models", "update", model_id, "-p", "model=openai/by-cli-2")
    options = ("--models", "cli-model", "--key-alias", "of-cli", "--team-id", team_id)
    made = json.loads(cli("keys", "generate", *options, "--duration", "1h"))
    assert made["token"] in cli("keys", "list", "--size", "100")
    listed = json.loads(cli("keys", "list", "--key-alias", "of-cli", "--format", "json"))
    assert [key["token"] for key in listed["keys"]] == [made["token"]]
    assert "of-cli" in cli("teams", "list")
    assert "No available teams" in cli("teams", "available")
    assert "by-cli-2" in cli("chat", "cli-model", key=made["key"], fed="Hello\n/quit\n")
    assert "cli-model" in cli("model-groups", "list", key=made["key"])
    deleted = json.loads(cli("keys", "delete", "--keys", made["key"]))
    assert deleted["deleted_keys"] == [made["key"]]
    assert "deleted" in cli("models", "delete", model_id)
    made = json.loads(cli("users", "create", "--email", "cli@example.org", "--team", team_id))
    assert team_id in cli("users", "list")
    assert json.loads(cli("users", "get", "--id", made["user_id"]))["user_id"] == made["user_id"]
    assert made["user_id"] in cli("users", "delete", made["user_id"])
    assert "Server URL" in cli("version")
