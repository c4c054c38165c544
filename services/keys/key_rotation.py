"""The plan that gives a key a new secret, and lets the old one work for a while."""

import msgspec
from msgspec import UNSET

from services.keys.answers import key_row
from services.keys.durations import iso_utc
from services.keys.errors import InvalidRequest, NotFound
from services.keys.key_patch import new_secret, patched
from services.keys.management import Context, Plan, expiry, find_key, given
from services.keys.permits import check_key, check_place, permitted
from services.keys.records import KeyRecord
from services.keys.requests import KeyRegenerate, KeyUpdate
from services.keys.state import State, Write
from shared.changes import RetiredKey, Tombstone
from shared.credentials import key_name

_AT_ONCE = ("0", "0s", "")


def regenerate(state: State, request: KeyRegenerate, ctx: Context) -> Plan:
    """Give a key another secret, in one change; other fields that were sent are changed with it.

    With `grace_period` the old secret stands for the key until then, and whatever happens to
    the key happens to it. Raises NotFound, InvalidRequest, AlreadyTaken, Forbidden.
    """
    if given(request.new_master_key, None) is not None:
        msg = "new_master_key: the master key is changed in the configuration"
        raise InvalidRequest(msg, "new_master_key")
    old = find_key(state, request.key)
    if old is None:
        msg = "Key not found."
        raise NotFound(msg, "key")
    check_key(state, ctx.caller, old)
    fields = {name: getattr(request, name) for name in KeyUpdate.__struct_fields__}
    if fields["models"] is None:
        fields["models"] = UNSET
    changed, warnings = patched(state, old, KeyUpdate(**{**fields, "key": UNSET}), ctx)
    check_place(state, ctx.caller, changed.grant.user_id, changed.grant.team_id)
    secret = new_secret(state, request.new_key, ctx, "new_key")
    until = _grace_ends(given(request.grace_period, ""), ctx.now)
    record = KeyRecord(
        grant=msgspec.structs.replace(changed.grant, id=secret.digest()),
        details=msgspec.structs.replace(changed.details, key_name=key_name(secret)),
    )
    is_kept = until is not None
    record = permitted(state, ctx.caller, old, record, request, keeps_old=is_kept)
    answer = key_row(record, ctx.now)
    answer.update(
        key=secret.reveal(),
        token_id=answer["token"],
        duration=given(request.duration, None),
        old_key_works_until=None if until is None else iso_utc(until),
        warnings=warnings,
    )
    writes = (*_retired(state, old, record, until, ctx.now), record)
    return Plan(writes=writes, answer=answer, reason="key/regenerate")


def _grace_ends(grace_period: str, now: float) -> float | None:
    if grace_period in _AT_ONCE:
        return None
    return expiry(grace_period, "grace_period", now)


def _retired(
    state: State, old: KeyRecord, record: KeyRecord, until: float | None, now: float
) -> list[Write]:
    """The old secret's end, and that of older ones: they stand for the newest secret's key."""
    digest, successor = old.grant.id, record.grant.id
    writes: list[Write] = [
        Tombstone(of="key", id=digest)
        if until is None
        else RetiredKey(id=digest, successor=successor, until=until)
    ]
    for older in state.retired_of(digest):
        if older.until <= now or until is None:
            # To regenerate without a grace period is to end every secret of before.
            writes.append(Tombstone(of="key", id=older.id))
        else:
            ends = min(older.until, until)
            writes.append(RetiredKey(id=older.id, successor=successor, until=ends))
    return writes
