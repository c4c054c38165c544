"""LiteLLM's rows become records: what is taken over, and what is refused by its name."""

import base64
import hashlib
import json
import secrets

import nacl.secret
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.keys.litellm_rows import BadRow, read_row
from services.keys.litellm_secrets import Unopened, open_params
from services.keys.records import GroupRecord, KeyRecord, TeamRecord, UserRecord
from shared.credentials import Secret

SECRET = "sk-a-key-of-litellm"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()
KEY = {"token": DIGEST, "models": ["gpt-4"], "team_id": None, "blocked": None, "expires": None}
TEAM = {
    "team_id": "t",
    "models": [],
    "blocked": False,
    "members_with_roles": [],
    "team_memberships": None,
}
USER = {"user_id": "u", "user_role": None, "models": ["gpt-4"]}
GROUP = {"access_group_id": "g", "access_group_name": "G", "access_model_names": ["gpt-4"]}
MODEL = {"model_id": "m", "model_name": "gpt-4", "litellm_params": {"model": "openai/gpt-4"}}


def read(row, **fields):
    return read_row(json.dumps({**row, **fields}).encode())


def test_a_key_keeps_its_secret_and_all_that_is_decided_by():
    record = read(
        KEY,
        team_id="t",
        user_id="u",
        blocked=True,
        expires="2026-01-01T00:00:00",
        aliases={"cheap": "gpt-4"},
        allowed_routes=["llm_api_routes"],
        access_group_ids=["g"],
    )
    assert isinstance(record, KeyRecord)
    grant = record.grant
    assert grant.id == Secret(SECRET).digest()
    assert (grant.models, grant.team_id, grant.user_id) == (("gpt-4",), "t", "u")
    assert (grant.blocked, grant.expires_at) == (True, 1_767_225_600.0)
    assert (grant.aliases, grant.allowed_routes) == ({"cheap": "gpt-4"}, ("llm_api_routes",))
    assert grant.groups == ("g",)


@pytest.mark.parametrize(
    ("expires", "at"),
    [
        (None, None),
        ("2026-01-01T00:00:00", 1_767_225_600.0),
        ("2026-01-01T00:00:00Z", 1_767_225_600.0),
        ("2026-01-01T01:00:00+01:00", 1_767_225_600.0),
        ("2026-01-01 00:00:00.5", 1_767_225_600.5),
    ],
)
def test_a_time_without_a_zone_is_utc(expires, at):
    assert read(KEY, expires=expires).grant.expires_at == at


def test_what_is_only_stored_is_stored_and_null_is_the_default():
    stored = {
        "key_alias": "an old alias!",
        "key_name": "sk-...mlit",
        "key_type": None,
        "metadata": '{"owner": "me"}',
        "spend": 3,
        "max_budget": 10,
        "tpm_limit": "1000",
        "permissions": {},
        "created_at": "2026-01-01T00:00:00",
        "created_by": "ann",
    }
    details = read(KEY, **stored).details
    assert (details.key_alias, details.key_name) == ("an old alias!", "sk-...mlit")
    assert (details.metadata, details.key_type) == ({"owner": "me"}, "default")
    assert (details.spend, details.max_budget, details.tpm_limit) == (3.0, 10.0, 1000)
    assert (details.created_at, details.updated_at) == (1_767_225_600.0, 0.0)
    assert (details.created_by, details.updated_by) == ("ann", "import")
    assert not details.blocked_is_set


@pytest.mark.parametrize(
    ("row", "acts"),
    [
        ({"team_id": None, "created_by": "boss"}, True),
        ({"team_id": "t", "created_by": "u"}, True),
        ({"team_id": "t", "created_by": "default_user_id", "updated_by": "u"}, True),
        ({"team_id": "t", "created_by": "lead"}, False),
        ({"team_id": "t", "created_by": "u", "updated_by": "lead"}, False),
        ({"team_id": "t"}, False),
        ({"team_id": "t", "created_by": "lead", "acts_for_user": True}, False),
    ],
)
def test_a_teams_key_that_somebody_else_made_does_not_manage_for_its_user(row, acts):
    assert read(KEY, user_id="u", **row).details.acts_for_user == acts


def test_a_key_that_was_stored_in_the_clear_is_hashed():
    assert read(KEY, token=SECRET).grant.id == Secret(SECRET).digest()


def test_a_login_of_the_dashboard_stands_for_nothing():
    assert read(KEY, team_id="litellm-dashboard") is None


