"""Plans for keys: generate, update (one or many), delete, block, unblock."""

import msgspec
from msgspec import UNSET

from services.keys.answers import key_row
from services.keys.errors import AlreadyTaken, InvalidRequest, ManagementError, NotFound
from services.keys.key_patch import new_secret, patched
from services.keys.management import Answer, Context, Plan, find_key, given
from services.keys.permits import check_key, check_place, permitted
from services.keys.records import KeyDetails, KeyRecord
from services.keys.requests import (
    KeyBulkItem,
    KeyBulkUpdate,
    KeyDelete,
    KeyFields,
    KeyGenerate,
    KeyNamed,
    KeyUpdate,
)
from services.keys.state import State
from shared.changes import KeyGrant, Tombstone
from shared.credentials import is_digest, key_name

_NEVER = "-1"
"""LiteLLM's other way of saying that a key does not expire any more."""

MAX_BULK = 500
"""Keys in one bulk update."""


def generate(state: State, request: KeyGenerate, ctx: Context) -> Plan:
    """Make a key; the answer is the only place its secret is ever shown.

    A caller who is no admin makes keys of their own unless they say otherwise. Raises
    InvalidRequest; Forbidden, NotPermitted; AlreadyTaken when the alias or secret is in use.
    """
    if not ctx.caller.is_admin and given(request.user_id, None) is None:
        request = msgspec.structs.replace(request, user_id=ctx.caller.user_id)
    check_place(state, ctx.caller, given(request.user_id, None), given(request.team_id, None))
    return _generated(state, request, ctx, "key/generate")


def generate_service_account(state: State, request: KeyGenerate, ctx: Context) -> Plan:
    """Make a key of a team and of no user. Raises as `generate` does."""
    team_id = given(request.team_id, None)
    if team_id is None:
        msg = "team_id is required for service account keys"
        raise InvalidRequest(msg, "team_id")
    if given(request.user_id, None) is not None:
        msg = "user_id: a service account key belongs to its team alone"
        raise InvalidRequest(msg, "user_id")
    check_place(state, ctx.caller, ctx.caller.user_id, team_id)
    return _generated(state, request, ctx, "key/service-account/generate")


def _generated(state: State, request: KeyGenerate, ctx: Context, reason: str) -> Plan:
    secret = new_secret(state, request.key, ctx)
    blank = KeyRecord(
        grant=KeyGrant(id=secret.digest()),
        details=KeyDetails(
            key_name=key_name(secret),
            created_at=ctx.now,
            updated_at=ctx.now,
            created_by=ctx.actor,
            updated_by=ctx.actor,
        ),
    )
    record, warnings = patched(state, blank, request, ctx)
    record = permitted(state, ctx.caller, None, record, request)
    answer = key_row(record, ctx.now)
    answer.update(
        key=secret.reveal(),
        token_id=answer["token"],
        # Only here: a row that is sent back as an update must not begin the duration again.
        duration=given(request.duration, None),
        warnings=warnings,
    )
    return Plan(writes=(record,), answer=answer, reason=reason)


def update(state: State, request: KeyUpdate, ctx: Context) -> Plan:
    """Change the fields that were sent; null clears one.

    Raises NotFound, InvalidRequest (also for `models` of null: it could mean everything or
    nothing), AlreadyTaken, Forbidden, NotPermitted.
    """
    old = _named(state, request)
    if request.models is None:
        msg = "models must not be null: send [] for no restriction, or leave it out to keep it"
        raise InvalidRequest(msg, "models")
    if isinstance(request.duration, str) and request.duration == _NEVER:
        request = msgspec.structs.replace(request, duration=None)
    if request.key is UNSET or request.key is None:
        request = msgspec.structs.replace(request, key_alias=UNSET)
    record, warnings = _updated(state, old, request, ctx)
    answer: Answer = {"key": given(request.key, record.grant.id.hex())}
    answer.update(key_row(record, ctx.now))
    answer["warnings"] = warnings
    return Plan(writes=(record,), answer=answer, reason="key/update")


def bulk_update(state: State, request: KeyBulkUpdate, ctx: Context) -> Plan:
    """Change many keys in one change; those that cannot be are told apart.

    Raises InvalidRequest.
    """
    if not 0 < len(request.keys) <= MAX_BULK:
        msg = f"keys must name 1 to {MAX_BULK} keys"
        raise InvalidRequest(msg, "keys")
    records: dict[bytes, KeyRecord] = {}
    done: list[Answer] = []
    failed: list[Answer] = []
    for item in request.keys:
        try:
            record, _ = _updated(state, _bulk_named(state, item, records), _as_update(item), ctx)
        except ManagementError as error:
            failed.append({"key": item.key, "key_info": None, "failed_reason": error.message})
            continue
        records[record.grant.id] = record
        done.append({"key": item.key, "key_info": key_row(record, ctx.now)})
    answer: Answer = {
        "total_requested": len(request.keys),
        "successful_updates": done,
        "failed_updates": failed,
    }
    return Plan(writes=tuple(records.values()), answer=answer, reason="key/bulk_update")


