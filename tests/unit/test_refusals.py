"""Every refusal says what was asked and what would work, in the shape its SDK reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.refusals import SHAPES, error_body, message_for, shown
from shared.decisions import Deny, DenyReason


def message(deny, asked, *, list_entries=True):
    return message_for(deny, asked=asked, route="/v1/embeddings", list_entries=list_entries)


def key_denial(entries=("gpt-3.5-turbo", "gpt-4"), model="gpt-4o", total=None):
    total = len(entries) if total is None else total
    return Deny(7, DenyReason.KEY_MODEL_NOT_ALLOWED, model, tuple(entries), total)


TEAM_DENIAL = Deny(
    7,
    DenyReason.TEAM_MODEL_NOT_ALLOWED,
    "BEDROCK_GROUP",
    ("azure-gpt-3.5",),
    1,
    "t-1",
    "litellm-dev",
)


def test_every_deny_reason_has_a_shape_and_a_message():
    assert set(SHAPES) == set(DenyReason)
    for reason in DenyReason:
        assert message(Deny(1, reason), "m")


@pytest.mark.parametrize(
    ("reason", "status", "kind", "param"),
    [
        ("key_model_not_allowed", 403, "key_model_access_denied", "model"),
        ("team_model_not_allowed", 403, "team_model_access_denied", "model"),
        ("model_unknown", 400, "invalid_request_error", "model"),
        ("bad_model_name", 400, "invalid_request_error", "model"),
        ("key_unknown", 401, "token_not_found_in_db", "key"),
        ("key_blocked", 401, "auth_error", None),
        ("team_blocked", 401, "auth_error", None),
        ("team_unknown", 401, "auth_error", None),
        ("key_expired", 401, "expired_key", None),
        ("route_not_allowed", 403, "route_not_allowed", None),
        ("team_not_visible", 403, "team_access_denied", "team_id"),
    ],
)
def test_each_reason_has_the_documented_status_and_type(reason, status, kind, param):
    shape = SHAPES[DenyReason(reason)]
    assert (shape.status, shape.kind, shape.param) == (status, kind, param)


def test_the_teams_words():
    assert message(TEAM_DENIAL, "BEDROCK_GROUP") == (
        "Invalid model for team litellm-dev: BEDROCK_GROUP. "
        "Valid models for team are: ['azure-gpt-3.5']"
    )


def test_the_keys_words():
    assert message(key_denial(), "gpt-4o") == (
        "key not allowed to access model. This key can only access "
        "models=['gpt-3.5-turbo', 'gpt-4']. Tried to access gpt-4o"
    )


def test_a_long_list_is_cut_and_counted():
    text = message(key_denial([f"m{i}" for i in range(20)], total=32), "gpt-4o")
    assert "'m19', ... and 12 more]" in text


def test_lists_can_be_left_out():
    assert message(TEAM_DENIAL, "BEDROCK_GROUP", list_entries=False) == (
        "Invalid model for team litellm-dev: BEDROCK_GROUP."
    )
    assert message(key_denial(), "gpt-4o", list_entries=False) == (
        "key not allowed to access model. Tried to access gpt-4o"
    )


def test_an_alias_is_named_with_its_target():
    assert message(key_denial(model="gpt-4o"), " fast ").endswith("access fast (alias of gpt-4o)")


@given(st.text(max_size=2000))
def test_a_clients_name_stays_one_short_printable_line(name):
    text = shown(name)
    assert text.isprintable()
    assert len(text) <= 2100
    assert json.loads(
        error_body("openai", 403, message(key_denial(), name), kind="k", param=None, request_id="r")
    )


def test_the_openai_envelope():
    body = error_body(
        "openai", 403, "no", kind="key_model_access_denied", param="model", request_id="r"
    )
    assert json.loads(body) == {
        "error": {
            "message": "no",
            "type": "key_model_access_denied",
            "param": "model",
            "code": "403",
        }
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (502, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
    ],
)
def test_the_anthropic_envelope(status, kind):
    body = error_body("anthropic", status, "no", kind="x", param="model", request_id="r")
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": "r",
    }