def test_a_team_with_its_members_lists_and_aliases():
    record = read(
        TEAM,
        team_alias="T",
        models=["gpt-4"],
        members_with_roles=[{"role": "admin", "user_id": "u", "more": 1}],
        team_memberships=[
            {
                "user_id": "u",
                "litellm_budget_table": {"allowed_models": ["gpt-4"], "max_budget": 2},
            },
            {"user_id": "v", "litellm_budget_table": None},
        ],
        litellm_model_table={"model_aliases": '{"cheap": "gpt-4"}'},
        team_member_permissions=[],
    )
    assert isinstance(record, TeamRecord)
    assert (record.grant.alias, record.grant.models) == ("T", ("gpt-4",))
    assert record.grant.member_models == {"u": ("gpt-4",)}
    assert record.grant.model_aliases == {"cheap": "gpt-4"}
    member = {"role": "admin", "user_id": "u", "user_email": None}
    assert record.details.members_with_roles == [member]
    assert record.details.memberships["u"].max_budget_in_team == 2.0
    assert record.details.team_member_permissions is None
    assert read(TEAM, members_with_roles="{}").details.members_with_roles == []


def test_users_models_and_unified_groups():
    user = read(USER, user_role="proxy_admin", user_email="u@example.org")
    assert isinstance(user, UserRecord)
    assert (user.grant.models, user.details.user_role) == (("gpt-4",), "proxy_admin")
    assert read(USER).details.user_role == "internal_user"
    group = read(GROUP)
    assert isinstance(group, GroupRecord)
    assert (group.grant.models, group.details.name) == (("gpt-4",), "G")
    model = read(MODEL, model_info='{"access_groups": ["beta"]}', blocked=True)
    assert (model.id, model.name, model.blocked) == ("m", "gpt-4", True)
    assert model.info == {"access_groups": ["beta"], "id": "m"}
    of_the_api = {**MODEL, "model_id": None, "model_info": {"id": "m"}}
    assert read(of_the_api).id == "m"


WITHOUT = object()


@pytest.mark.parametrize(
    ("row", "fields", "told"),
    [
        (KEY, {"token": "abc"}, "token: is no SHA-256"),
        (KEY, {"models": ["ok", " "]}, r"models\[1\]"),
        (KEY, {"models": "gpt-4"}, "models: expected `array"),
        (KEY, {"models": WITHOUT}, "row: object missing required field `models`"),
        (KEY, {"team_id": WITHOUT}, "missing required field `team_id`"),
        (KEY, {"blocked": WITHOUT}, "missing required field `blocked`"),
        (KEY, {"expires": WITHOUT}, "missing required field `expires`"),
        (KEY, {"expires": "soon"}, "expires: is no ISO 8601 time"),
        (KEY, {"aliases": {"a*": "b"}}, r"aliases.a\*"),
        (KEY, {"metadata": "{"}, "metadata: is no JSON"),
        (KEY, {"max_budget": "much"}, "max_budget: expected"),
        (KEY, {"key_type": "other"}, "key_type: invalid enum value"),
        (KEY, {"tpm_limit": 2**70}, "tpm_limit is an integer beyond 64 bits"),
        (TEAM, {"models": ["all-team-models"]}, r"models\[0\] is not allowed here"),
        (TEAM, {"team_memberships": WITHOUT}, "missing required field `team_memberships`"),
        (TEAM, {"members_with_roles": [{"role": "chief"}]}, r"members_with_roles\[0\].role"),
        (USER, {"user_role": "customer"}, "user_role: invalid enum value"),
        (GROUP, {"access_model_names": ["no-default-models"]}, r"models\[0\]"),
        (MODEL, {"model_id": None}, "model_id: is missing"),
        ({"user_id": "u", "team_id": "t"}, {}, "row: is no key, model, team, user"),
    ],
)
def test_a_row_at_fault_is_refused_by_the_name_of_the_field(row, fields, told):
    with pytest.raises(BadRow, match=told):
        read({k: v for k, v in {**row, **fields}.items() if v is not WITHOUT})


def test_no_json_is_told_with_its_place():
    with pytest.raises(BadRow, match="at line 1, column 2"):
        read_row(b"{nonsense")


SALT = Secret("sk-salt-of-litellm")
SALT_DIGEST = hashlib.sha256(SALT.reveal().encode()).digest()


def boxed(text):
    return base64.urlsafe_b64encode(nacl.secret.SecretBox(SALT_DIGEST).encrypt(text.encode()))


def gcm(text):
    nonce = secrets.token_bytes(12)
    sealed = nonce + AESGCM(SALT_DIGEST).encrypt(nonce, text.encode(), None)
    return b"v2:gcm:" + base64.urlsafe_b64encode(sealed)


@pytest.mark.parametrize("encrypt", [boxed, gcm])
def test_encrypted_parameters_are_opened_with_litellms_salt_key(encrypt):
    params = {"model": "openai/gpt-4", "api_key": "sk-upstream", "timeout": 5}
    stored = {k: encrypt(v).decode() if isinstance(v, str) else v for k, v in params.items()}
    assert open_params(stored, SALT) == params
    for wrong in (None, Secret("sk-another")):
        with pytest.raises(Unopened, match="LITELLM_SALT_KEY"):
            open_params(stored, wrong)


@pytest.mark.parametrize("model", ["openai/gpt-4", "gpt-4", "azure/" + "a" * 80])
def test_parameters_in_the_clear_stay_as_they_are(model):
    params = {"model": model, "api_key": "x" * 60}
    assert open_params(params, None) is params