def _bulk_named(state: State, item: KeyBulkItem, records: dict[bytes, KeyRecord]) -> KeyRecord:
    found = find_key(state, item.key)
    if found is None:
        raise _not_found()
    if found.grant.id in records:
        msg = "the same key is named twice"
        raise AlreadyTaken(msg, "key")
    return found


def _as_update(item: KeyBulkItem) -> KeyUpdate:
    sent = {field: getattr(item, field) for field in item.__struct_fields__}
    return KeyUpdate(**sent)


def _updated(
    state: State, old: KeyRecord, request: KeyFields, ctx: Context
) -> tuple[KeyRecord, list[str]]:
    check_key(state, ctx.caller, old)
    record, warnings = patched(state, old, request, ctx)
    check_place(state, ctx.caller, record.grant.user_id, record.grant.team_id)
    return permitted(state, ctx.caller, old, record, request), warnings


def delete(state: State, request: KeyDelete, ctx: Context) -> Plan:
    """Delete keys by secret, digest or alias: all of them, or none.

    A regenerated key's old secret can be deleted before its time. Raises NotFound, Forbidden.
    """
    keys, aliases = given(request.keys, []), given(request.key_aliases, [])
    if not keys and not aliases:
        msg = "keys or key_aliases must name at least one key"
        raise InvalidRequest(msg, "keys")
    found: dict[bytes, None] = {}
    for field, names in (("keys", keys), ("key_aliases", aliases)):
        for position, name in enumerate(names):
            retired = is_digest(name) and state.retired.get(bytes.fromhex(name))
            if field == "keys" and retired:
                record, gone = state.keys.get(retired.successor), retired.id
            else:
                record = find_key(state, name) if field == "keys" else state.key_by_alias(name)
                gone = b"" if record is None else record.grant.id
            if record is None:
                where = f"{field}[{position}]"
                msg = f"Key not found: {where}. Nothing was deleted."
                raise NotFound(msg, where)
            check_key(state, ctx.caller, record)
            found[gone] = None
    return Plan(
        writes=without_keys(state, found),
        answer={"deleted_keys": [*keys, *aliases]},
        reason="key/delete",
    )


def without_keys(state: State, digests: "dict[bytes, None] | list[bytes]") -> tuple[Tombstone, ...]:
    """What takes keys away, with the old secrets that stand for them."""
    gone = dict.fromkeys(
        each
        for digest in digests
        for each in (digest, *(old.id for old in state.retired_of(digest)))
    )
    return tuple(Tombstone(of="key", id=digest) for digest in gone)


def block(state: State, request: KeyNamed, ctx: Context) -> Plan:
    """Refuse the key from now on. Raises NotFound, Forbidden."""
    return _set_blocked(state, request, ctx, blocked=True)


def unblock(state: State, request: KeyNamed, ctx: Context) -> Plan:
    """Let the key work again. Raises NotFound, Forbidden."""
    return _set_blocked(state, request, ctx, blocked=False)


def _set_blocked(state: State, request: KeyNamed, ctx: Context, *, blocked: bool) -> Plan:
    old = find_key(state, request.key)
    if old is None:
        raise _not_found()
    check_key(state, ctx.caller, old)
    # Written even when nothing changes: the answer waits until the state is in force, and the
    # change that made it so may still be on its way.
    record = KeyRecord(
        grant=msgspec.structs.replace(old.grant, blocked=blocked),
        details=msgspec.structs.replace(
            old.details, blocked_is_set=True, updated_at=ctx.now, updated_by=ctx.actor
        ),
    )
    reason = "key/block" if blocked else "key/unblock"
    return Plan(writes=(record,), answer=key_row(record, ctx.now), reason=reason)


def _not_found() -> NotFound:
    return NotFound("Key not found.", "key")


def _named(state: State, request: KeyUpdate) -> KeyRecord:
    key, alias = given(request.key, ""), given(request.key_alias, "")
    if not key and not alias:
        msg = "key (or key_alias) must name the key to update"
        raise InvalidRequest(msg, "key")
    found = find_key(state, key) if key else state.key_by_alias(alias)
    if found is None:
        raise _not_found()
    return found
