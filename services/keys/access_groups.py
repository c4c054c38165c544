"""Access groups at run time: labels put on deployments, those of the config file included.

A group is nothing but the deployments that carry it, so each call is one change to all of them.
What the config file declares stays: such a group can be extended and not shrunk.
"""

import msgspec

from services.keys.errors import Conflict, InvalidRequest, NotFound
from services.keys.management import Answer, Context, Plan, given
from services.keys.model_requests import (
    AccessGroupFields,
    AccessGroupNamed,
    AccessGroupNew,
    AccessGroupUpdate,
)
from services.keys.records import ModelRecord
from services.keys.requests import Nothing
from services.keys.state import State
from shared.catalogue import SENTINELS, entry_problem


def new(state: State, request: AccessGroupNew, ctx: Context) -> Plan:
    """Put a new group on deployments. Raises InvalidRequest; Conflict when it exists."""
    group = check_group_name(request.access_group, "access_group")
    if _carriers(state, group):
        msg = f"Access group '{group}' already exists. Use PUT /access_group/{group}/update."
        raise Conflict(msg, "access_group")
    chosen = _chosen(state, request)
    return _written(group, chosen, [], ctx, "access_group/new")


def update(state: State, request: AccessGroupUpdate, ctx: Context) -> Plan:
    """Have a group on exactly these deployments, in one change. Raises NotFound, InvalidRequest."""
    group = request.access_group
    before = _existing(state, group)
    chosen = _chosen(state, request)
    kept = {record.grant.id for record in chosen}
    gone = [record for record in before if record.grant.id not in kept]
    _check_not_declared(group, gone)
    return _written(group, chosen, gone, ctx, "access_group/update")


def delete(state: State, request: AccessGroupNamed, ctx: Context) -> Plan:
    """Take a group off every deployment. Raises NotFound, InvalidRequest."""
    group = request.access_group
    before = _existing(state, group)
    _check_not_declared(group, before)
    plan = _written(group, [], before, ctx, "access_group/delete")
    answer: Answer = {
        "access_group": group,
        "models_updated": len(before),
        "message": f"Access group '{group}' deleted",
    }
    return msgspec.structs.replace(plan, answer=answer)


def listing(state: State, _query: Nothing, _ctx: Context) -> Answer:
    """Show every group."""
    return {"access_groups": [_row(state, group) for group in sorted(state.catalogue.groups)]}


def info(state: State, query: AccessGroupNamed, _ctx: Context) -> Answer:
    """Show one group. Raises NotFound."""
    _existing(state, query.access_group)
    return _row(state, query.access_group)


def check_group_name(group: str, where: str) -> str:
    """Validate the name of an access group. Raises InvalidRequest."""
    problem = entry_problem(group)
    if problem is None and (group in SENTINELS or "*" in group or group.startswith("!")):
        problem = "is a reserved word, has a '*', or begins with '!'"
    if problem is not None:
        msg = f"{where} {problem}"
        raise InvalidRequest(msg, where)
    return group


def _carriers(state: State, group: str) -> list[ModelRecord]:
    return [state.models[d.id] for d in state.catalogue.deployments if group in d.access_groups]


def _existing(state: State, group: str) -> list[ModelRecord]:
    found = _carriers(state, group)
    if not found:
        msg = f"Access group '{group[:256]}' not found"
        raise NotFound(msg, "access_group")
    return found


def _chosen(state: State, request: AccessGroupFields) -> list[ModelRecord]:
    ids, names = given(request.model_ids, []), given(request.model_names, [])
    if not ids and not names:
        msg = "model_names or model_ids must name at least one model"
        raise InvalidRequest(msg, "model_names")
    of_name = {d.name for d in state.catalogue.deployments}
    missing = [i for i in ids if i not in state.models] if ids else []
    missing = missing or ([] if ids else [name for name in names if name not in of_name])
    if missing:
        msg = f"Model(s) not found: {', '.join(each[:64] for each in missing[:20])}"
        raise InvalidRequest(msg, "model_ids" if ids else "model_names")
    wanted_ids, wanted_names = frozenset(ids), frozenset(names)
    return [
        state.models[d.id]
        for d in state.catalogue.deployments
        if (d.id in wanted_ids if ids else d.name in wanted_names)
    ]


def _check_not_declared(group: str, losing: list[ModelRecord]) -> None:
    declared = [r.grant.name for r in losing if group in r.details.declared_groups]
    if declared:
        msg = (
            f"Access group '{group}' is declared in the configuration for {declared[:20]}:"
            " take it away there"
        )
        raise InvalidRequest(msg, "access_group")


def _written(
    group: str, gaining: list[ModelRecord], losing: list[ModelRecord], ctx: Context, reason: str
) -> Plan:
    writes = [_with_groups(record, (*record.grant.access_groups, group), ctx) for record in gaining]
    writes += [
        _with_groups(record, tuple(g for g in record.grant.access_groups if g != group), ctx)
        for record in losing
    ]
    answer: Answer = {
        "access_group": group,
        "model_names": sorted({record.grant.name for record in gaining}),
        "model_ids": [record.grant.id for record in gaining],
        "models_updated": len(gaining),
    }
    return Plan(writes=tuple(writes), answer=answer, reason=reason)


def _with_groups(record: ModelRecord, groups: tuple[str, ...], ctx: Context) -> ModelRecord:
    kept = tuple(dict.fromkeys(groups))
    return ModelRecord(
        grant=msgspec.structs.replace(record.grant, access_groups=kept),
        details=msgspec.structs.replace(record.details, updated_at=ctx.now, updated_by=ctx.actor),
    )


def _row(state: State, group: str) -> Answer:
    carriers = _carriers(state, group)
    declared = any(group in record.details.declared_groups for record in carriers)
    return {
        "access_group": group,
        "model_names": sorted({record.grant.name for record in carriers}),
        "model_ids": [record.grant.id for record in carriers],
        "deployment_count": len(carriers),
        "source": "config" if declared else "stored",
        "spend": 0.0,
        "budget": None,
    }
