"""A key's new state from its old one and what was sent: checks, meanings of null, warnings."""

import re

import msgspec
from msgspec import UNSET

from services.keys.errors import AlreadyTaken, InvalidRequest
from services.keys.giving import still_restricted
from services.keys.management import (
    Context,
    check_aliases,
    check_durations,
    check_groups,
    check_id,
    check_models,
    check_numbers,
    check_routes,
    check_temporary_budget,
    expiry,
    given,
    sent_fields,
    stored_changes,
    unknown_entries,
)
from services.keys.records import KeyDetails, KeyRecord, KeyType
from services.keys.requests import KeyFields
from services.keys.state import State
from shared.credentials import MIN_CUSTOM_KEY, Secret, is_wellformed, mint

_ALIAS = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-/.@]{0,253}[a-zA-Z0-9]")
_ROUTES_OF: dict[KeyType, tuple[str, ...]] = {
    "default": (),
    "llm_api": ("llm_api_routes",),
    "management": ("management_routes",),
    "read_only": ("info_routes",),
}
_DURATIONS = ("budget_duration", "rotation_interval")


def new_secret(
    state: State, chosen: str | msgspec.UnsetType | None, ctx: Context, field: str = "key"
) -> Secret:
    """Mint a secret, or check the one a caller chose. Raises InvalidRequest, AlreadyTaken."""
    if chosen is UNSET or chosen is None:
        return mint(ctx.choose)
    secret = Secret(chosen)
    if not chosen.startswith("sk-") or len(chosen) < MIN_CUSTOM_KEY:
        msg = f"{field} must start with 'sk-' and have at least {MIN_CUSTOM_KEY} characters"
        raise InvalidRequest(msg, field)
    if not is_wellformed(chosen):
        msg = (
            f"{field} must be at most 512 visible ASCII characters;"
            " one that starts with 'sk-gg-' must carry a valid checksum"
        )
        raise InvalidRequest(msg, field)
    digest = secret.digest()
    if digest in state.keys or digest in state.retired or digest in ctx.reserved:
        msg = f"{field} is already in use"
        raise AlreadyTaken(msg, field)
    return secret


def patched(
    state: State, old: KeyRecord, request: KeyFields, ctx: Context
) -> tuple[KeyRecord, list[str]]:
    """Apply what was sent to a record, and warn of what will not do what it seems to.

    Raises InvalidRequest, AlreadyTaken (the alias).
    """
    check_numbers(request)
    check_durations(request, _DURATIONS, ctx.now)
    check_temporary_budget(request.temp_budget_increase, request.temp_budget_expiry)
    grant: dict[str, object] = {}
    details = stored_changes(sent_fields(request), KeyDetails)
    details.update(updated_at=ctx.now, updated_by=ctx.actor)
    warnings: list[str] = []
    if request.models is not UNSET:
        grant["models"] = check_models(request.models or [])
    if request.team_id is not UNSET:
        grant["team_id"] = _check_team(state, request.team_id)
    if request.user_id is not UNSET:
        user_id = request.user_id
        grant["user_id"] = None if user_id is None else check_id(user_id, "user_id")
    if request.access_group_ids is not UNSET:
        grant["groups"] = groups = check_groups(request.access_group_ids or [])
        if request.models is UNSET:
            grant["models"] = still_restricted(old.grant.models, old.grant.groups, groups)
    if request.blocked is not UNSET:
        grant["blocked"] = bool(request.blocked)
        details["blocked_is_set"] = request.blocked is not None
    if request.duration is not UNSET:
        text = request.duration
        grant["expires_at"] = None if text is None else expiry(text, "duration", ctx.now)
    if request.aliases is not UNSET:
        grant["aliases"] = check_aliases(request.aliases or {}, "aliases")
    warnings += _patch_routes(old, request, grant, details)
    record = KeyRecord(
        grant=msgspec.structs.replace(old.grant, **grant),
        details=msgspec.structs.replace(old.details, **details),
    )
    warnings += unknown_entries(state, record.grant.models, record.grant.groups)
    if record.grant.team_id is None and "all-team-models" in record.grant.models:
        warnings.append("models: 'all-team-models' in a key without a team allows nothing")
    _check_alias(state, old, record)
    return record, warnings


def _patch_routes(
    old: KeyRecord, request: KeyFields, grant: dict[str, object], details: dict[str, object]
) -> list[str]:
    """Put the routes of `allowed_routes`, or of `key_type`, into the grant."""
    key_type: KeyType = given(request.key_type, "default")
    if request.allowed_routes is not UNSET and request.allowed_routes:
        routes, warnings = check_routes(request.allowed_routes)
        if key_type != "default" and routes != _ROUTES_OF[key_type]:
            msg = f"allowed_routes and key_type {key_type!r} contradict each other: send one"
            raise InvalidRequest(msg, "allowed_routes")
        grant["allowed_routes"], details["key_type"] = routes, key_type
        return warnings
    if key_type != "default":
        grant["allowed_routes"] = _ROUTES_OF[key_type]
    elif request.allowed_routes is not UNSET or (
        # A default that merely travels along must not lift routes that were set by hand.
        request.key_type is not UNSET and old.details.key_type != "default"
    ):
        grant["allowed_routes"], details["key_type"] = (), "default"
    return []


def _check_team(state: State, team_id: str | None) -> str | None:
    if team_id is not None and team_id not in state.teams:
        msg = f"Unable to find team object in database. Team ID: {team_id[:256]}"
        raise InvalidRequest(msg, "team_id")
    return team_id


def _check_alias(state: State, old: KeyRecord, record: KeyRecord) -> None:
    alias = record.details.key_alias
    if alias is None or alias == old.details.key_alias:
        # One that was taken over from elsewhere may be of another form.
        return
    if not _ALIAS.fullmatch(alias):
        msg = (
            "key_alias must be 2 to 255 characters: letters, digits, '_', '-', '/', '.', '@';"
            " the first and last a letter or digit"
        )
        raise InvalidRequest(msg, "key_alias")
    holder = state.key_by_alias(alias)
    if holder is not None and holder.grant.id != old.grant.id:
        msg = (
            f"Key with alias '{alias}' already exists."
            " Unique key aliases across all keys are required."
        )
        raise AlreadyTaken(msg, "key_alias")
