"""One copy of what many keys have in common: half a million keys repeat a few values."""

from sys import intern
from typing import Any

from msgspec.structs import force_setattr

from services.keys.records import KeyRecord

_TEXTS = ("created_by", "updated_by", "organization_id", "project_id", "agent_id")
_LISTS = ("models", "groups", "allowed_routes")
_OBJECTS = ("config", "model_max_budget", "metadata", "permissions", "allowed_cache_controls")
_AT_MOST = 100_000


class Shared:
    """Values that were seen: a record's equal ones are replaced by them."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._lists: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._nothing: dict[type, Any] = {dict: {}, list: []}

    def share(self, record: KeyRecord) -> None:
        """Let a record go on with the copies that are there; it equals what it was.

        Records are never changed, so nor are the empty objects they share.
        """
        grant, details = record.grant, record.details
        for name in _LISTS:
            listed = getattr(grant, name)
            if listed:
                force_setattr(grant, name, self._list(listed))
        for name in ("team_id", "user_id"):
            text = getattr(grant, name)
            if text is not None:
                force_setattr(grant, name, intern(text))
        for name in _TEXTS:
            text = getattr(details, name)
            if text is not None:
                force_setattr(details, name, intern(text))
        for name in _OBJECTS:
            held = getattr(details, name)
            if not held:
                force_setattr(details, name, self._nothing.get(type(held), held))
        if not grant.aliases:
            force_setattr(grant, "aliases", self._nothing[dict])

    def _list(self, listed: tuple[str, ...]) -> tuple[str, ...]:
        found = self._lists.get(listed)
        if found is None:
            if len(self._lists) >= _AT_MOST:
                self._lists.clear()
            found = self._lists[listed] = tuple(map(intern, listed))
        return found
