"""Keys and teams as LiteLLM shows them: one row each."""

from collections.abc import Iterable

import msgspec

from services.keys.durations import iso_utc
from services.keys.management import Answer
from services.keys.records import KeyRecord, Membership, TeamRecord, UserRecord


def key_status(record: KeyRecord, now: float) -> str:
    """Give LiteLLM's word for a key's state: `revoked` is a blocked one."""
    if record.grant.blocked:
        return "revoked"
    expires_at = record.grant.expires_at
    return "expired" if expires_at is not None and expires_at <= now else "active"


def key_row(record: KeyRecord, now: float) -> Answer:
    """Render a key, with its digest and never its secret."""
    grant, details = record.grant, record.details
    row: Answer = {"token": grant.id.hex()}
    row.update(msgspec.structs.asdict(details))
    del row["blocked_is_set"], row["acts_for_user"]
    is_null = not grant.blocked and not details.blocked_is_set
    row.update(
        models=list(grant.models),
        team_id=grant.team_id,
        user_id=grant.user_id,
        access_group_ids=list(grant.groups),
        blocked=None if is_null else grant.blocked,
        expires=None if grant.expires_at is None else iso_utc(grant.expires_at),
        aliases=grant.aliases,
        allowed_routes=list(grant.allowed_routes),
        created_at=iso_utc(details.created_at),
        updated_at=iso_utc(details.updated_at),
        budget_reset_at=None,
        litellm_budget_table=None,
        status=key_status(record, now),
    )
    return row


def team_row(record: TeamRecord) -> Answer:
    """Render a team, without its keys."""
    grant, details = record.grant, record.details
    row: Answer = {"team_id": grant.id, "team_alias": grant.alias}
    row.update(msgspec.structs.asdict(details))
    del row["memberships"]
    row.update(
        models=list(grant.models),
        blocked=grant.blocked,
        model_aliases=grant.model_aliases,
        access_group_ids=list(grant.groups),
        created_at=iso_utc(details.created_at),
        updated_at=iso_utc(details.updated_at),
        budget_reset_at=None,
    )
    return row


def membership_rows(record: TeamRecord) -> list[Answer]:
    """Render what is kept of each member of a team, in the order of the members."""
    rows: list[Answer] = []
    for member in record.details.members_with_roles:
        user_id = member["user_id"]
        if user_id is None:
            continue
        stored = record.details.memberships.get(user_id, Membership())
        models = record.grant.member_models.get(user_id)
        rows.append(
            {
                "user_id": user_id,
                "team_id": record.grant.id,
                "role": member["role"],
                "allowed_models": None if models is None else list(models),
                "spend": 0.0,
                **msgspec.structs.asdict(stored),
                "litellm_budget_table": {
                    "max_budget": stored.max_budget_in_team,
                    "budget_duration": stored.budget_duration,
                    "tpm_limit": stored.tpm_limit,
                    "rpm_limit": stored.rpm_limit,
                },
            }
        )
    return rows


def user_row(record: UserRecord, teams: Iterable[str]) -> Answer:
    """Render a user with the ids of their teams, without their keys."""
    row: Answer = {"user_id": record.grant.id}
    row.update(msgspec.structs.asdict(record.details))
    row.update(
        models=list(record.grant.models),
        teams=list(teams),
        created_at=iso_utc(record.details.created_at),
        updated_at=iso_utc(record.details.updated_at),
        budget_reset_at=None,
    )
    return row
