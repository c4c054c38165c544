"""Plans for models at run time: new, update, delete, block, unblock.

What leads upstream (address, credential, headers) is sealed before it is written anywhere.
"""

import msgspec

from services.keys.durations import iso_utc
from services.keys.errors import AlreadyTaken, InvalidRequest
from services.keys.management import Answer, Context, Plan, given
from services.keys.model_checks import check_model_id, groups_of, known, read_entry, stored
from services.keys.model_requests import (
    ModelDelete,
    ModelFields,
    ModelNamed,
    ModelNew,
    ModelPatch,
    ModelUpdate,
)
from services.keys.records import ModelDetails, ModelRecord
from services.keys.state import State
from shared.catalogue import Deployment
from shared.changes import Tombstone
from shared.litellm_fields import is_price

FIRST_STORED = 1_000_000
"""The position of the first stored model: declared ones come before."""

_MAY_BE_SHOWN = ("model", "custom_llm_provider", "api_version", "timeout", "organization")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, object]).decode


def new(state: State, request: ModelNew, ctx: Context, *, is_imported: bool = False) -> Plan:
    """Add a model to the catalogue. Raises InvalidRequest; AlreadyTaken when the id is in use.

    An imported one may be one of a provider that no gateway here can use: the rest moves in.
    """
    info = dict(given(request.model_info, {}))
    chosen = info.get("id")
    model_id = ctx.new_id() if chosen is None else check_model_id(chosen)
    if model_id in state.models:
        msg = f"A model with the id '{model_id}' already exists"
        raise AlreadyTaken(msg, "model_info.id")
    info["id"] = model_id
    entry, warnings = read_entry(
        request.model_name, request.litellm_params, info, ctx, is_imported=is_imported
    )
    last = max((d.position for d in state.catalogue.deployments), default=0)
    record = ModelRecord(
        grant=Deployment(
            id=model_id,
            name=entry.model_name,
            access_groups=groups_of(info),
            position=max(FIRST_STORED, last + 1),
            version=1,
        ),
        details=ModelDetails(
            source="stored",
            params=_shown(request.litellm_params),
            info=entry.model_info,
            sealed=ctx.seal(model_id, _encode(request.litellm_params)),
            created_at=ctx.now,
            created_by=ctx.actor,
            updated_at=ctx.now,
            updated_by=ctx.actor,
        ),
    )
    answer = {**model_row(record), "model_id": model_id, "warnings": warnings}
    return Plan(writes=(record,), answer=answer, reason="model/new")


def update(state: State, request: ModelUpdate, ctx: Context) -> Plan:
    """Change a stored model, named by `model_info.id` or `id`. Raises NotFound, InvalidRequest."""
    named = given(request.id, None)
    model_id = given(request.model_info, {}).get("id", named)
    if not isinstance(model_id, str):
        msg = "model_info.id must name the model to update"
        raise InvalidRequest(msg, "model_info.id")
    if named not in (None, model_id):
        msg = "id and model_info.id name different models"
        raise InvalidRequest(msg, "id")
    field = "id" if named is not None else "model_info.id"
    return _updated(stored(state, model_id, field), request, ctx)


def patch(state: State, request: ModelPatch, ctx: Context) -> Plan:
    """Change a stored model, named in the path. Raises NotFound, InvalidRequest."""
    return _updated(stored(state, request.model_id, "model_id"), request, ctx)


def delete(state: State, request: ModelDelete, _ctx: Context) -> Plan:
    """Take a stored model out of the catalogue. Raises NotFound, InvalidRequest."""
    record = stored(state, request.id, "id")
    return Plan(
        writes=(Tombstone(of="model", id=record.grant.id),),
        answer={"message": f"Model: {record.grant.id} deleted successfully"},
        reason="model/delete",
    )


def block(state: State, request: ModelNamed, ctx: Context) -> Plan:
    """Send a deployment nothing any more, a declared one too. Raises NotFound."""
    return _set_blocked(state, request, ctx, blocked=True)


def unblock(state: State, request: ModelNamed, ctx: Context) -> Plan:
    """Let a deployment be used again. Raises NotFound."""
    return _set_blocked(state, request, ctx, blocked=False)


def model_row(record: ModelRecord, *, in_full: bool = True) -> Answer:
    """Render a model; not `in_full`, without anything of its upstream but the model's name."""
    grant, details = record.grant, record.details
    shown = details.params
    if not in_full:
        shown = {name: shown[name] for name in ("model",) if name in shown}
    info: Answer = dict(details.info)
    info.update(
        id=grant.id,
        db_model=details.source == "stored",
        source=details.source,
        access_groups=list(grant.access_groups),
        blocked=grant.blocked,
    )
    if details.created_at is not None and in_full:
        info.update(created_at=iso_utc(details.created_at), created_by=details.created_by)
    if details.updated_at is not None and in_full:
        info.update(updated_at=iso_utc(details.updated_at), updated_by=details.updated_by)
    return {"model_name": grant.name, "litellm_params": dict(shown), "model_info": info}


def upstream_of(record: ModelRecord, params: bytes) -> Answer:
    """What a gateway needs of a stored model. `params` are its parameters, opened. Secret."""
    return {
        "id": record.grant.id,
        "version": record.grant.version,
        "model_name": record.grant.name,
        "litellm_params": _decode(params),
    }


def _updated(old: ModelRecord, request: ModelFields, ctx: Context) -> Plan:
    model_id = old.grant.id
    params = _decode(ctx.unseal(model_id, old.details.sealed))
    for name, value in given(request.litellm_params, {}).items():
        if value is None:
            params.pop(name, None)
        else:
            params[name] = value
    sent = given(request.model_info, {})
    info = {**old.details.info, **sent, "id": model_id}
    name = given(request.model_name, old.grant.name)
    entry, warnings = read_entry(name, params, info, ctx)
    groups = groups_of(sent) if "access_groups" in sent else old.grant.access_groups
    record = ModelRecord(
        grant=msgspec.structs.replace(
            old.grant,
            name=entry.model_name,
            access_groups=groups,
            version=old.grant.version + 1,
        ),
        details=msgspec.structs.replace(
            old.details,
            params=_shown(params),
            info=entry.model_info,
            sealed=ctx.seal(model_id, _encode(params)),
            updated_at=ctx.now,
            updated_by=ctx.actor,
        ),
    )
    answer = {**model_row(record), "model_id": model_id, "warnings": warnings}
    return Plan(writes=(record,), answer=answer, reason="model/update")


def _set_blocked(state: State, request: ModelNamed, ctx: Context, *, blocked: bool) -> Plan:
    old = known(state, request.model_id, "model_id")
    record = ModelRecord(
        grant=msgspec.structs.replace(old.grant, blocked=blocked),
        details=msgspec.structs.replace(old.details, updated_at=ctx.now, updated_by=ctx.actor),
    )
    reason = "model/block" if blocked else "model/unblock"
    answer = {**model_row(record), "model_id": old.grant.id, "blocked": blocked}
    return Plan(writes=(record,), answer=answer, reason=reason)


def _shown(params: dict[str, object]) -> dict[str, object]:
    """The parameters an answer may hold: no address and no credential is among them."""
    return {n: v for n, v in params.items() if n in _MAY_BE_SHOWN or is_price(n)}
