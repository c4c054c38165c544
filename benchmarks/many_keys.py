"""Half a million keys as an organisation might have them, and the calls a console makes of them."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.keys.records import KeyDetails, KeyRecord, TeamDetails, TeamRecord
from shared.changes import KeyGrant, TeamGrant

NOW = time.time()
"""The keys are the same in every run but for their times: keys goes by the clock, too."""

KEYS_A_TEAM = 10
_ORGANISATIONS = 20
_LISTS = 500
_WORDS = ("prod", "dev", "stage", "search", "billing", "chat", "agent", "eval", "etl", "web")

Query = dict[str, str]


def digest(number: int) -> bytes:
    """The digest of the key of this number."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def key(number: int) -> KeyRecord:
    """One key, the same in every run; one in fifty names a model that is not there."""
    chance = random.Random(number)
    listed = ("gpt-4", f"gone-{number % _LISTS}" if number % 50 == 0 else "gpt-3.5-turbo")
    grant = KeyGrant(
        id=digest(number),
        models=listed,
        team_id=f"team-{number // KEYS_A_TEAM:032d}",
        user_id=f"user-{chance.randrange(50_000):032d}",
        blocked=chance.random() < 0.02,
        expires_at=NOW + chance.uniform(-1e6, 4e6) if chance.random() < 0.5 else None,
    )
    details = KeyDetails(
        key_name=f"sk-...{number % 10_000:04d}",
        created_at=NOW - 1e7 + number,
        updated_at=NOW - chance.uniform(0, 1e7),
        created_by="default_user_id",
        updated_by="default_user_id",
        key_alias=f"{chance.choice(_WORDS)}-{chance.choice(_WORDS)}-{number:06d}",
        organization_id=f"org-{chance.randrange(_ORGANISATIONS)}",
        spend=round(chance.expovariate(0.1), 4) if chance.random() < 0.7 else 0.0,
        max_budget=100.0 if chance.random() < 0.3 else None,
        metadata={"app": f"app-{number % 1000}"},
    )
    return KeyRecord(grant=grant, details=details)


def _team(number: int) -> TeamRecord:
    stamp: dict[str, Any] = {"created_at": 0.0, "updated_at": 0.0}
    stamp |= {"created_by": "bench", "updated_by": "bench"}
    grant = TeamGrant(id=f"team-{number:032d}", alias=f"Team {number}", models=())
    return TeamRecord(grant=grant, details=TeamDetails(**stamp))


def records(keys: int) -> Iterator[KeyRecord | TeamRecord]:
    """The teams, then the keys."""
    yield from map(_team, range(keys // KEYS_A_TEAM))
    yield from map(key, range(keys))


def _pages(keys: int, **query: str) -> Callable[[random.Random], Query]:
    """Any page of a list that has about that many keys."""
    return lambda chance: {**query, "size": "100", "page": str(chance.randrange(keys // 100) + 1)}


def questions(keys: int) -> Mapping[str, tuple[str, Callable[[random.Random], Query]]]:
    """What is called: a path, and what makes a query for it, another each time."""
    org = keys // _ORGANISATIONS
    some_org = {"organization_id": "org-7"}
    found = {
        "key/info": lambda chance: {"key": digest(chance.randrange(keys)).hex()},
        "list: any page": _pages(keys),
        "list: any page, full objects": _pages(keys, return_full_object="true"),
        "list: by spend": _pages(keys, sort_by="spend"),
        "list: by alias, ascending": _pages(keys, sort_by="key_alias", sort_order="asc"),
        "list: of a team": lambda c: {"team_id": f"team-{c.randrange(keys // 10):032d}"},
        "list: of a user": lambda c: {"user_id": f"user-{c.randrange(50_000):032d}"},
        "list: of an organisation": _pages(org, **some_org),
        "list: the same, by spend": _pages(org, **some_org, sort_by="spend"),
        "list: the same, active": _pages(org // 2, **some_org, status="active"),
        "list: active": _pages(keys * 8 // 10, status="active"),
        "list: expired, by spend": _pages(keys // 11, status="expired", sort_by="spend"),
        "list: revoked": _pages(keys // 55, status="revoked"),
        "list: dangling": _pages(keys // 50, dangling="true"),
        "list: dangling, by spend": _pages(keys // 50, dangling="true", sort_by="spend"),
        "list: search, one key": lambda c: {"search": f"-{c.randrange(keys):06d}"},
        "list: search, a word": lambda c: {"search": c.choice(_WORDS)},
        "list: search, a letter": lambda c: {"search": c.choice("abceghinoprt")},
        "aliases: any page": _pages(keys),
        "aliases: search": lambda c: {"search": c.choice(_WORDS) + "-" + c.choice(_WORDS)},
    }
    paths = {"key/info": "/key/info", "list": "/key/list", "aliases": "/key/aliases"}
    return {name: (paths[name.partition(":")[0]], make) for name, make in found.items()}
