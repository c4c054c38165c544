"""Lists from the indexes are those that a look at every key would give."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from services.keys.key_index import ORDERS
from services.keys.records import KeyDetails, KeyRecord
from services.keys.state import State
from shared.changes import KeyGrant, Tombstone
from tests.unit.management_world import NOW, World

some = st.sampled_from
optional = st.none() | some(["u", "v", "uv"])


@st.composite
def keys(draw):
    number = draw(st.integers(0, 7))
    grant = KeyGrant(
        id=hashlib.sha256(bytes([number])).digest(),
        team_id=draw(st.none() | some(["t1", "t2"])),
        user_id=draw(optional),
        blocked=draw(st.booleans()),
        expires_at=draw(st.none() | some([NOW - 1, NOW, NOW + 1])),
        groups=draw(some([(), ("g",), ("g", "h")])),
    )
    details = KeyDetails(
        key_name="sk-...",
        created_at=draw(st.integers(0, 3)),
        updated_at=0,
        created_by=draw(some(["u", "master_key"])),
        updated_by="x",
        key_alias=draw(st.none() | st.just(f"alias-{number}")),
        organization_id=draw(optional),
        spend=draw(st.integers(0, 2)),
        max_budget=draw(st.none() | st.integers(0, 2)),
    )
    return KeyRecord(grant=grant, details=details)


changes = st.lists(
    keys() | st.builds(lambda k: Tombstone(of="key", id=k.grant.id), keys()), max_size=12
)
queries = st.fixed_dictionaries(
    {"size": some(["1", "3", "100"]), "page": some(["1", "2"])},
    optional={
        "user_id": some(["u", "v"]),
        "team_id": some(["t1", "t2"]),
        "organization_id": some(["u", "v"]),
        "access_group_id": some(["g", "h"]),
        "key_alias": some(["alias-1", "alias"]),
        "substring_matching": some(["true", "false"]),
        "include_created_by_keys": some(["true", "false"]),
        "status": some(["active", "expired", "revoked", "deleted"]),
        "search": some(["alias", "s-3", "6", "zz"]),
        "sort_by": some(sorted(ORDERS)),
        "sort_order": some(["asc", "desc"]),
    },
)


def expected(state, query):
    """What passes, by looking at every key."""

    def equal(value, wanted):
        if value is None:
            return False
        return wanted in value if query.get("substring_matching") == "true" else wanted == value

    def status(record):
        if record.grant.blocked:
            return "revoked"
        at = record.grant.expires_at
        return "expired" if at is not None and at <= NOW else "active"

    def passes(record):
        grant, details = record.grant, record.details
        by_maker = query.get("include_created_by_keys") == "true"
        tests = {
            "user_id": lambda w: equal(grant.user_id, w) or (by_maker and details.created_by == w),
            "team_id": lambda w: grant.team_id == w,
            "organization_id": lambda w: details.organization_id == w,
            "access_group_id": lambda w: w in grant.groups,
            "key_alias": lambda w: equal(details.key_alias, w),
            "status": lambda w: status(record) == w,
            "search": lambda w: w in (details.key_alias or "") or grant.id.hex().startswith(w),
        }
        return all(test(query[name]) for name, test in tests.items() if name in query)

    def order(record):
        value = ORDERS[query.get("sort_by", "created_at")](record)
        return (value is not None, 0 if value is None else value, record.grant.id)

    found = sorted(filter(passes, state.keys.values()), key=order)
    return found if query.get("sort_order") == "asc" else found[::-1]


@settings(max_examples=80)
@given(changes, changes, st.lists(queries, min_size=1, max_size=3))
def test_a_list_is_what_a_look_at_every_key_gives(before, after, asked):
    world = World()
    world.state = State()
    aliases = {}
    for number, group in enumerate((before, after), 1):
        world.state.fold(number, group)
        for query in asked:
            found = expected(world.state, query)
            listed = world.see("/key/list", **query)
            start = (int(query["page"]) - 1) * int(query["size"])
            page = found[start : start + int(query["size"])]
            assert listed["keys"] == [record.grant.id.hex() for record in page]
            assert listed["total_count"] == len(found)
        aliases = {r.details.key_alias for r in world.state.keys.values()} - {None}
        assert world.see("/key/aliases", size="100")["aliases"] == sorted(aliases)
