"""The records as of one revision, in memory, with the indexes that validation needs."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from types import MappingProxyType

import msgspec

from services.keys.key_index import Field, KeyIndex
from services.keys.records import (
    GroupRecord,
    KeyRecord,
    ModelDetails,
    ModelRecord,
    TeamRecord,
    UserRecord,
)
from services.keys.slot_sets import members
from shared.catalogue import Catalogue, Deployment
from shared.changes import GENESIS, RetiredKey, Tombstone

Record = KeyRecord | RetiredKey | TeamRecord | UserRecord | GroupRecord | ModelRecord
Write = Record | Deployment | Tombstone
"""One record as a change writes it: whole, or gone. A bare deployment is one of the config file."""

_REMEMBERED = 10_000


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """A write a caller named, so that it is carried out once: hashes of the name and the body."""

    name: bytes
    body: bytes


class State:
    """A fold of the log's writes. Only `fold` changes it; readers get read-only views."""

    def __init__(self) -> None:
        """Begin before the first change."""
        self.rev = 0
        self.chain = GENESIS
        self._retired: dict[bytes, RetiredKey] = {}
        self._retired_of: dict[bytes, dict[bytes, None]] = {}
        self._teams: dict[str, TeamRecord] = {}
        self._led: dict[str | None, dict[str, None]] = {}
        self._users: dict[str, UserRecord] = {}
        self._groups: dict[str, GroupRecord] = {}
        self._models: dict[str, ModelRecord] = {}
        self._deployments: dict[str, Deployment] = {}
        self._done: OrderedDict[bytes, tuple[Once, int]] = OrderedDict()
        self.index = KeyIndex()
        self.keys = MappingProxyType(self.index.records)
        self.retired = MappingProxyType(self._retired)
        self.teams = MappingProxyType(self._teams)
        self.users = MappingProxyType(self._users)
        self.groups = MappingProxyType(self._groups)
        self.models = MappingProxyType(self._models)
        self.deployments = MappingProxyType(self._deployments)
        self.catalogue = Catalogue()

    def key_by_alias(self, alias: str) -> KeyRecord | None:
        """The key with this alias; aliases are unique."""
        return next(map(self.index.record, self.index.with_alias(alias)), None)

    def keys_of_team(self, team_id: str) -> list[KeyRecord]:
        """The team's keys, oldest first."""
        return self.keys_with("team_id", team_id)

    def keys_of_user(self, user_id: str) -> list[KeyRecord]:
        """The user's keys, with and without a team, oldest first."""
        return self.keys_with("user_id", user_id)

    def keys_with(self, name: Field, value: str) -> list[KeyRecord]:
        """The keys that have a value of a field, oldest first."""
        return [self.index.record(slot) for slot in members(self.index.having(name, value))]

    def led_by(self, user_id: str | None) -> Collection[str]:
        """The teams a user is an admin of."""
        return self._led.get(user_id, {}).keys()

    def retired_of(self, digest: bytes) -> list[RetiredKey]:
        """The old secrets that stand for this key."""
        return [self._retired[old] for old in self._retired_of.get(digest, ())]

    def done(self, once: Once) -> tuple[Once, int] | None:
        """The write of this name that was carried out, and its revision, while remembered."""
        return self._done.get(once.name)

    def records(self) -> Iterator[Record]:
        """Every record, whole: folded into an empty state they make this one again."""
        yield from self._models.values()
        yield from self._groups.values()
        yield from self._users.values()
        yield from self._teams.values()
        yield from self.keys.values()
        yield from self._retired.values()

    def fold(
        self, rev: int, writes: Iterable[Write], chain: bytes = GENESIS, once: Once | None = None
    ) -> None:
        """Take one change's writes in, all of them; `once` names it for `done`."""
        catalogue_changed = False
        for write in writes:
            catalogue_changed |= self._put(write)
        if catalogue_changed:
            self.catalogue = Catalogue(self._deployments.values())
        if once is not None:
            self._done[once.name] = (once, rev)
            if len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
        self.rev = rev
        self.chain = chain

    def _put(self, write: Write) -> bool:
        """Take one write in; True when the catalogue is another now."""
        match write:
            case KeyRecord():
                self._drop_retired(write.grant.id)
                self.index.put(write)
            case RetiredKey():
                self._drop_key(write.id)
                self._retired[write.id] = write
                self._retired_of.setdefault(write.successor, {})[write.id] = None
            case TeamRecord():
                self._lead(write.grant.id, write)
                self._teams[write.grant.id] = write
            case UserRecord():
                self._users[write.grant.id] = write
            case GroupRecord():
                self._groups[write.grant.id] = write
            case ModelRecord():
                self._models[write.grant.id] = write
                self._deployments[write.grant.id] = write.grant
                return True
            case Deployment():
                details = ModelDetails(declared_groups=write.access_groups)
                return self._put(ModelRecord(grant=write, details=details))
            case Tombstone():
                return self._drop(write)
        return False

    def _drop(self, gone: Tombstone) -> bool:
        """Forget a record; True when it was a deployment."""
        match gone.of:
            case "key":
                self._drop_key(gone.id)
            case "team":
                self._lead(gone.id, None)
                self._teams.pop(gone.id, None)
            case "user":
                self._users.pop(gone.id, None)
            case "group":
                self._groups.pop(gone.id, None)
            case "model":
                self._models.pop(gone.id, None)
                return self._deployments.pop(gone.id, None) is not None
        return False

    def _lead(self, team_id: str, new: TeamRecord | None) -> None:
        """Take in who leads a team, before its record becomes the new one."""
        old = self._teams.get(team_id)
        for user_id in _leaders(old) - _leaders(new):
            self._led[user_id].pop(team_id)
            if not self._led[user_id]:
                del self._led[user_id]
        for user_id in _leaders(new) - _leaders(old):
            self._led.setdefault(user_id, {})[team_id] = None

    def _drop_key(self, digest: bytes) -> None:
        self.index.discard(digest)
        self._drop_retired(digest)

    def _drop_retired(self, digest: bytes) -> None:
        old = self._retired.pop(digest, None)
        if old is not None:
            standing = self._retired_of[old.successor]
            standing.pop(digest)
            if not standing:
                del self._retired_of[old.successor]


def _leaders(team: TeamRecord | None) -> frozenset[str | None]:
    """The users whose role is admin; of one who is named twice the first role counts."""
    roles: dict[str | None, str | None] = {}
    for member in () if team is None else team.details.members_with_roles:
        roles.setdefault(member["user_id"], member["role"])
    return frozenset(user_id for user_id, role in roles.items() if role == "admin" and user_id)
