"""The model list as a client asked for it: every name in it has passed the decision."""

import msgspec

from services.gateway.admission import Admission, Caller
from services.gateway.answers import Stamp
from services.gateway.discovery import Discovery
from services.gateway.headers import Inbound
from services.gateway.management import Management
from services.gateway.routes import Route
from shared.decisions import (
    MASTER,
    MAX_OFFERED,
    Deny,
    DenyReason,
    Listing,
    ListOptions,
    More,
)


class ModelLists:
    """Asks policy for a list, and fills its patterns with what upstreams have."""

    def __init__(
        self, admission: Admission, management: Management, discovery: Discovery | None
    ) -> None:
        """Without `discovery` every wildcard deployment lists as its pattern."""
        self._admission = admission
        self._management = management
        self._discovery = discovery

    async def find(
        self, caller: Caller, route: Route, inbound: Inbound, stamp: Stamp
    ) -> Listing | Deny:
        """The list this caller asked for, as of its revision. Raises PolicyUnavailable, Rejected.

        A team's list is for the team's keys, which policy knows, and for whom keys shows the
        team: its members and admins.
        """
        query = route.listing
        options = None
        if self._discovery is not None or query.team_id is not None or query.wants_groups:
            options = ListOptions(query.team_id)
        listing = await self._admission.listing(caller, route.path, options)
        if isinstance(listing, Deny) and listing.reason is DenyReason.TEAM_NOT_VISIBLE:
            team = query.team_id or ""
            if caller.key != MASTER and await self._management.shows_team(team, inbound, stamp):
                caller = Caller(MASTER, max(caller.floor, listing.revision))
                listing = await self._admission.listing(caller, route.path, options)
        if isinstance(listing, Deny) or listing.more is None:
            return listing
        if query.only_model_access_groups:
            return msgspec.structs.replace(listing, models=listing.more.groups)
        groups = listing.more.groups if query.include_model_access_groups else ()
        if self._discovery is not None:
            found = await self._discovered(caller, route, listing, listing.more, self._discovery)
            if isinstance(found, Deny):
                return found
            listing = found
        models = tuple(dict.fromkeys((*listing.models, *groups)))
        return msgspec.structs.replace(listing, models=models)

    async def _discovered(
        self, caller: Caller, route: Route, listing: Listing, more: More, discovery: Discovery
    ) -> Listing | Deny:
        """The list with each pattern replaced by the names its upstreams have and policy allows.

        A pattern stays when one of its deployments has not said what it has, and when nothing
        that they have is allowed: then it stands for names they do not tell of.
        """
        known = await discovery.names(ref for refs in more.patterns.values() for ref in refs)
        offered: dict[str, tuple[str, ...]] = {}
        for ref, names in known.items():
            if names and sum(map(len, offered.values())) + len(names) <= MAX_OFFERED:
                offered[ref] = names
        allowed: frozenset[str] = frozenset()
        if offered:
            asks = Caller(caller.key, max(caller.floor, listing.revision))
            options = ListOptions(route.listing.team_id, offered)
            answer = await self._admission.listing(asks, route.path, options)
            if isinstance(answer, Deny):
                return answer
            allowed = frozenset(answer.models)
            listing = msgspec.structs.replace(listing, revision=answer.revision)
        models: dict[str, None] = {}
        for name in listing.models:
            refs = more.patterns.get(name, ())
            found = [n for ref in refs for n in offered.get(ref, ()) if n in allowed]
            is_told = bool(found) and all(ref in offered for ref in refs)
            if not is_told or route.listing.return_wildcard_routes:
                models[name] = None
            models |= dict.fromkeys(found)
        return msgspec.structs.replace(listing, models=tuple(models))
