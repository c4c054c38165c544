"""The grant table: every key, team and deployment a decision needs, as of one revision."""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from weakref import WeakValueDictionary

import msgspec

from services.policy.coverage import GrantList
from shared.catalogue import Catalogue, Deployment
from shared.changes import (
    GENESIS,
    Change,
    GroupGrant,
    KeyGrant,
    Mutation,
    RetiredKey,
    TeamGrant,
    Tombstone,
    UserGrant,
    decode_mutations,
    link,
    record_of,
)

_NO_ALIASES: Mapping[str, str] = MappingProxyType({})
_NO_MEMBERS: Mapping[str, GrantList] = MappingProxyType({})

_MEMO_LIMIT = 10_000
"""Lists put together from a list and its groups that are remembered."""


class Gap(Exception):
    """A change arrived before the one that must come first."""


class Forked(Exception):
    """A change does not continue this table's history."""


class KeyEntry(msgspec.Struct, frozen=True, gc=False):
    """A key in the table. A million of them are held: lists and team ids are shared, not copied.

    `gc=False`: nothing an entry refers to refers back to it.
    """

    grants: GrantList
    team_id: str | None
    blocked: bool
    expires_at: float | None
    user_id: str | None
    extras: "KeyExtras | None"


class KeyExtras(msgspec.Struct, frozen=True, gc=False):
    """What few keys have."""

    aliases: Mapping[str, str]
    allowed_routes: tuple[str, ...]
    groups: tuple[str, ...]


class RetiredEntry(msgspec.Struct, frozen=True, gc=False):
    """A regenerated key's old secret: it stands for `successor` before `until`."""

    successor: bytes
    until: float


class TeamEntry(msgspec.Struct, frozen=True):
    """A team in the table."""

    id: str
    label: str
    grants: GrantList
    blocked: bool
    aliases: Mapping[str, str]
    groups: tuple[str, ...]
    members: Mapping[str, GrantList]


