"""What the management API reads of keys: one, some, or a page of them, as of one state."""

from collections.abc import Callable, Iterable
from itertools import islice

import msgspec
from msgspec import UNSET

from services.keys.answers import key_row
from services.keys.errors import NotFound
from services.keys.key_filters import both, chosen_keys, visible_keys
from services.keys.key_index import ORDERS, Digests
from services.keys.management import Answer, Context, find_key, given
from services.keys.permits import check_may_see_key, may_see_key
from services.keys.records import KeyRecord
from services.keys.requests import KeyAliasesQuery, KeyInfoQuery, KeyInfos, KeyListQuery, Nothing
from services.keys.roles import Scope
from services.keys.state import State

_FEW = 4096
"""Keys that are sorted by themselves; more are picked from the order of all."""

_FILTERS = (
    "organization_id",
    "project_id",
    "agent_id",
    "access_group_id",
    "team_id",
    "user_id",
    "key_alias",
    "key_hash",
    "search",
)


def key_info(state: State, query: KeyInfoQuery, ctx: Context) -> Answer:
    """Show one key, by secret or digest; the calling key when none is named.

    Raises NotFound, Forbidden.
    """
    if query.key is UNSET:
        record = ctx.caller.key
        if record is None:
            msg = "Key not found: the master key has no record. Name a key with ?key="
            raise NotFound(msg, "key")
        named = record.grant.id.hex()
    else:
        named = query.key
        record = find_key(state, named)
    if record is None:
        msg = "Key not found."
        raise NotFound(msg, "key")
    check_may_see_key(state, ctx.caller, record)
    info = key_row(record, ctx.now)
    del info["token"]
    return {"key": named, "info": info}


def keys_info(state: State, request: KeyInfos, ctx: Context) -> Answer:
    """Show several keys, those that exist and the caller may see. Raises NotFound for none."""
    found = [(name, find_key(state, name)) for name in request.keys]
    shown = [
        (name, record)
        for name, record in found
        if record is not None and may_see_key(state, ctx.caller, record)
    ]
    if request.keys and not shown:
        msg = "No keys found"
        raise NotFound(msg, "keys")
    return {
        "key": [name for name, _ in shown],
        "info": [key_row(record, ctx.now) for _, record in shown],
    }


def key_health(_state: State, _query: Nothing, _ctx: Context) -> Answer:
    """Say that the calling key works: a key that does not is refused before."""
    return {"key": "healthy", "logging_callbacks": None}


