"""The decision: one pure function, used by enforcement, listing and explanation alike."""

from services.policy.coverage import Covered, GrantList
from services.policy.table import GrantTable, KeyEntry, TeamEntry
from shared.allowed_routes import route_allowed
from shared.catalogue import Deployment
from shared.decisions import (
    ENTRIES_SHOWN,
    MASTER,
    MAX_MODEL_NAME,
    Allow,
    Deny,
    DenyReason,
    ListQuestion,
    Question,
    trimmed,
)

_NO_LIST = GrantList(())


class NotKnown(Exception):
    """The table cannot say: a record this question depends on is unreadable here."""


def decide(table: GrantTable, question: Question | ListQuestion, now: float) -> Allow | Deny:
    """May this key call this model on this route, as of the table's revision?

    `now` is epoch seconds. The checks run in a fixed order and the first that fails gives the
    reason; a ListQuestion is checked for its account and route alone. Raises NotKnown.
    """
    if table.unreadable:
        _refuse_to_guess(table, question)
    model = question.model if isinstance(question, Question) else None
    name = None if model is None else trimmed(model)
    if question.key == MASTER:
        return _decide_master(table, name)
    key, retires_at = table.key(question.key), None
    if key is None:
        retired = table.retired(question.key)
        if retired is not None:
            key, retires_at = table.key(retired.successor), retired.until
        if key is None:
            return Deny(table.rev, DenyReason.KEY_UNKNOWN)
    team = None if key.team_id is None else table.team(key.team_id)
    reason = _account_problem(key, team, now, retires_at)
    if reason is not None:
        return Deny(table.rev, reason, team=key.team_id)
    if key.extras is not None and not route_allowed(key.extras.allowed_routes, question.route):
        routes = key.extras.allowed_routes
        return _deny(table, DenyReason.ROUTE_NOT_ALLOWED, "", routes, team)
    if name is None:
        return Allow(table.rev, team=key.team_id, retires_at=retires_at)
    if _is_bad(name):
        return Deny(table.rev, DenyReason.BAD_MODEL_NAME, team=key.team_id)
    return _decide_model(table, key, team, _target(name, key, team), retires_at)


def decide_in_team(table: GrantTable, team: TeamEntry, model: str) -> Allow | Deny:
    """The decision for a key of this team that has no list of its own: the team's list alone."""
    if team.blocked:
        return Deny(table.rev, DenyReason.TEAM_BLOCKED, team=team.id)
    name = trimmed(model)
    if _is_bad(name):
        return Deny(table.rev, DenyReason.BAD_MODEL_NAME, team=team.id)
    key = KeyEntry(_NO_LIST, team.id, False, None, None, None)
    return _decide_model(table, key, team, _target(name, key, team), None)


def key_of(table: GrantTable, digest: bytes) -> KeyEntry | None:
    """The key a secret's digest stands for, also when it is one from before it was regenerated."""
    key = table.key(digest)
    if key is None:
        retired = table.retired(digest)
        key = None if retired is None else table.key(retired.successor)
    return key


def lists_of(table: GrantTable, key: KeyEntry, team: TeamEntry | None) -> list[GrantList]:
    """Every list that binds a key; a model must pass them all."""
    lists = [_key_list(table, key)]
    if team is not None:
        lists.append(_team_list(table, team))
        member = None if key.user_id is None else team.members.get(key.user_id)
        if member is not None:
            lists.append(member)
    elif key.user_id is not None:
        user = table.user(key.user_id)
        if user is not None:
            lists.append(user)
    return lists


def _refuse_to_guess(table: GrantTable, question: Question | ListQuestion) -> None:
    """An unreadable deployment could serve any name; any other record only its own questions."""
    key = key_of(table, question.key)
    options = question.options if isinstance(question, ListQuestion) else None
    team_ids = [team_id for team_id in (key and key.team_id, options and options.team) if team_id]
    depends_on: list[tuple[str, str | bytes | None]] = [("key", question.key)]
    retired = table.retired(question.key)
    if retired is not None:
        depends_on.append(("key", retired.successor))
    if key is not None:
        depends_on.append(("user", key.user_id))
    groups = [*(key.extras.groups if key and key.extras else ())]
    for team_id in team_ids:
        team = table.team(team_id)
        groups += team.groups if team else ()
        depends_on.append(("team", team_id))
    depends_on += [("group", group) for group in groups]
    if not table.unreadable.isdisjoint(depends_on):
        raise NotKnown
    if any(kind == "model" for kind, _ in table.unreadable):
        raise NotKnown


