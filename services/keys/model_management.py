"""Plans for models at run time: new, update, delete, block, unblock.

What leads upstream (address, credential, headers) is sealed before it is written anywhere.
"""

from urllib.parse import urlsplit

import msgspec

from services.keys.access_groups import check_group_name
from services.keys.durations import iso_utc
from services.keys.errors import AlreadyTaken, InvalidRequest, NotFound
from services.keys.management import Answer, Context, Plan, check_id, given
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
from shared.credentials import is_ours
from shared.litellm_fields import is_price
from shared.model_list import ModelEntry, read_models
from shared.reading import REFERENCE, ConfigError, Notes, Place
from shared.upstream_checks import check_upstream

FIRST_STORED = 1_000_000
"""The position of the first stored model: declared ones come before."""

_MAX_ID = 128
_MAY_BE_SHOWN = ("model", "custom_llm_provider", "api_version", "timeout", "organization")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, object]).decode


def new(state: State, request: ModelNew, ctx: Context, *, is_imported: bool = False) -> Plan:
    """Add a model to the catalogue. Raises InvalidRequest; AlreadyTaken when the id is in use.

    An imported one may be one of a provider that no gateway here can use: the rest moves in.
    """
    info = dict(given(request.model_info, {}))
    chosen = info.get("id")
    model_id = ctx.new_id() if chosen is None else _check_id(chosen)
    if model_id in state.models:
        msg = f"A model with the id '{model_id}' already exists"
        raise AlreadyTaken(msg, "model_info.id")
    entry, warnings = _read(request.model_name, request.litellm_params, {**info, "id": model_id})
    if not is_imported:
        _check_upstream(entry)
    _check_reach(entry, ctx)
    last = max((d.position for d in state.catalogue.deployments), default=0)
    record = ModelRecord(
        grant=Deployment(
            id=model_id,
            name=entry.model_name,
            access_groups=_groups(info),
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
    return _updated(state, model_id, request, ctx)


def patch(state: State, request: ModelPatch, ctx: Context) -> Plan:
    """Change a stored model, named in the path. Raises NotFound, InvalidRequest."""
    return _updated(state, request.model_id, request, ctx)


def delete(state: State, request: ModelDelete, _ctx: Context) -> Plan:
    """Take a stored model out of the catalogue. Raises NotFound, InvalidRequest."""
    record = _stored(state, request.id)
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


def _updated(state: State, model_id: str, request: ModelFields, ctx: Context) -> Plan:
    old = _stored(state, model_id)
    params = _decode(ctx.unseal(model_id, old.details.sealed))
    for name, value in given(request.litellm_params, {}).items():
        if value is None:
            params.pop(name, None)
        else:
            params[name] = value
    sent = given(request.model_info, {})
    info = {**old.details.info, **sent, "id": model_id}
    name = given(request.model_name, old.grant.name)
    entry, warnings = _read(name, params, info)
    _check_upstream(entry)
    _check_reach(entry, ctx)
    groups = _groups(sent) if "access_groups" in sent else old.grant.access_groups
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
    old = _known(state, request.model_id)
    record = ModelRecord(
        grant=msgspec.structs.replace(old.grant, blocked=blocked),
        details=msgspec.structs.replace(old.details, updated_at=ctx.now, updated_by=ctx.actor),
    )
    reason = "model/block" if blocked else "model/unblock"
    answer = {**model_row(record), "model_id": old.grant.id, "blocked": blocked}
    return Plan(writes=(record,), answer=answer, reason=reason)


def _known(state: State, model_id: str) -> ModelRecord:
    found = state.models.get(model_id)
    if found is None:
        msg = f"Model not found, passed model id: {model_id[:256]}"
        raise NotFound(msg, "model_id")
    return found


def _stored(state: State, model_id: str) -> ModelRecord:
    found = _known(state, model_id)
    if found.details.source == "config":
        msg = "This model is declared in the configuration: change it there"
        raise InvalidRequest(msg, "model_id")
    return found


def _read(
    name: str, params: dict[str, object], info: dict[str, object]
) -> tuple[ModelEntry, list[str]]:
    """Read an entry as one of the config file is read; what is wrong is the caller's."""
    place, notes = Place("request"), Notes()
    _check_references(params, "litellm_params")
    raw = {"model_name": name, "litellm_params": params, "model_info": info}
    try:
        (entry,) = read_models([raw], {}, place, notes)
    except ConfigError as error:
        raise _refused(error) from error
    return entry, [line.removeprefix("request: ").removeprefix("[0].") for line in notes.lines()]


def _check_upstream(entry: ModelEntry) -> None:
    """Refuse what the configuration file may not say of an upstream, in the same words."""
    try:
        check_upstream(entry, Place("request", entry.path).field("litellm_params"))
    except ConfigError as error:
        raise _refused(error) from error


def _refused(error: ConfigError) -> InvalidRequest:
    """The same for a caller: it begins with the place in the entry, which is the body."""
    message = str(error).removeprefix("request: ").removeprefix("[0].")
    return InvalidRequest(message, message.partition(": ")[0])


def _check_reach(entry: ModelEntry, ctx: Context) -> None:
    """Refuse an address of ours. A name, and a variable's value, the gateway judges on connecting.

    What cannot be read here as a URL cannot there either.
    """
    if entry.api_base is None or entry.api_base.startswith(REFERENCE):
        return
    try:
        parts = urlsplit(entry.api_base)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    where = "litellm_params.api_base"
    if not host:
        msg = f"{where}: must be an http:// or https:// URL; write it like https://host/v1"
        raise InvalidRequest(msg, where)
    if ctx.reach.refuses(host):
        msg = (
            f"{where}: leads to a private or special address, and a model made at run time may"
            " not; name the network or host in the setting grantgate.allow_private_upstreams,"
            " or declare the model in the configuration file"
        )
        raise InvalidRequest(msg, where)


def _check_references(value: object, where: str) -> None:
    """A credential may be a variable of the gateway's environment, but none of our own secrets."""
    if isinstance(value, dict):
        for name, member in value.items():
            _check_references(member, f"{where}.{name}")
    elif isinstance(value, list):
        for member in value:
            _check_references(member, where)
    elif (
        isinstance(value, str)
        and value.startswith(REFERENCE)
        and is_ours(value.removeprefix(REFERENCE))
    ):
        msg = f"{where}: this environment variable is not for upstreams"
        raise InvalidRequest(msg, where)


def _check_id(chosen: object) -> str:
    if not isinstance(chosen, str) or len(chosen) > _MAX_ID:
        msg = f"model_info.id must be text of up to {_MAX_ID} characters"
        raise InvalidRequest(msg, "model_info.id")
    return check_id(chosen, "model_info.id")


def _groups(info: dict[str, object]) -> tuple[str, ...]:
    groups = info.get("access_groups") or []
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        msg = "model_info.access_groups must be a list of text"
        raise InvalidRequest(msg, "model_info.access_groups")
    named = (check_group_name(group, "model_info.access_groups") for group in groups)
    return tuple(dict.fromkeys(named))


def _shown(params: dict[str, object]) -> dict[str, object]:
    """The parameters an answer may hold: no address and no credential is among them."""
    return {n: v for n, v in params.items() if n in _MAY_BE_SHOWN or is_price(n)}
