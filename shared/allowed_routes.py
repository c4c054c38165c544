"""Which routes a key's `allowed_routes` admit. The route asked about is the canonical one."""

_LLM_PREFIX = "/v1/"

BUCKETS: dict[str, tuple[str, ...]] = {
    "llm_api_routes": (
        "/v1/chat/*",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/moderations",
        "/v1/images/*",
        "/v1/audio/*",
        "/v1/rerank",
        "/v1/messages",
        "/v1/messages/*",
        "/v1/models",
        "/v1/models/*",
        "/model/info",
        "/v1/model/info",
        "/model_group/info",
    ),
    "management_routes": (
        "/key/*",
        "/v2/key/*",
        "/team/*",
        "/v2/team/*",
        "/user/*",
        "/v2/user/*",
        "/model/*",
        "/v1/model/*",
        "/v2/model/*",
        "/model_group/*",
        "/access_group/*",
        "/v1/access_group",
        "/v1/access_group/*",
    ),
    "info_routes": (
        "/v1/models",
        "/v1/models/*",
        "/key/info",
        "/v2/key/info",
        "/key/health",
        "/team/info",
        "/team/list",
        "/v2/team/list",
        "/user/info",
        "/v2/user/info",
        "/model/info",
        "/v1/model/info",
        "/v2/model/info",
        "/model_group/info",
    ),
}
"""LiteLLM's bucket names with the routes they stand for here."""


def route_allowed(allowed: tuple[str, ...], route: str) -> bool:
    """Whether a list of paths, `/prefix*` wildcards and bucket names admits `route`.

    An empty list admits every route. A path may be written with or without its `/v1`.
    """
    if not allowed:
        return True
    return any(_admits(path, route) for entry in allowed for path in BUCKETS.get(entry, (entry,)))


def routes_within(allowed: tuple[str, ...], limit: tuple[str, ...]) -> bool:
    """Whether a list can be shown to admit no route that `limit` does not."""
    if not limit:
        return True
    limits = [path for entry in limit for path in BUCKETS.get(entry, (entry,))]
    wanted = [path for entry in allowed for path in BUCKETS.get(entry, (entry,))]
    return bool(wanted) and all(any(_covers(wide, path) for wide in limits) for path in wanted)


def _covers(wide: str, path: str) -> bool:
    return path == wide or (wide.endswith("*") and path.removesuffix("*").startswith(wide[:-1]))


def _admits(path: str, route: str) -> bool:
    spellings = (route, route.removeprefix(_LLM_PREFIX[:-1]))
    if path.endswith("*"):
        return any(s.startswith(path[:-1]) for s in spellings)
    return path in spellings
