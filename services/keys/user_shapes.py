"""What the answers about users look like; see `shapes`."""

from msgspec import UNSET

from services.keys.records import UserFacts, UserRole
from services.keys.shapes import Key, KeyMade, Shape, Warnings
from services.keys.team_shapes import Team


class User(UserFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user with the ids of their teams, without their keys. Times are ISO 8601 in UTC."""

    user_id: str
    models: list[str]
    teams: list[str]
    created_at: str
    updated_at: str
    budget_reset_at: None


class UserMade(User, frozen=True, kw_only=True):
    """A new user without a key."""

    key: None
    warnings: list[str]


class UserMadeWithKey(KeyMade, frozen=True, kw_only=True):
    """A new user with the fields of their key; `key` is its secret, shown nowhere else."""

    user_role: UserRole
    user_email: str | None
    user_alias: str | None
    sso_user_id: str | None
    organizations: list[str] | None
    teams: list[str]


class UserUpdated(Shape, frozen=True, kw_only=True):
    """A user that was changed."""

    user_id: str
    data: User
    warnings: list[str]


class UserResult(Shape, frozen=True, kw_only=True):
    """What became of one user of a bulk update, as the caller named them."""

    user_id: str | None
    user_email: str | None
    success: bool
    error: str | None
    updated_user: User | None


class UsersUpdated(Shape, frozen=True, kw_only=True):
    """What became of each user of a bulk update."""

    results: list[UserResult]
    total_requested: int
    successful_updates: int
    failed_updates: int
    warnings: Warnings = UNSET


class UsersDeleted(Shape, frozen=True, kw_only=True):
    """The users that are no more, and the digests of their keys, which went with them."""

    deleted_users: list[str]
    deleted_keys: list[str]
    warnings: Warnings = UNSET


class UserInfo(Shape, frozen=True, kw_only=True):
    """A user with their keys and teams; null for a key that belongs to no user."""

    user_id: str | None
    user_info: User | None
    keys: list[Key]
    teams: list[Team]


class UserListed(User, frozen=True, kw_only=True):
    """A user of a list."""

    key_count: int


class UserPage(Shape, frozen=True, kw_only=True):
    """A page of users."""

    users: list[UserListed]
    total: int
    page: int
    page_size: int
    total_pages: int
