"""Which keys a list is about: the filters of `/key/list`, and what a caller may see of them."""

import re
from bisect import bisect_left
from functools import reduce
from itertools import islice

from msgspec import UNSET

from services.keys.callers import leads, role_in
from services.keys.errors import Forbidden
from services.keys.key_index import Digests
from services.keys.management import Context, find_key, unknown_entries
from services.keys.records import KeyRecord
from services.keys.requests import KeyListQuery
from services.keys.roles import Scope
from services.keys.state import State

_HEX = re.compile(r"[0-9a-f]{1,64}")


def chosen_keys(state: State, query: KeyListQuery, ctx: Context) -> Digests | None:
    """The keys that pass every filter but the status; None: all of them do."""
    index = state.index
    sets: list[Digests] = []
    visible = visible_keys(state, ctx)
    if visible is not None:
        _check_asked_user(state, query, ctx)
        sets.append(visible)
    by_value = ("organization_id", "project_id", "agent_id", "access_group_id", "team_id")
    asked = {field: getattr(query, field) for field in by_value}
    sets += [index.with_value(name, value) for name, value in asked.items() if value is not UNSET]
    if query.user_id is not UNSET:
        sets.append(_of_user(state, query, query.user_id))
    if query.key_alias is not UNSET:
        sets.append(_with_alias(state, query.key_alias, part=query.substring_matching))
    if query.key_hash is not UNSET:
        named = find_key(state, query.key_hash)
        sets.append({} if named is None else {named.grant.id: None})
    if query.search is not UNSET:
        sets.append(_matching(state, query.search))
    if query.dangling:
        sets.append(_dangling(state))
    return reduce(both, sorted(sets, key=len)) if sets else None


def _check_asked_user(state: State, query: KeyListQuery, ctx: Context) -> None:
    user_id = ctx.caller.user_id
    if query.user_id in (UNSET, user_id):
        return
    if not any(leads(state, user_id, team_id) for team_id in state.teams):
        msg = "You are not authorized to check other users' keys"
        raise Forbidden(msg, "user_id")


def visible_keys(state: State, ctx: Context) -> Digests | None:
    """The keys a caller sees in lists; None: all."""
    caller = ctx.caller
    if Scope.ANY in caller.scopes:
        return None
    user_id = caller.user_id or ""
    found = dict(state.index.with_value("user_id", user_id))
    for team_id in state.teams if Scope.LED in caller.scopes else ():
        if leads(state, user_id, team_id):
            found.update(state.index.with_value("team_id", team_id))
    return found


def _of_user(state: State, query: KeyListQuery, user_id: str) -> Digests:
    """A user's own keys, and on request those they made and those of teams they lead."""
    index = state.index
    if query.substring_matching:
        found: Digests = {}
        for known in [value for value in index.values("user_id") if user_id in value]:
            found.update(index.with_value("user_id", known))
    else:
        found = dict(index.with_value("user_id", user_id))
    if query.include_created_by_keys:
        found.update(index.with_value("created_by", user_id))
    if query.include_team_keys:
        for team_id, team in state.teams.items():
            if role_in(team, user_id) == "admin":
                found.update(index.with_value("team_id", team_id))
    return found


def _with_alias(state: State, alias: str, *, part: bool) -> Digests:
    if part:
        return state.index.with_part(alias)
    digest = state.index.by_alias(alias)
    return {} if digest is None else {digest: None}


def _matching(state: State, text: str) -> Digests:
    """Keys with the text in their alias, or whose digest begins with it."""
    found = dict(state.index.with_part(text))
    if _HEX.fullmatch(text):
        entries = state.index.ordered("token")
        first = bytes.fromhex(text + "0" * (len(text) % 2))
        for entry in islice(entries, bisect_left(entries, (True, first, b"")), None):
            if not entry[2].hex().startswith(text):
                break
            found[entry[2]] = None
    return found


def _dangling(state: State) -> Digests:
    """Keys with an entry in their list, or a group, that stands for nothing now."""
    judged: dict[tuple[tuple[str, ...], tuple[str, ...]], bool] = {}

    def dangles(record: KeyRecord) -> bool:
        grant = record.grant
        what = (grant.models, grant.groups)
        if what not in judged:
            judged[what] = bool(unknown_entries(state, grant.models)) or any(
                group not in state.groups for group in grant.groups
            )
        return judged[what]

    return {digest: None for digest, record in state.keys.items() if dangles(record)}


def both(some: Digests, others: Digests) -> Digests:
    """The keys in both sets."""
    if len(others) < len(some):
        some, others = others, some
    return {digest: None for digest in some if digest in others}
