"""Which lists bind a key, and whether what is put into one is within those of its maker."""

from services.keys.callers import Caller, role_in
from services.keys.errors import Forbidden
from services.keys.giving import NO_LIST, effective, excess, names_something
from services.keys.records import KeyRecord, TeamRecord
from services.keys.state import State


def check_models_given(state: State, caller: Caller, new: KeyRecord) -> None:
    """The subset check: what is given must be within every list of the maker. Raises Forbidden."""
    team = None if new.grant.team_id is None else state.teams.get(new.grant.team_id)
    of_team = () if team is None else effective(state, team.grant.models, team.grant.groups)
    wanted = effective(state, new.grant.models, new.grant.groups)
    if "all-team-models" in wanted and team is not None:
        others = [e for e in wanted if e != "all-team-models"]
        if not names_something(of_team):
            others = [e for e in others if e.startswith("!")]
        wanted = (*others, *of_team)
    limits = [
        *_lists_of_caller(state, caller, new.grant.team_id),
        *_list_of_maker(caller, team, new),
    ]
    if names_something(wanted):
        # An empty list need not be within these: they bind the key whenever it is used.
        limits += _lists_in_use(state, caller, team, new)
    for whose, limit in limits:
        entry = excess(state.catalogue, wanted, limit)
        if entry is not None:
            what = "an empty list" if entry == NO_LIST else repr(entry)
            msg = f"models: {what} allows more than {whose} may give: {list(limit)[:20]}"
            raise Forbidden(msg, "models")


_Limits = list[tuple[str, tuple[str, ...]]]
"""Whose list, in words for a refusal, and the list."""


def _list_of_maker(caller: Caller, team: TeamRecord | None, new: KeyRecord) -> _Limits:
    """What binds a member of the team who makes a key that is not theirs: nothing will later."""
    if team is None or new.grant.user_id == caller.user_id:
        return []
    makers = team.grant.member_models.get(caller.user_id or "")
    if makers is None or role_in(team, caller.user_id) == "admin":
        return []
    return [("you as a member of the team", makers)]


def _lists_in_use(state: State, caller: Caller, team: TeamRecord | None, new: KeyRecord) -> _Limits:
    """What will bind the key itself when it is used, beside its own list."""
    if team is not None:
        of_team = effective(state, team.grant.models, team.grant.groups)
        member = team.grant.member_models.get(new.grant.user_id or "")
        return [("the team", of_team), *([] if member is None else [("the member", member)])]
    if caller.user_id is not None and caller.user_id in state.users:
        return [("you", state.users[caller.user_id].grant.models)]
    return []


def _lists_of_caller(state: State, caller: Caller, team_id: str | None) -> _Limits:
    """What binds the calling key itself, but for the list of the team it makes a key for."""
    return [] if caller.key is None else _lists_of(state, caller.key, team_id)


def _lists_of(state: State, key: KeyRecord, without: str | None) -> _Limits:
    grant = key.grant
    team = None if grant.team_id is None else state.teams.get(grant.team_id)
    own = effective(state, grant.models, grant.groups)
    if "all-team-models" in own:
        denials = tuple(e for e in own if e.startswith("!"))
        own = ("no-default-models",) if team is None else denials
    limits = [("the calling key", own)]
    if team is not None and grant.team_id != without:
        of_team = effective(state, team.grant.models, team.grant.groups)
        limits.append(("the calling key's team", of_team))
        member = team.grant.member_models.get(grant.user_id or "")
        if member is not None:
            limits.append(("the calling key's user in its team", member))
    return limits


def lists_of_key(state: State, key: KeyRecord) -> list[tuple[str, ...]]:
    """Every list that binds a key when it is used."""
    grant = key.grant
    lists = [entries for _, entries in _lists_of(state, key, None)]
    user = None if grant.user_id is None else state.users.get(grant.user_id)
    if grant.team_id is None and user is not None:
        lists.append(user.grant.models)
    return lists
