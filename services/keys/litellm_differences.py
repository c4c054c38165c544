"""What will be decided differently here than LiteLLM decided it, and why, for each record.

Everything that LiteLLM checks and Grantgate does not is among it: that is where more is allowed
than before.
"""

from collections.abc import Iterator

from services.keys.giving import excess, names_something
from services.keys.records import KeyRecord, TeamRecord, UserRecord
from services.keys.state import Record, State
from shared.patterns import Pattern, is_pattern

NOT_LIMITED = "budgets and rate limits are stored and not enforced"
ORGANISATION = "the lists of its organisation, project or agent are not checked here"
DEACTIVATED = "the user is deactivated by SCIM, which nothing here looks at: block their keys"
NO_TEAM = "its team does not exist: refused"
NO_TEAM_FOR_SENTINEL = "'all-team-models' without a team allows nothing here, everything there"
GROUPS_ALONE = "no models and a unified group: exactly the group here, everything there"
GROUP_UNKNOWN = "a unified group it has does not exist here and allows nothing"
CONFIG = "a `config` of its own switched the check of its models off there"
DENIAL = "an entry that begins with '!' denies here; there it was a name"
LITERAL = "a pattern has characters that were a regular expression's there and are literal here"
PROVIDER = "a pattern may have covered names without a provider there, by a price list; not here"
ALIAS = "a team alias passed whatever its target there; here the target must be in the list"

_REGEX = frozenset("?|()[]{}+^$\\")
_LIMITS = (
    "max_budget",
    "budget_limits",
    "model_max_budget",
    "tpm_limit",
    "rpm_limit",
    "tpd_limit",
    "max_parallel_requests",
    "budget_id",
)


def differences(state: State, record: Record) -> Iterator[str]:
    """Give every reason why a record is decided differently, in the state it is part of."""
    if not isinstance(record, KeyRecord | TeamRecord | UserRecord):
        return
    if any(getattr(record.details, name, None) for name in _LIMITS):
        yield NOT_LIMITED
    yield from _of_list(state, record.grant.models)
    match record:
        case KeyRecord():
            yield from _of_key(state, record)
        case TeamRecord():
            yield from _of_team(state, record)
        case UserRecord():
            if record.details.metadata.get("scim_active") is False:
                yield DEACTIVATED


def _of_key(state: State, record: KeyRecord) -> Iterator[str]:
    grant, details = record.grant, record.details
    if grant.team_id is not None and grant.team_id not in state.teams:
        yield NO_TEAM
    if grant.team_id is None and "all-team-models" in grant.models:
        yield NO_TEAM_FOR_SENTINEL
    if details.organization_id or details.project_id or details.agent_id:
        yield ORGANISATION
    if details.config:
        yield CONFIG
    yield from _of_groups(state, grant.groups, grant.models)


def _of_team(state: State, record: TeamRecord) -> Iterator[str]:
    grant = record.grant
    if record.details.organization_id:
        yield ORGANISATION
    yield from _of_groups(state, grant.groups, grant.models)
    targets = grant.model_aliases.values()
    if any(excess(state.catalogue, (target,), grant.models) is not None for target in targets):
        yield ALIAS


def _of_groups(state: State, groups: tuple[str, ...], models: tuple[str, ...]) -> Iterator[str]:
    if groups and not names_something(models):
        yield GROUPS_ALONE
    if any(group not in state.groups for group in groups):
        yield GROUP_UNKNOWN


def _of_list(state: State, models: tuple[str, ...]) -> Iterator[str]:
    patterns = [entry for entry in models if is_pattern(entry)]
    if any(entry.startswith("!") for entry in models):
        yield DENIAL
    if any(not _REGEX.isdisjoint(entry) for entry in patterns):
        yield LITERAL
    if patterns and any(_guessed(state, Pattern(entry), models) for entry in patterns):
        yield PROVIDER


def _guessed(state: State, pattern: Pattern, models: tuple[str, ...]) -> bool:
    """Whether there is a name without a provider that the pattern covers once one is before it."""
    provider, slash, _ = pattern.prefix.partition("/")
    return bool(slash and provider.isidentifier()) and any(
        pattern.matches(f"{provider}/{deployment.name}")
        for deployment in state.catalogue.deployments
        if "/" not in deployment.name
        and not is_pattern(deployment.name)
        and deployment.name not in models
        and frozenset(deployment.access_groups).isdisjoint(models)
    )
