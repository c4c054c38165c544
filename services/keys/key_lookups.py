"""What the management API reads of keys: one, some, or a page of them, as of one state."""

import msgspec
from msgspec import UNSET

from services.keys.answers import key_row
from services.keys.errors import NotFound
from services.keys.key_filters import chosen_keys, page_of, visible_keys, with_part
from services.keys.management import Answer, Context, find_key, given
from services.keys.permits import check_may_see_key, may_see_key
from services.keys.records import KeyRecord
from services.keys.requests import KeyAliasesQuery, KeyInfoQuery, KeyInfos, KeyListQuery, Nothing
from services.keys.state import State


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
    query = _without_empty(query)
    total, page = _page(state, query, ctx)
    rows = [_shown(state, record, query, ctx) for record in page]
    return {
        "keys": rows,
        "total_count": total,
        "current_page": query.page,
        "total_pages": -(-total // query.size),
    }


def key_aliases(state: State, query: KeyAliasesQuery, ctx: Context) -> Answer:
    """Show a page of the aliases in use, in their order."""
    index, start = state.index, (query.page - 1) * query.size
    visible, part = visible_keys(state, ctx), given(query.search, "")
    if visible is None and not part:
        order = index.order("key_alias")
        without_one = order.rank("")
        total = len(state.keys) - without_one
        page = order.page(without_one + start, query.size, is_descending=False)
    else:
        chosen = with_part(index, visible, part)
        total, page = page_of(index, chosen, "key_alias", start, query.size, is_descending=False)
    return {
        "aliases": [index.record(slot).details.key_alias for slot in page],
        "total_count": total,
        "current_page": query.page,
        "total_pages": -(-total // query.size),
        "size": query.size,
    }


def _without_empty(query: KeyListQuery) -> KeyListQuery:
    """The query without filters that are empty: a form's field that nobody filled in."""
    fields = msgspec.structs.asdict(query)
    empty = dict.fromkeys((name for name, value in fields.items() if value == ""), UNSET)
    return msgspec.structs.replace(query, **empty)


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


def _page(state: State, query: KeyListQuery, ctx: Context) -> tuple[int, list[KeyRecord]]:
    """How many keys pass, and the page asked for."""
    if query.status == "deleted":
        return 0, []  # no record of a key outlives it
    index, start = state.index, (query.page - 1) * query.size
    by, is_descending = given(query.sort_by, "created_at"), query.sort_order == "desc"
    chosen = chosen_keys(state, query, ctx)
    if chosen is None:
        total = len(state.keys)
        page = index.order(by).page(start, query.size, is_descending=is_descending)
    else:
        total, page = page_of(index, chosen, by, start, query.size, is_descending=is_descending)
    return total, [index.record(slot) for slot in page]