class GrantTable:
    """A fold of the log's decision parts: always a prefix of the log, never half a change."""

    def __init__(self) -> None:
        """Begin before the first change, with nothing granted."""
        self.rev = 0
        self.chain = GENESIS
        self.catalogue = Catalogue()
        self.unreadable: set[tuple[str, str | bytes]] = set()
        """Records whose newest state this version cannot read: not known, so not answered."""
        self._keys: dict[bytes, KeyEntry] = {}
        self._retired: dict[bytes, RetiredEntry] = {}
        self._teams: dict[str, TeamEntry] = {}
        self._users: dict[str, GrantList] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._with_groups: dict[tuple[tuple[str, ...], tuple[str, ...]], GrantList] = {}
        self._deployments: dict[str, Deployment] = {}
        self._lists: WeakValueDictionary[tuple[str, ...], GrantList] = WeakValueDictionary()

    def key(self, digest: bytes) -> KeyEntry | None:
        """The key with this digest."""
        return self._keys.get(digest)

    def retired(self, digest: bytes) -> RetiredEntry | None:
        """What a regenerated key's old secret stands for."""
        return self._retired.get(digest)

    def team(self, team_id: str) -> TeamEntry | None:
        """The team with this id."""
        return self._teams.get(team_id)

    def user(self, user_id: str) -> GrantList | None:
        """The list of the user with this id; None when there is no such user."""
        return self._users.get(user_id)

    def with_groups(self, grants: GrantList, groups: tuple[str, ...]) -> GrantList:
        """A list extended by what unified groups hold; alone, they are all it allows.

        A group that does not exist adds nothing, and still makes the list non-empty.
        """
        if not groups:
            return grants
        found = self._with_groups.get((grants.entries, groups))
        if found is None:
            added = (entry for group in groups for entry in self._groups.get(group, ()))
            entries = tuple(dict.fromkeys((*grants.entries, *added)))
            if all(entry.startswith("!") for entry in entries):
                entries = (*entries, "no-default-models")
            if len(self._with_groups) >= _MEMO_LIMIT:
                self._with_groups.clear()
            found = self._with_groups[grants.entries, groups] = self._list(entries)
        return found

    def sizes(self) -> dict[str, int]:
        """How many keys, teams, deployments and distinct lists the table holds."""
        return {
            "keys": len(self._keys),
            "retired": len(self._retired),
            "teams": len(self._teams),
            "users": len(self._users),
            "groups": len(self._groups),
            "deployments": len(self._deployments),
            "lists": len(self._lists),
        }

    def apply(self, change: Change) -> bool:
        """Take the next change in, whole; False when it is old news.

        Raises Gap when changes before it are missing, Forked when its chain value does not
        follow from this table's, Unreadable when not even its records can be named. The table
        is untouched then.
        """
        if change.rev <= self.rev:
            return False
        if change.rev != self.rev + 1:
            msg = f"have revision {self.rev}, got {change.rev}"
            raise Gap(msg)
        if link(self.chain, change.rev, change.decision, change.rest_hash) != change.chain:
            msg = f"revision {change.rev} does not continue the history of revision {self.rev}"
            raise Forked(msg)
        mutations, unreadable = decode_mutations(change.decision)
        self._fold(mutations)
        self.unreadable.update(unreadable)
        self.rev = change.rev
        self.chain = change.chain
        return True

    def fill(
        self, mutations: tuple[Mutation, ...], unreadable: tuple[tuple[str, str | bytes], ...]
    ) -> None:
        """Take a piece of a whole table in; `begin_at` says of which revision it was."""
        self._fold(mutations)
        self.unreadable.update(unreadable)

    def begin_at(self, rev: int, chain: bytes) -> None:
        """Stand at this revision from now on: everything of it was filled in."""
        self.rev = rev
        self.chain = chain

    def _fold(self, mutations: tuple[Mutation, ...]) -> None:
        catalogue_changed = False
        for mutation in mutations:
            catalogue_changed |= self._put(mutation)
        if self.unreadable:
            self.unreadable.difference_update(map(record_of, mutations))
        if catalogue_changed:
            self.catalogue = Catalogue(self._deployments.values())

    def _put(self, mutation: Mutation) -> bool:
        """Take one record's new state in; True when the catalogue is another now."""
        match mutation:
            case KeyGrant():
                self._put_key(mutation)
            case RetiredKey():
                self._keys.pop(mutation.id, None)
                self._retired[mutation.id] = RetiredEntry(mutation.successor, mutation.until)
            case TeamGrant():
                self._put_team(mutation)
            case UserGrant():
                self._users[sys.intern(mutation.id)] = self._list(mutation.models)
            case GroupGrant():
                self._groups[mutation.id] = mutation.models
                self._with_groups.clear()
            case Deployment():
                self._deployments[mutation.id] = mutation
                return True
            case Tombstone():
                return self._drop(mutation)
        return False

    def _drop(self, gone: Tombstone) -> bool:
        """Forget a record; True when it was a deployment."""
        match gone.of:
            case "key":
                self._keys.pop(gone.id, None)
                self._retired.pop(gone.id, None)
            case "team":
                self._teams.pop(gone.id, None)
            case "user":
                self._users.pop(gone.id, None)
            case "group":
                self._groups.pop(gone.id, None)
                self._with_groups.clear()
            case "model":
                return self._deployments.pop(gone.id, None) is not None
        return False

    def _put_key(self, grant: KeyGrant) -> None:
        extras = None
        if grant.aliases or grant.allowed_routes or grant.groups:
            extras = KeyExtras(grant.aliases, grant.allowed_routes, grant.groups)
        team = None if grant.team_id is None else self._teams.get(grant.team_id)
        team_id = grant.team_id if team is None else team.id
        # One copy of a user's id for all their keys.
        user_id = None if grant.user_id is None else sys.intern(grant.user_id)
        self._retired.pop(grant.id, None)
        self._keys[grant.id] = KeyEntry(
            self._list(grant.models), team_id, grant.blocked, grant.expires_at, user_id, extras
        )

    def _put_team(self, grant: TeamGrant) -> None:
        self._teams[grant.id] = TeamEntry(
            id=grant.id,
            label=grant.alias or grant.id,
            grants=self._list(grant.models),
            blocked=grant.blocked,
            aliases=grant.model_aliases or _NO_ALIASES,
            groups=grant.groups,
            members={u: self._list(models) for u, models in grant.member_models.items()}
            or _NO_MEMBERS,
        )

    def _list(self, models: tuple[str, ...]) -> GrantList:
        found = self._lists.get(models)
        if found is None:
            found = self._lists[models] = GrantList(models)
        return found
