"""What the answers about teams look like; see `shapes`."""

from msgspec import UNSET

from services.keys.records import Membership, TeamFacts
from services.keys.shapes import Key, Shape, Warnings


class Team(TeamFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A team, without its keys. Times are ISO 8601 in UTC."""

    team_id: str
    team_alias: str | None
    models: list[str]
    blocked: bool
    model_aliases: dict[str, str]
    access_group_ids: list[str]
    created_at: str
    updated_at: str
    budget_reset_at: None


class TeamWritten(Team, frozen=True, kw_only=True):
    """A team that was made or changed."""

    warnings: Warnings = UNSET


class TeamUpdated(Shape, frozen=True, kw_only=True):
    """A team that was changed."""

    team_id: str
    data: Team
    warnings: list[str]


class TeamsDeleted(Shape, frozen=True, kw_only=True):
    """The teams that are no more, and the digests of their keys, which went with them."""

    deleted_teams: list[str]
    deleted_keys: list[str]
    warnings: Warnings = UNSET


class MemberBudget(Shape, frozen=True, kw_only=True):
    """A member's limits, where LiteLLM's clients look for them."""

    max_budget: float | None
    budget_duration: str | None
    tpm_limit: int | None
    rpm_limit: int | None


class TeamMember(Membership, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of a team; `allowed_models` is null when they have no list of their own."""

    user_id: str
    team_id: str
    role: str
    allowed_models: list[str] | None
    spend: float
    litellm_budget_table: MemberBudget


class MemberUpdated(TeamMember, frozen=True, kw_only=True):
    """A member that was changed."""

    user_email: str | None
    warnings: list[str]


class MemberName(Shape, frozen=True, kw_only=True):
    """A user, by id."""

    user_id: str


class MembersAdded(Team, frozen=True, kw_only=True):
    """A team with its new members."""

    updated_users: list[MemberName]
    updated_team_memberships: list[TeamMember]
    warnings: list[str]


class MemberAdded(Shape, frozen=True, kw_only=True):
    """What became of one user of a bulk call: all are added, or none is."""

    user_id: str
    user_email: str | None
    success: bool
    error: None


class MembersAddedInBulk(MembersAdded, frozen=True, kw_only=True):
    """A team with its new members, counted."""

    results: list[MemberAdded]
    updated_team: Team
    total_requested: int
    successful_additions: int
    failed_additions: int


class EditAccess(Shape, frozen=True, kw_only=True):
    """LiteLLM's word for what the caller may change of a team itself."""

    kind: str


class TeamSeen(Team, frozen=True, kw_only=True):
    """A team, with what its groups let it call and what the caller may change."""

    access_group_models: list[str]
    caller_edit_access: EditAccess


class TeamInfo(Shape, frozen=True, kw_only=True):
    """A team with its keys and its members."""

    team_id: str
    team_info: TeamSeen
    keys: list[Key]
    team_memberships: list[TeamMember]


class TeamListed(Team, frozen=True, kw_only=True):
    """A team of a list, with its keys and members."""

    keys: list[Key]
    team_memberships: list[TeamMember]


class TeamPage(Shape, frozen=True, kw_only=True):
    """A page of teams."""

    teams: list[Team]
    total: int
    page: int
    page_size: int
    total_pages: int


class MemberPermissions(Shape, frozen=True, kw_only=True):
    """What a team's members may do with its keys, and what they could be permitted."""

    team_id: str
    team_member_permissions: list[str]
    all_available_permissions: list[str]
