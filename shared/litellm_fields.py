"""The fields LiteLLM documents, and what becomes of those Grantgate does not use.

A field is used, kept (prices, descriptions), refused (it narrows access in a way that would
silently widen here), or ignored with a warning. Sections are named as in the file.
"""

import re
from collections.abc import Iterable

from shared.reading import Notes, Place, suggestion


def _words(names: str) -> list[str]:
    return names.split()


def _each(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(_words(names), reason)


USED = {
    "": (
        "model_list",
        "general_settings",
        "litellm_settings",
        "router_settings",
        "environment_variables",
        "grantgate",
    ),
    "model_list": ("model_name", "litellm_params", "model_info"),
    "litellm_params": (
        "model",
        "api_base",
        "base_url",
        "api_key",
        "api_version",
        "custom_llm_provider",
        "organization",
        "extra_headers",
        "timeout",
    ),
    "model_info": ("id", "access_groups"),
    "general_settings": ("master_key",),
}
"""The fields that do something, by section."""

_KEPT_INFO = frozenset(
    _words(
        "base_model mode tier description metadata max_tokens max_input_tokens max_output_tokens"
        " output_vector_size litellm_provider deprecation_date source db_model key created_at"
        " created_by updated_at updated_by ptu_count ptu_effective_from ptu_effective_to"
    )
)
_PRICE = re.compile(r"[a-z0-9_]*cost[a-z0-9_]*|tiered_pricing")
_ABILITY = re.compile(r"supports_[a-z0-9_]+|supported_[a-z0-9_]+")

_NARROWING = ("team_id", "access_windows", "blocked")
"""Fields of model_info by which LiteLLM limits who may call a deployment, or when."""

_RATE = "limits nothing here: Grantgate sets no rates or budgets for a deployment"
_RETRY = "has no effect: Grantgate retries only a connection that failed, on another deployment"
_FALLBACK = "has no effect: Grantgate never answers with a model that was not asked for"
_SPREAD = "has no effect: Grantgate spreads requests evenly over the allowed deployments"
_DEFAULTS = "has no effect: keys and teams get what their own request says"
_ROUTING = "has no effect: Grantgate does not route by it"
_CREDENTIAL = "is not used: Grantgate signs upstream requests with api_key and extra_headers only"
_ALIAS = "has no effect: set aliases on a key (aliases) or a team (model_aliases)"
_DATABASE = "is not used: Grantgate keeps its records in MongoDB (grantgate.mongo_url)"
_AUTH = "has no effect: Grantgate checks virtual keys and the master key, and nothing else"
_FAIL_CLOSED = "has no effect: without a decision Grantgate refuses every request"
_TIMEOUT = "has no effect: set litellm_params.timeout of a model"
_PARAMETER = "is not put into requests: Grantgate changes nothing in a body but the model"

_FALLBACKS = _each(
    _FALLBACK,
    "fallbacks context_window_fallbacks content_policy_fallbacks default_fallbacks",
)

IGNORED = {
    "litellm_params": _FALLBACKS
    | _each(
        _RATE,
        "rpm tpm itpm otpm max_parallel_requests max_budget budget_duration"
        " default_api_key_rpm_limit default_api_key_tpm_limit",
    )
    | _each(_RETRY, "max_retries num_retries cooldown_time stream_timeout")
    | _each(_SPREAD, "weight order")
    | _each(_ROUTING, "tags tag_regex")
    | _each(
        _CREDENTIAL,
        "litellm_credential_name azure_ad_token tenant_id client_id client_secret"
        " aws_access_key_id aws_secret_access_key aws_session_token aws_region_name"
        " aws_profile_name aws_role_name vertex_project vertex_location"
        " vertex_credentials region_name watsonx_region_name",
    )
    | _each(
        _PARAMETER,
        "temperature top_p max_tokens max_completion_tokens stop seed n extra_body drop_params"
        " additional_drop_params reasoning_effort mock_response dimensions",
    ),
    "model_info": {
        "discoverable": "has no effect: /v1/models lists what a key may call",
        "team_public_model_name": "has no effect: clients ask for model_name",
    },
    "general_settings": _each(
        _DATABASE,
        "database_url database_connection_pool_limit store_model_in_db proxy_batch_write_at",
    )
    | _each(
        _AUTH,
        "custom_auth custom_auth_run_common_checks litellm_key_header_name enable_jwt_auth"
        " enable_oauth2_auth allowed_routes admin_only_routes public_routes"
        " allowed_ips disable_custom_api_keys enforce_user_param",
    )
    | _each(
        "limits nothing here: Grantgate does not limit parallel requests",
        "max_parallel_requests global_max_parallel_requests",
    )
    | {
        "allow_requests_on_db_unavailable": _FAIL_CLOSED,
        "enforce_fallback_model_access": _FALLBACK,
        "user_api_key_cache_ttl": "has no effect: a change is enforced when its request returns",
        "pass_through_endpoints": "has no effect: Grantgate forwards its own routes only",
    },
    "litellm_settings": _FALLBACKS
    | _each(
        _DEFAULTS,
        "default_key_generate_params upperbound_key_generate_params key_generation_settings"
        " default_team_params default_team_settings default_internal_user_params",
    )
    | _each(_RETRY, "num_retries allowed_fails cooldown_time")
    | {
        "model_alias_map": _ALIAS,
        "max_budget": "limits nothing here: Grantgate enforces no budgets",
        "drop_params": _PARAMETER,
        "request_timeout": _TIMEOUT,
    },
    "router_settings": _FALLBACKS
    | _each(
        _RETRY,
        "num_retries retry_policy model_group_retry_policy allowed_fails cooldown_time",
    )
    | _each(_SPREAD, "routing_strategy routing_strategy_args")
    | _each(_ROUTING, "enable_tag_filtering enable_pre_call_checks")
    | {"model_group_alias": _ALIAS, "timeout": _TIMEOUT},
}
"""Fields that do nothing here, with what their warning says, by section."""


def is_price(name: str) -> bool:
    """Whether a field of litellm_params is a price, which LiteLLM shows in model_info."""
    return bool(_PRICE.fullmatch(name))


def note_unused(section: str, fields: dict[str, object], place: Place, notes: Notes) -> None:
    """Warn of every field of a section that has no effect. Raises ConfigError for one that must.

    Empty values are passed over: they ask for nothing.
    """
    for name, value in fields.items():
        if name in USED.get(section, ()) or value in (None, "", [], {}):
            continue
        if section == "model_info" and name in _NARROWING:
            if value is False:
                continue
            what = "limits who may call the model in LiteLLM, which Grantgate does not enforce"
            raise place.field(name).error(what, "remove it, or remove the model from this file")
        if not _is_kept(section, name):
            notes.add(place.field(name), _reason(section, name))


def _is_kept(section: str, name: str) -> bool:
    if section == "litellm_params":
        return is_price(name)
    if section == "model_info":
        return name in _KEPT_INFO or is_price(name) or bool(_ABILITY.fullmatch(name))
    return False


def _reason(section: str, name: str) -> str:
    known = IGNORED.get(section, {})
    if name in known:
        return known[name]
    near = suggestion(name, _names(USED.get(section, ()), known))
    hint = f"; did you mean {near}?" if near else ""
    end = "kept" if section == "model_info" else "ignored"
    return f"is not a field Grantgate knows and is {end}{hint}"


def _names(*tables: Iterable[str]) -> list[str]:
    return [name for table in tables for name in table]
