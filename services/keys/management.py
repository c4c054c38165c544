"""What planned writes share: context, outcome, finding a record, checks on single fields.

A plan is a pure function of the state it is made against; it may be made several times before
one is committed.
"""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from services.keys.callers import MASTER, Caller
from services.keys.durations import InvalidDuration, add_duration
from services.keys.errors import InvalidRequest, NotFound
from services.keys.records import KeyRecord, TeamRecord
from services.keys.requests import Request
from services.keys.state import Once, State, Write
from shared.addresses import PUBLIC, Reach
from shared.catalogue import MAX_ENTRY, entry_problem
from shared.credentials import Secret, holds_minted_key, is_digest, masked
from shared.patterns import is_pattern

T = TypeVar("T")

Answer = dict[str, object]
"""A body to answer with: JSON-able."""


def _no_vault(_record: str, _data: bytes) -> bytes:
    msg = "this context seals nothing"
    raise RuntimeError(msg)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan needs besides the state and the request.

    `now` is epoch seconds; `choose` picks one character unpredictably; no key may have one of
    the `reserved` digests (the master key's). `caller` is who asks, `actor` who is said to.
    `seal` encrypts what belongs to a record's id, `unseal` gives it back. `reach` is where
    upstreams may be.
    """

    now: float
    actor: str
    choose: Callable[[str], str]
    new_id: Callable[[], str]
    reserved: frozenset[bytes] = frozenset()
    caller: Caller = MASTER
    seal: Callable[[str, bytes], bytes] = _no_vault
    unseal: Callable[[str, bytes], bytes] = _no_vault
    reach: Reach = PUBLIC


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Records to write, all or none, and the answer once they are. `reason` goes in the log.

    `once` is the caller's own name for the write.
    """

    writes: tuple[Write, ...]
    answer: Answer
    reason: str
    once: Once | None = None

    def __repr__(self) -> str:
        """Show why alone: the answer may hold a new key."""
        return f"Plan({self.reason!r}, {len(self.writes)} writes)"


MAX_ENTRIES = 2000
"""Entries in one `models` list: the cost of validating and of deciding grows with them."""

_PATTERNS_LOOKED_UP = 20
_MAX_ID = 256
_ROUTE_GROUPS = frozenset({"llm_api_routes", "management_routes", "info_routes"})
_ROUTE = re.compile(r"/[\x21-\x7e]*|[a-z_]+")


def given(value: T | UnsetType | None, default: T) -> T:
    """Take a field's value, or the default when it was not sent or is null."""
    return default if value is UNSET or value is None else value


def find_key(state: State, named: str) -> KeyRecord | None:
    """Look a key up by its secret or by its digest in hex."""
    if named.startswith("sk-"):
        return state.keys.get(Secret(named).digest())
    return state.keys.get(bytes.fromhex(named)) if is_digest(named) else None


def find_team(state: State, team_id: str, field: str = "team_id") -> TeamRecord:
    """Look a team up that a field names. Raises NotFound."""
    found = state.teams.get(team_id)
    if found is None:
        msg = f"Team not found, passed team id: {team_id[:256]}."
        raise NotFound(msg, field)
    return found


def user_named(state: State, user_id: str | None, email: str | None, where: str) -> str:
    """Give the id of a user named by id, or of the one user who has an e-mail address.

    `where` is the object that names them, empty for the body itself. Raises InvalidRequest.
    """
    within = f"{where}." if where else ""
    if user_id:
        return check_id(user_id, f"{within}user_id")
    if not email:
        msg = f"{where or 'the request'} needs a user_id or a user_email"
        raise InvalidRequest(msg, where or "user_id")
    found = [u for u, user in state.users.items() if user.details.user_email == email]
    if len(found) == 1:
        return found[0]
    msg = f"{within}user_email: {'several users have' if found else 'no user has'} this address"
    raise InvalidRequest(msg, f"{within}user_email")


def address_of(state: State, user_id: str) -> str | None:
    """The e-mail address of a user, when they are known and have one."""
    user = state.users.get(user_id)
    return None if user is None else user.details.user_email


def check_models(
    entries: list[str], field: str = "models", *, refused: Collection[str] = ()
) -> tuple[str, ...]:
    """Validate a list of grant entries; the same twice is kept once. Raises InvalidRequest."""
    if len(entries) > MAX_ENTRIES:
        msg = f"{field} has {len(entries)} entries; {MAX_ENTRIES} are the most"
        raise InvalidRequest(msg, field)
    for position, entry in enumerate(entries):
        where = f"{field}[{position}]"
        problem = entry_problem(entry)
        if entry in refused:
            problem = "is not allowed here: it stands for the team's models, in a key's list"
        if problem is not None:
            msg = f"{where} {problem}"
            raise InvalidRequest(msg, where)
    return tuple(dict.fromkeys(entries))


def unknown_entries(
    state: State, entries: Collection[str], groups: Collection[str] = ()
) -> list[str]:
    """Warn of entries and unified groups that stand for nothing yet, or no more.

    Comparing patterns is dear, so of those only the first few are looked up.
    """
    patterns = [entry for entry in entries if is_pattern(entry)]
    skipped = frozenset(patterns[_PATTERNS_LOOKED_UP:])
    warnings = [
        f"models: {masked(entry)!r} is no configured model name, pattern or access group yet"
        for entry in entries
        if entry not in skipped and not state.catalogue.knows(entry)
    ]
    if skipped:
        warnings.append(f"models: {len(skipped)} more patterns were not looked up")
    return warnings + [
        f"access_group_ids: {group!r} does not exist and allows nothing"
        for group in groups
        if group not in state.groups
    ]


def check_aliases(aliases: dict[str, str], field: str) -> dict[str, str]:
    """Validate names that stand for other names. Raises InvalidRequest.

    A target is any text: the decision is made on it as if it had been asked for.
    """
    for name, target in aliases.items():
        where = f"{field}.{name[:64]}"
        if not name or name != name.strip() or not name.isprintable() or "*" in name:
            problem = "the name must be visible characters, without '*' or white space around them"
        elif not 0 < len(target) <= MAX_ENTRY or len(name) > MAX_ENTRY:
            problem = f"the name and the target must have 1 to {MAX_ENTRY} characters"
        elif holds_minted_key(name) or holds_minted_key(target):
            where, problem = field, "the name or the target is a key, and no model's name"
        else:
            continue
        msg = f"{where}: {problem}"
        raise InvalidRequest(msg, where)
    return dict(aliases)


def check_id(text: str, field: str) -> str:
    """Validate an id a caller chose. Raises InvalidRequest."""
    if not text or len(text) > _MAX_ID or not text.isprintable() or text != text.strip():
        msg = f"{field} must be 1 to {_MAX_ID} visible characters, without white space around them"
        raise InvalidRequest(msg, field)
    return text


def check_routes(routes: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Validate `allowed_routes`, and warn of groups of routes that nothing belongs to.

    Raises InvalidRequest.
    """
    for position, route in enumerate(routes):
        if len(route) > _MAX_ID or not _ROUTE.fullmatch(route):
            where = f"allowed_routes[{position}]"
            msg = f"{where} must be a path (perhaps ending in '*') or the name of a route group"
            raise InvalidRequest(msg, where)
    kept = tuple(dict.fromkeys(routes))
    unknown = [r for r in kept if not r.startswith("/") and r not in _ROUTE_GROUPS]
    return kept, [
        f"allowed_routes: {r!r} is no known route group and allows nothing" for r in unknown
    ]


def check_numbers(request: Request) -> None:
    """Refuse negative budgets, spends and limits. Raises InvalidRequest."""
    for field in request.__struct_fields__:
        value = getattr(request, field)
        if isinstance(value, int | float) and value < 0:
            msg = f"{field} must not be negative"
            raise InvalidRequest(msg, field)
        if field == "budget_limits" and isinstance(value, list):
            _check_budget_limits(value)


def _check_budget_limits(limits: list[dict[str, object]]) -> None:
    for position, limit in enumerate(limits):
        budget = limit.get("max_budget")
        if isinstance(budget, int | float) and budget < 0:
            where = f"budget_limits[{position}].max_budget"
            msg = f"{where} must not be negative"
            raise InvalidRequest(msg, where)


def check_temporary_budget(
    increase: float | UnsetType | None, until: str | UnsetType | None
) -> None:
    """Validate a temporary budget, which is only stored. Raises InvalidRequest."""
    if (increase is UNSET or increase is None) != (until is UNSET or until is None):
        msg = "temp_budget_increase and temp_budget_expiry go together"
        raise InvalidRequest(msg, "temp_budget_increase")
    if isinstance(until, str):
        try:
            datetime.fromisoformat(until)
        except ValueError as error:
            msg = "temp_budget_expiry must be an ISO 8601 time"
            raise InvalidRequest(msg, "temp_budget_expiry") from error


def check_durations(request: Request, fields: Collection[str], now: float) -> None:
    """Validate durations that are only stored. Raises InvalidRequest."""
    for field in fields:
        value = getattr(request, field)
        if isinstance(value, str):
            expiry(value, field, now)


def expiry(text: str, field: str, now: float) -> float:
    """When a duration that begins now ends, in epoch seconds. Raises InvalidRequest."""
    try:
        return add_duration(now, text)
    except InvalidDuration as error:
        msg = f"{field}: {error}"
        raise InvalidRequest(msg, field) from error


def sent_fields(request: Request) -> dict[str, object]:
    """Give the fields that were sent, nulls among them."""
    values = {field: getattr(request, field) for field in request.__struct_fields__}
    return {field: value for field, value in values.items() if value is not UNSET}


def stored_changes(sent: dict[str, object], details: type[msgspec.Struct]) -> dict[str, object]:
    """Pick the fields that are only stored; null becomes the field's default."""
    changes: dict[str, object] = {}
    for field in msgspec.structs.fields(details):
        if field.name not in sent:
            continue
        value = sent[field.name]
        if value is None and field.default is not msgspec.NODEFAULT:
            value = field.default
        elif value is None and field.default_factory is not msgspec.NODEFAULT:
            value = field.default_factory()
        changes[field.name] = value
    return changes


def check_groups(ids: Sequence[str]) -> tuple[str, ...]:
    """Validate ids of unified groups. Raises InvalidRequest.

    A group that does not exist allows nothing, and still makes a list non-empty.
    """
    for position, group_id in enumerate(ids):
        check_id(group_id, f"access_group_ids[{position}]")
    return tuple(dict.fromkeys(ids))
