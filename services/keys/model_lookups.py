"""What the management API reads of models: those the caller may call, as of one state."""

from collections.abc import Iterable

from msgspec import UNSET

from services.keys.errors import NotFound
from services.keys.giving import excess
from services.keys.key_lists import lists_of_key
from services.keys.management import Answer, Context
from services.keys.model_management import model_row
from services.keys.model_requests import ModelGroupQuery, ModelInfoQuery, ModelPageQuery
from services.keys.records import ModelRecord
from services.keys.roles import Scope
from services.keys.state import State


def model_info(state: State, query: ModelInfoQuery, ctx: Context) -> Answer:
    """Show the models a caller may call, or one of them. Raises NotFound."""
    found = list(_visible(state, ctx))
    if query.litellm_model_id is not UNSET:
        found = [record for record in found if record.grant.id == query.litellm_model_id]
        if not found:
            msg = f"Model id = {query.litellm_model_id[:256]} not found on Grantgate"
            raise NotFound(msg, "litellm_model_id")
    return {"data": [model_row(record, in_full=_is_admin(ctx)) for record in found]}


def model_page(state: State, query: ModelPageQuery, ctx: Context) -> Answer:
    """Show a page of the models a caller may call."""
    found = [
        record
        for record in _visible(state, ctx)
        if query.model in (UNSET, record.grant.name)
        and query.modelId in (UNSET, record.grant.id)
        and (query.search is UNSET or query.search.casefold() in record.grant.name.casefold())
    ]
    start = (query.page - 1) * query.size
    return {
        "data": [
            model_row(record, in_full=_is_admin(ctx))
            for record in found[start : start + query.size]
        ],
        "total_count": len(found),
        "current_page": query.page,
        "size": query.size,
        "total_pages": -(-len(found) // query.size),
    }


def model_groups(state: State, query: ModelGroupQuery, ctx: Context) -> Answer:
    """Show each model name a caller may call, with what is known of its deployments."""
    by_name: dict[str, list[ModelRecord]] = {}
    for record in _visible(state, ctx):
        if query.model_group in (UNSET, record.grant.name):
            by_name.setdefault(record.grant.name, []).append(record)
    return {"data": [_group_row(name, records) for name, records in by_name.items()]}


def _group_row(name: str, records: Iterable[ModelRecord]) -> Answer:
    row: Answer = {
        "mode": None,
        "max_input_tokens": None,
        "max_output_tokens": None,
        "input_cost_per_token": None,
        "output_cost_per_token": None,
    }
    providers = set()
    for record in records:
        prefix, slash, _ = str(record.details.params.get("model", "")).partition("/")
        providers.add(prefix if slash else "openai")
        row.update({n: v for n, v in record.details.info.items() if n not in ("id", "metadata")})
    row.update(model_group=name, providers=sorted(providers), is_public_model_group=False)
    return row


def _is_admin(ctx: Context) -> bool:
    return Scope.ANY in ctx.caller.scopes


def _visible(state: State, ctx: Context) -> Iterable[ModelRecord]:
    """The models a caller may call in full, in the order of the catalogue; an admin sees all."""
    deployments = state.catalogue.deployments
    if _is_admin(ctx) or ctx.caller.key is None:
        return [state.models[d.id] for d in deployments]
    limits = lists_of_key(state, ctx.caller.key)
    shown: dict[str, bool] = {}
    for name in state.catalogue.names:
        shown[name] = all(excess(state.catalogue, (name,), limit) is None for limit in limits)
    return [state.models[d.id] for d in deployments if shown[d.name] and not d.blocked]