def _decide_master(table: GrantTable, name: str | None) -> Allow | Deny:
    """The master key passes the lists for every name that is served, and for no other."""
    if name is None:
        return Allow(table.rev)
    if _is_bad(name):
        return Deny(table.rev, DenyReason.BAD_MODEL_NAME)
    return _dispatch(table, name, table.catalogue.serving(name), None, None)


def _account_problem(
    key: KeyEntry, team: TeamEntry | None, now: float, retires_at: float | None
) -> DenyReason | None:
    if key.blocked:
        return DenyReason.KEY_BLOCKED
    if key.expires_at is not None and key.expires_at <= now:
        return DenyReason.KEY_EXPIRED
    if retires_at is not None and retires_at <= now:
        return DenyReason.KEY_EXPIRED
    if key.team_id is not None:
        if team is None:
            return DenyReason.TEAM_UNKNOWN
        if team.blocked:
            return DenyReason.TEAM_BLOCKED
    return None


def _is_bad(name: str) -> bool:
    return (
        not name
        or len(name) > MAX_MODEL_NAME
        or "*" in name
        or (not name.isprintable() and any(ch < " " or "\x7f" <= ch < "\xa0" for ch in name))
    )


def _target(name: str, key: KeyEntry, team: TeamEntry | None) -> str:
    """One team-alias hop, then one key-alias hop: what is checked is what is dispatched."""
    if team is not None:
        name = team.aliases.get(name, name)
    if key.extras is not None:
        name = key.extras.aliases.get(name, name)
    return name


def _key_list(table: GrantTable, key: KeyEntry) -> GrantList:
    return key.grants if key.extras is None else table.with_groups(key.grants, key.extras.groups)


def _team_list(table: GrantTable, team: TeamEntry) -> GrantList:
    return table.with_groups(team.grants, team.groups) if team.groups else team.grants


def _decide_model(
    table: GrantTable,
    key: KeyEntry,
    team: TeamEntry | None,
    model: str,
    retires_at: float | None,
) -> Allow | Deny:
    """The key's list and the team's and member's, or the user's, must all cover the model."""
    grants = _key_list(table, key)
    granted = grants.cover(model, table.catalogue)
    if granted is None or (team is None and grants.has_team_models):
        reason = DenyReason.KEY_MODEL_NOT_ALLOWED
        return _deny(table, reason, model, grants.entries, team)
    if team is not None:
        grants = _team_list(table, team)
        granted = _narrowed(granted, grants.cover(model, table.catalogue))
        if granted is None:
            reason = DenyReason.TEAM_MODEL_NOT_ALLOWED
            return _deny(table, reason, model, grants.entries, team)
        member = None if key.user_id is None else team.members.get(key.user_id)
        if member is not None:
            granted = _narrowed(granted, member.cover(model, table.catalogue))
            if granted is None:
                reason = DenyReason.MEMBER_MODEL_NOT_ALLOWED
                return _deny(table, reason, model, member.entries, team)
    elif key.user_id is not None:
        user = table.user(key.user_id)
        if user is not None:
            granted = _narrowed(granted, user.cover(model, table.catalogue))
            if granted is None or user.has_team_models:
                reason = DenyReason.USER_MODEL_NOT_ALLOWED
                return _deny(table, reason, model, user.entries, team)
    return _dispatch(table, model, granted, key.team_id, retires_at)


def _narrowed(granted: tuple[Deployment, ...], covered: Covered) -> Covered:
    """What a further list leaves of what is granted; None when it refuses the model."""
    if covered is granted or covered is None:
        return covered
    both = tuple(d for d in granted if d in covered)
    return both if both or not granted else None


def _dispatch(
    table: GrantTable,
    model: str,
    granted: tuple[Deployment, ...],
    team_id: str | None,
    retires_at: float | None,
) -> Allow | Deny:
    """Every list has passed: is there anything to send the request to?"""
    # An alias may lead to a pattern's own name, which a list can cover but nothing serves.
    if not granted or "*" in model:
        return Deny(table.rev, DenyReason.MODEL_UNKNOWN, model, team=team_id)
    refs = tuple([d.ref for d in granted if not d.blocked])
    if not refs:
        return Deny(table.rev, DenyReason.MODEL_BLOCKED, model, team=team_id)
    return Allow(table.rev, model, refs, team_id, retires_at)


def _deny(
    table: GrantTable,
    reason: DenyReason,
    model: str,
    entries: tuple[str, ...],
    team: TeamEntry | None,
) -> Deny:
    """A denial with what its message needs: the list that refused, cut."""
    team_id, label = (None, None) if team is None else (team.id, team.label)
    shown = entries[:ENTRIES_SHOWN]
    return Deny(table.rev, reason, model, shown, len(entries), team_id, label)