def key_list(state: State, query: KeyListQuery, ctx: Context) -> Answer:
    """Show a page of the keys that pass every filter sent, newest first unless asked otherwise.

    A caller who is no admin sees their own keys and those of teams they lead. Raises Forbidden
    when they ask for another user's.
    """
    total, page = _page(state, query, ctx)
    rows = [_shown(state, state.keys[digest], query, ctx) for digest in page]
    return {
        "keys": rows,
        "total_count": total,
        "current_page": query.page,
        "total_pages": -(-total // query.size),
    }


def key_aliases(state: State, query: KeyAliasesQuery, ctx: Context) -> Answer:
    """Show a page of the aliases in use, in their order."""
    chosen = visible_keys(state, ctx)
    if query.search is not UNSET:
        part = state.index.with_part(query.search)
        chosen = part if chosen is None else both(chosen, part)
    digests = _sorted(state, chosen, "key_alias")
    with_alias = [d for d in digests if state.keys[d].details.key_alias is not None]
    start = (query.page - 1) * query.size
    return {
        "aliases": [
            state.keys[d].details.key_alias for d in with_alias[start : start + query.size]
        ],
        "total_count": len(with_alias),
        "current_page": query.page,
        "total_pages": -(-len(with_alias) // query.size),
        "size": query.size,
    }


def _shown(state: State, record: KeyRecord, query: KeyListQuery, ctx: Context) -> object:
    if not query.return_full_object:
        return record.grant.id.hex()
    row = key_row(record, ctx.now)
    if query.expand == "user":
        user = state.users.get(record.grant.user_id or "")
        row["user"] = user and {
            "user_id": user.grant.id,
            "user_email": user.details.user_email,
            "user_alias": user.details.user_alias,
        }
    return row


def _page(state: State, query: KeyListQuery, ctx: Context) -> tuple[int, list[bytes]]:
    """How many keys pass, and the digests of the page asked for."""
    if query.status == "deleted":
        return 0, []  # no record of a key outlives it
    start = (query.page - 1) * query.size
    if _is_unfiltered(query, ctx):
        return _page_of_all(state, query, ctx, start)
    # Whose keys are seen and what the time is are part of the question.
    asked = msgspec.structs.replace(query, page=1, size=1)
    is_timely = query.status is not UNSET or query.expires is not UNSET
    now = ctx.now if is_timely else 0.0
    whose = (ctx.caller.user_id, sorted(ctx.caller.scopes))
    what = msgspec.json.encode((state.rev, asked, whose, now))
    ordered = state.index.once(what, lambda: _selected(state, query, ctx))
    return len(ordered), ordered[start : start + query.size]


def _is_unfiltered(query: KeyListQuery, ctx: Context) -> bool:
    is_all = Scope.ANY in ctx.caller.scopes and not query.dangling
    return (
        is_all
        and query.status in (UNSET, "active")
        and query.expires in (UNSET, "active")
        and all(getattr(query, field) is UNSET for field in _FILTERS)
    )


def _page_of_all(
    state: State, query: KeyListQuery, ctx: Context, start: int
) -> tuple[int, list[bytes]]:
    """A page of every key, or of all but the ended ones: cut from an order that is kept up."""
    index = state.index
    entries = index.ordered(given(query.sort_by, "created_at"))
    is_descending = query.sort_order == "desc"
    if query.status is UNSET and query.expires is UNSET:
        last = len(entries) - 1
        at = range(start, min(start + query.size, len(entries)))
        return len(entries), [entries[last - i if is_descending else i][2] for i in at]
    revoked = () if query.status is UNSET else index.blocked
    ended = frozenset((*revoked, *index.expired(ctx.now)))
    walk = (entry[2] for entry in (reversed(entries) if is_descending else entries))
    active = (digest for digest in walk if digest not in ended)
    return len(entries) - len(ended), list(islice(active, start, start + query.size))


def _selected(state: State, query: KeyListQuery, ctx: Context) -> list[bytes]:
    """Every key that passes, in the order asked for."""
    index = state.index
    chosen = chosen_keys(state, query, ctx)
    if query.expires is not UNSET:
        chosen = _by_expiry(state, chosen, query.expires, ctx.now)
    match given(query.status, None):
        case "revoked":
            chosen = index.blocked if chosen is None else both(chosen, index.blocked)
        case "expired":
            ended = dict.fromkeys(d for d in index.expired(ctx.now) if d not in index.blocked)
            chosen = ended if chosen is None else both(chosen, ended)
        case "active" if chosen is not None:
            gone = frozenset((*index.blocked, *index.expired(ctx.now)))
            chosen = {d: None for d in chosen if d not in gone}
    digests = _sorted(state, chosen, given(query.sort_by, "created_at"))
    return digests[::-1] if query.sort_order == "desc" else digests


def _by_expiry(state: State, chosen: Digests | None, expires: str, now: float) -> Digests:
    """Those of the chosen keys that have expired, or that have not."""
    ended = dict.fromkeys(state.index.expired(now))
    if expires == "expired":
        return ended if chosen is None else both(chosen, ended)
    return {d: None for d in (state.keys if chosen is None else chosen) if d not in ended}


def _sorted(state: State, chosen: Digests | None, order: str) -> list[bytes]:
    if chosen is None:
        return [entry[2] for entry in state.index.ordered(order)]
    if len(chosen) > _FEW:
        return [e[2] for e in state.index.ordered(order) if e[2] in chosen]
    value_of: Callable[[KeyRecord], object] = ORDERS[order]
    records: Iterable[KeyRecord] = (state.keys[digest] for digest in chosen)
    entries = [(value_of(record), record.grant.id) for record in records]
    entries.sort(key=_none_first)
    return [digest for _, digest in entries]


def _none_first(entry: tuple[object, bytes]) -> tuple[bool, object, bytes]:
    value, digest = entry
    return (value is not None, 0 if value is None else value, digest)
