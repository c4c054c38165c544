"""LiteLLM's rows as our records: one key, team, user, model or unified group from one JSON object.

Rows of its database and objects of its API are read alike. A key's `token` is the same SHA-256
here, so its secret stays good and nobody needs to know it. Times without a zone are UTC, as there;
0 stands for one LiteLLM does not know.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from services.keys.errors import InvalidRequest
from services.keys.json_body import read_object
from services.keys.litellm_shapes import GroupRow, KeyRow, ModelRow, TeamRow, UserRow
from services.keys.management import check_aliases, check_id, check_models, check_routes
from services.keys.records import (
    GroupDetails,
    GroupRecord,
    KeyDetails,
    KeyRecord,
    Membership,
    TeamDetails,
    TeamRecord,
    UserDetails,
    UserRecord,
)
from shared.catalogue import SENTINELS
from shared.changes import GroupGrant, KeyGrant, TeamGrant, UserGrant
from shared.credentials import Secret, is_digest

Fields = dict[str, object]
S = TypeVar("S", bound=msgspec.Struct)

_JSON = (
    "aliases",
    "budget_fallbacks",
    "budget_limits",
    "config",
    "litellm_params",
    "members_with_roles",
    "metadata",
    "model_info",
    "model_max_budget",
    "permissions",
    "router_settings",
)
"""Columns of JSON, which some exports write as text."""

_DASHBOARD = "litellm-dashboard"
"""The team of the keys by which LiteLLM's dashboard is logged in."""
_MASTER = "default_user_id"
"""What LiteLLM calls the holder of the master key."""
_UNKNOWN = "import"
_AT = re.compile(r"(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?", re.DOTALL)


class BadRow(Exception):
    """A row that cannot be taken over, for what is in `field`. Its text holds no secret."""

    def __init__(self, field: str, problem: str) -> None:
        """Name the field and say what is wrong with it."""
        super().__init__(f"{field}: {problem}")


class LiteLLMModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as LiteLLM stores it; `litellm_params` may be encrypted."""

    id: str
    name: str
    params: Fields
    info: Fields
    blocked: bool
    created_at: float
    updated_at: float
    created_by: str
    updated_by: str

    def __repr__(self) -> str:
        """Show which model it is, and no parameter."""
        return f"LiteLLMModel(id={self.id!r}, name={self.name!r})"


Row = KeyRecord | TeamRecord | UserRecord | GroupRecord | LiteLLMModel


def read_row(line: bytes) -> Row | None:
    """Read one line; None for what stands for nothing here. Raises BadRow."""
    try:
        row = read_object(line)
    except InvalidRequest as error:
        raise BadRow(field=error.param or "row", problem=error.message) from None
    for name in _JSON:
        text = row.get(name)
        if isinstance(text, str):
            row[name] = _decoded(text, name)
    for sign, read in _KINDS.items():
        if sign in row:
            try:
                return read(row)
            except InvalidRequest as error:
                raise BadRow(field=error.param or "row", problem=error.message) from None
    signs = ", ".join(_KINDS)
    problem = f"is no key, model, team, user or unified group: it has none of {signs}"
    raise BadRow(field="row", problem=problem)


def _decoded(text: str, name: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise BadRow(field=name, problem="is no JSON") from None


def _key(row: Fields) -> KeyRecord | None:
    read = _read(row, KeyRow)
    if read.team_id == _DASHBOARD:
        return None
    token = read.token
    if token.startswith("sk-"):  # LiteLLM's oldest keys were stored as they are
        digest = Secret(token).digest()
    elif is_digest(token):
        digest = bytes.fromhex(token)
    else:
        raise BadRow(field="token", problem="is no SHA-256 in 64 lower-case hex digits")
    grant = KeyGrant(
        id=digest,
        models=check_models(read.models or []),
        team_id=read.team_id,
        user_id=read.user_id,
        blocked=bool(read.blocked),
        expires_at=None if read.expires is None else _time(read.expires, "expires"),
        aliases=check_aliases(read.aliases or {}, "aliases"),
        allowed_routes=check_routes(read.allowed_routes or [])[0],
        groups=tuple(dict.fromkeys(read.access_group_ids or [])),
    )
    given: Fields = {
        "key_name": row.get("key_name") or "sk-...",
        "blocked_is_set": read.blocked is not None,
        "acts_for_user": _acts(row, read),
    }
    return KeyRecord(grant=grant, details=_details(row, KeyDetails, given))


def _acts(row: Fields, key: KeyRow) -> bool:
    """Whether a key may manage for its user here.

    In LiteLLM a team's admin could make one in the name of anybody in the team: of a team's key,
    only what its user or the master key made and changed is known not to be such a one.
    """
    by = {row.get("created_by"), row.get("updated_by") or row.get("created_by")}
    return key.team_id is None or by <= {key.user_id, _MASTER}


def _team(row: Fields) -> TeamRecord:
    # An empty list means the same as none there, and nothing or nobody here.
    for name in ("team_member_permissions", "default_team_member_models", "members_with_roles"):
        if not row.get(name):
            row = {**row, name: None}
    table = row.get("litellm_model_table")
    if isinstance(table, dict) and isinstance(table.get("model_aliases"), str):
        text = table["model_aliases"]
        row["litellm_model_table"] = {"model_aliases": _decoded(text, "litellm_model_table")}
    read = _read(row, TeamRow)
    inner = read.litellm_model_table and read.litellm_model_table.model_aliases
    aliases = read.model_aliases or inner or {}
    memberships, lists = {}, {}
    for member in read.team_memberships or []:
        limits = member.litellm_budget_table
        if limits is None:
            continue
        memberships[member.user_id] = Membership(
            max_budget_in_team=limits.max_budget,
            budget_duration=limits.budget_duration,
            tpm_limit=limits.tpm_limit,
            rpm_limit=limits.rpm_limit,
        )
        if limits.allowed_models:
            lists[member.user_id] = check_models(limits.allowed_models)
    grant = TeamGrant(
        id=check_id(read.team_id, "team_id"),
        alias=read.team_alias,
        models=check_models(read.models or [], refused={"all-team-models"}),
        blocked=bool(read.blocked),
        model_aliases=check_aliases(aliases, "model_aliases"),
        groups=tuple(dict.fromkeys(read.access_group_ids or [])),
        member_models=lists,
    )
    given: Fields = {
        "memberships": memberships,
        "members_with_roles": [msgspec.structs.asdict(m) for m in read.members_with_roles or []],
    }
    return TeamRecord(grant=grant, details=_details(row, TeamDetails, given))


def _user(row: Fields) -> UserRecord:
    read = _read(row, UserRow)
    grant = UserGrant(
        id=check_id(read.user_id, "user_id"),
        models=check_models(read.models or [], refused={"all-team-models"}),
    )
    return UserRecord(grant=grant, details=_details(row, UserDetails, {}))


def _group(row: Fields) -> GroupRecord:
    read = _read(row, GroupRow)
    refused = SENTINELS - {"all-proxy-models"}
    grant = GroupGrant(
        id=check_id(read.access_group_id, "access_group_id"),
        models=check_models(read.access_model_names or [], refused=refused),
    )
    given: Fields = {
        "name": read.access_group_name,
        "mcp_server_ids": row.get("access_mcp_server_ids") or [],
        "agent_ids": row.get("access_agent_ids") or [],
    }
    return GroupRecord(grant=grant, details=_details(row, GroupDetails, given))


def _model(row: Fields) -> LiteLLMModel:
    read = _read(row, ModelRow)
    info = read.model_info or {}
    model_id = read.model_id or info.get("id")
    if not isinstance(model_id, str):
        raise BadRow(field="model_id", problem="is missing")
    return LiteLLMModel(
        id=model_id,
        name=read.model_name,
        params=read.litellm_params,
        info={**info, "id": model_id},
        blocked=bool(read.blocked),
        created_at=_row_time(row, "created_at"),
        updated_at=_row_time(row, "updated_at"),
        created_by=str(row.get("created_by") or _UNKNOWN),
        updated_by=str(row.get("updated_by") or _UNKNOWN),
    )


_KINDS: Mapping[str, Callable[[Fields], Row | None]] = {
    "token": _key,
    "litellm_params": _model,
    "user_role": _user,
    "members_with_roles": _team,
    "access_group_name": _group,
}
"""What a row is, by a field that only such a row has, and what reads it."""


def _read(row: Fields, shape: type[S]) -> S:
    try:
        return msgspec.convert(row, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _bad(error) from None


def _details(row: Fields, shape: type[S], given: Fields) -> S:
    """Take over every field that is only stored, but for those given; null is the default."""
    names = shape.__struct_fields__
    fields = {name: row[name] for name in names if row.get(name) is not None}
    fields.update(
        given,
        created_at=_row_time(row, "created_at"),
        updated_at=_row_time(row, "updated_at"),
        created_by=row.get("created_by") or _UNKNOWN,
        updated_by=row.get("updated_by") or _UNKNOWN,
    )
    return _read(fields, shape)


def _row_time(row: Fields, name: str) -> float:
    text = row.get(name)
    return 0.0 if text is None else _time(text, name)


def _time(text: object, name: str) -> float:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        at = None
    if at is None:
        raise BadRow(field=name, problem="is no ISO 8601 time")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _bad(error: msgspec.ValidationError) -> BadRow:
    found = _AT.fullmatch(str(error))
    what, path = found.groups() if found else (str(error), None)
    return BadRow(path or "row", what[:1].lower() + what[1:])
