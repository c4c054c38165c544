"""Which keys a list is about: the filters of `/key/list`, and what a caller may see of them."""

import re
from array import array
from collections.abc import Callable
from functools import reduce
from heapq import nsmallest

from msgspec import UNSET

from services.keys.answers import key_status
from services.keys.errors import Forbidden
from services.keys.key_index import Field, KeyIndex
from services.keys.management import Context, find_key
from services.keys.records import KeyRecord
from services.keys.requests import KeyListQuery
from services.keys.roles import Scope
from services.keys.slot_sets import SlotSet, both, either, length, marked, members, without
from services.keys.state import State

_HEX = re.compile(r"[0-9a-f]{1,64}")
_DIGITS = 64

_FEW = 8192
"""Keys that are sorted by themselves; more are picked from the order of all."""

_PAGES = 16
"""The first page of so many is found without the order of the others."""

_LOOKED_AT = 2048
"""Keys that are looked at one by one; of more, what is kept of all of them is asked."""

_BY_VALUE: tuple[Field, ...] = (
    "organization_id",
    "project_id",
    "agent_id",
    "access_group_id",
    "team_id",
)


def chosen_keys(state: State, query: KeyListQuery, ctx: Context) -> SlotSet | None:
    """The keys that pass every filter; None: all of them do. Raises Forbidden."""
    index = state.index
    sets: list[SlotSet] = []
    visible = visible_keys(state, ctx)
    if visible is not None:
        _check_asked_user(state, query, ctx)
        sets.append(visible)
    asked = {field: getattr(query, field) for field in _BY_VALUE}
    sets += [index.having(name, value) for name, value in asked.items() if value is not UNSET]
    if query.user_id is not UNSET:
        sets.append(_of_user(state, query, query.user_id))
    if query.key_alias is not UNSET and not query.substring_matching:
        sets.append(index.with_alias(query.key_alias))
    if query.key_hash is not UNSET:
        named = find_key(state, query.key_hash)
        digest = b"" if named is None else named.grant.id
        sets.append(index.with_digest(digest, digest))
    if query.dangling:
        sets.append(either(index.dangling(state.catalogue, state.groups), index.size))
    chosen = reduce(both, sorted(sets, key=length)) if sets else None
    if query.key_alias is not UNSET and query.substring_matching:
        chosen = with_part(index, chosen, query.key_alias)
    if query.search is not UNSET:
        chosen = _matching(index, chosen, query.search)
    if query.expires is not UNSET:
        chosen = _by_expiry(index, chosen, query.expires, ctx.now)
    return chosen if query.status is UNSET else _in_state(index, chosen, query.status, ctx.now)


def _check_asked_user(state: State, query: KeyListQuery, ctx: Context) -> None:
    user_id = ctx.caller.user_id
    if query.user_id in (UNSET, user_id):
        return
    if not state.led_by(user_id):
        msg = "You are not authorized to check other users' keys"
        raise Forbidden(msg, "user_id")


def visible_keys(state: State, ctx: Context) -> SlotSet | None:
    """The keys a caller sees in lists; None: all."""
    caller, index = ctx.caller, state.index
    if Scope.ANY in caller.scopes:
        return None
    own = index.having("user_id", caller.user_id or "")
    led = state.led_by(caller.user_id) if Scope.LED in caller.scopes else ()
    return either([own, *(index.having("team_id", team) for team in led)], index.size)


def _of_user(state: State, query: KeyListQuery, user_id: str) -> SlotSet:
    """A user's own keys, and on request those they made and those of teams they lead."""
    index = state.index
    known: list[object] = [user_id]
    if query.substring_matching:
        known = [value for value in index.values("user_id") if user_id in str(value)]
    sets = [index.having("user_id", value) for value in known]
    if query.include_created_by_keys:
        sets.append(index.having("created_by", user_id))
    if query.include_team_keys:
        sets += [index.having("team_id", team_id) for team_id in state.led_by(user_id)]
    return either(sets, index.size)


def with_part(index: KeyIndex, chosen: SlotSet | None, part: str) -> SlotSet:
    """Those of the chosen keys whose alias has `part` in it."""

    def passes(record: KeyRecord) -> bool:
        return bool(record.details.key_alias) and part in (record.details.key_alias or "")

    return _narrowed(index, chosen, passes, lambda: index.with_part(part))


def _matching(index: KeyIndex, chosen: SlotSet | None, text: str) -> SlotSet:
    """Keys with the text in their alias, or whose digest begins with it."""
    if not _HEX.fullmatch(text):
        return with_part(index, chosen, text)

    def passes(record: KeyRecord) -> bool:
        return text in (record.details.key_alias or "") or record.grant.id.hex().startswith(text)

    def find() -> SlotSet:
        low, high = (bytes.fromhex(text.ljust(_DIGITS, digit)) for digit in "0f")
        return either([index.with_part(text), index.with_digest(low, high)], index.size)

    return _narrowed(index, chosen, passes, find)


def _in_state(index: KeyIndex, chosen: SlotSet | None, status: str, now: float) -> SlotSet:
    """Those of the chosen keys that are active, expired, or blocked (LiteLLM's `revoked`)."""

    def passes(record: KeyRecord) -> bool:
        return key_status(record, now) == status

    def find() -> SlotSet:
        blocked = index.having("blocked", value=True)
        if status == "revoked":
            return blocked
        expired = without(index.expired(now), blocked)
        return expired if status == "expired" else without(without(index.all(), blocked), expired)

    return _narrowed(index, chosen, passes, find)


def _by_expiry(index: KeyIndex, chosen: SlotSet | None, expires: str, now: float) -> SlotSet:
    """Those of the chosen keys that have expired, or that have not, blocked or not."""

    def passes(record: KeyRecord) -> bool:
        at = record.grant.expires_at
        return (at is not None and at <= now) == (expires == "expired")

    def find() -> SlotSet:
        expired = index.expired(now)
        return expired if expires == "expired" else without(index.all(), expired)

    return _narrowed(index, chosen, passes, find)


def _narrowed(
    index: KeyIndex,
    chosen: SlotSet | None,
    passes: Callable[[KeyRecord], bool],
    find: Callable[[], SlotSet],
) -> SlotSet:
    """Those of the chosen keys that pass: looked at one by one when few, else among all found."""
    if isinstance(chosen, array) and len(chosen) <= _LOOKED_AT:
        return array("I", (slot for slot in chosen if passes(index.record(slot))))
    found = find()
    return found if chosen is None else both(chosen, found)


def page_of(
    index: KeyIndex, chosen: SlotSet, order: str, start: int, size: int, *, is_descending: bool
) -> tuple[int, list[int]]:
    """How many keys are chosen, and a page of them in one of the orders."""
    total = length(chosen)
    by = index.order(order)
    if total > _FEW:
        flags = marked(chosen, index.size)
        return total, by.page_of(flags, total, start, size, is_descending=is_descending)
    end = start + size
    if not is_descending and end * _PAGES <= total:
        return total, nsmallest(end, members(chosen), key=by.value)[start:]
    ordered = sorted(members(chosen), key=by.value)
    return total, (ordered[::-1] if is_descending else ordered)[start:end]
