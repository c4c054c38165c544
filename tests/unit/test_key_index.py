"""Lists from the indexes are those that a look at every key would give."""

import hashlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.keys import key_filters, key_index, key_order, key_search, slot_sets
from services.keys.key_index import ORDERS
from services.keys.key_order import Order
from services.keys.key_search import Aliases
from services.keys.records import GroupDetails, GroupRecord, KeyDetails, KeyRecord
from shared.catalogue import Deployment
from shared.changes import GroupGrant, KeyGrant, Tombstone
from shared.credentials import Secret
from tests.unit.management_world import NOW, World

STAMP = {"created_at": 0.0, "updated_at": 0.0, "created_by": "x", "updated_by": "x"}
CALLER = KeyRecord(
    grant=KeyGrant(id=Secret("sk-of-u").digest(), user_id="u"),
    details=KeyDetails(key_name="sk-...of-u", **STAMP),
)

OPTIONAL = [None, "u", "v", "uv"]
some = st.sampled_from


@pytest.fixture(params=["few keys", "many keys"], autouse=True)
def thresholds(request, monkeypatch):
    """Everything once more as it is with half a million keys, with a dozen."""
    if request.param == "many keys":
        monkeypatch.setattr(key_filters, "_FEW", 2)
        monkeypatch.setattr(key_filters, "_LOOKED_AT", 1)
        monkeypatch.setattr(key_filters, "_PAGES", 1)
        monkeypatch.setattr(key_order, "_RUN", 2)
        monkeypatch.setattr(key_search, "_PIECE", 3)
        monkeypatch.setattr(key_search, "_HITS", 1)
        monkeypatch.setattr(key_index, "_DEAD", 2)
        monkeypatch.setattr(slot_sets, "MANY", 2)


def key(number, variant):
    """One of many states of one of a few keys."""
    pick = random.Random(f"{number}/{variant}").choice
    grant = KeyGrant(
        id=hashlib.sha256(bytes([number])).digest(),
        models=pick([(), ("gpt-4",), ("gpt-4", "gone"), ("openai/x-*",), ("!other/*",)]),
        team_id=pick([None, "led", "t2"]),
        user_id=pick(OPTIONAL),
        blocked=pick([True, False, False]),
        expires_at=pick([None, NOW - 1, NOW, NOW + 1]),
        groups=pick([(), ("g",), ("g", "h"), ("h", "h")]),
    )
    details = KeyDetails(
        key_name="sk-...",
        created_at=pick([0.0, 1.0, 2.0]),
        updated_at=pick([0.0, 1.0]),
        created_by=pick(["u", "master_key"]),
        updated_by="x",
        key_alias=pick([None, f"alias-{number}", f"other/{number}"]),
        organization_id=pick(OPTIONAL),
        project_id=pick(OPTIONAL),
        agent_id=pick(OPTIONAL),
        spend=pick([0.0, 1.0, 2.5]),
        max_budget=pick([None, 0.0, 1.0]),
    )
    return KeyRecord(grant=grant, details=details)


def gone(number):
    return Tombstone(of="key", id=key(number, 0).grant.id)


numbers = st.integers(0, 7)
changes = st.lists(
    st.builds(key, numbers, st.integers(0, 999)) | st.builds(gone, numbers), max_size=12
)
pages = {"size": some(["1", "3", "100"]), "page": some(["1", "2", "4"])}
orders = {"sort_by": some(sorted(ORDERS)), "sort_order": some(["asc", "desc"])}
filters = {
    "user_id": some(["u", "v"]),
    "team_id": some(["led", "t2"]),
    "organization_id": some(["u", "v"]),
    "project_id": some(["u", "v"]),
    "agent_id": some(["u", "v"]),
    "access_group_id": some(["g", "h"]),
    "key_hash": some([hashlib.sha256(bytes([n])).hexdigest() for n in range(3)]),
    "key_alias": some(["alias-1", "alias", ""]),
    "substring_matching": some(["true", "false"]),
    "include_created_by_keys": some(["true", "false"]),
    "include_team_keys": some(["true", "false"]),
    "status": some(["active", "expired", "revoked", "deleted"]),
    "expires": some(["active", "expired"]),
    "search": some(["alias", "s-3", "6", "zz", "", "1\nalias"]),
    "dangling": some(["true", "false"]),
}
queries = st.lists(some(sorted(filters)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries(
        {**pages, **{name: filters[name] for name in names}}, optional=orders
    )
)


def is_past(record, now):
    at = record.grant.expires_at
    return at is not None and at <= now


def status(record, now):
    if record.grant.blocked:
        return "revoked"
    return "expired" if is_past(record, now) else "active"


def dangles(record, state):
    unknown = {"gone", "!other/*"}
    if any(deployment.name == "other/model" for deployment in state.deployments.values()):
        unknown.remove("!other/*")
    grant = record.grant
    return bool(unknown & {*grant.models}) or any(g not in state.groups for g in grant.groups)


def is_led(record, user_id):
    return user_id == "u" and record.grant.team_id == "led"


def passes(record, query, state, now):
    grant, details = record.grant, record.details
    is_part = query.get("substring_matching") == "true"

    def equal(value, wanted):
        return value is not None and (wanted in value if is_part else wanted == value)

    def of_user(wanted):
        return (
            equal(grant.user_id, wanted)
            or (query.get("include_created_by_keys") == "true" and details.created_by == wanted)
            or (query.get("include_team_keys") == "true" and is_led(record, wanted))
        )

    def found(wanted):
        alias = details.key_alias
        is_digest = wanted != "" and grant.id.hex().startswith(wanted)
        return (alias is not None and wanted in alias) or is_digest

    tests = {
        "user_id": of_user,
        "team_id": lambda w: grant.team_id == w,
        "organization_id": lambda w: details.organization_id == w,
        "project_id": lambda w: details.project_id == w,
        "agent_id": lambda w: details.agent_id == w,
        "access_group_id": lambda w: w in grant.groups,
        "key_hash": lambda w: grant.id.hex() == w,
        "key_alias": lambda w: equal(details.key_alias, w),
        "expires": lambda w: (w == "expired") == is_past(record, now),
        "status": lambda w: status(record, now) == w,
        "search": found,
        "dangling": lambda w: w == "false" or dangles(record, state),
    }
    return all(test(query[name]) for name, test in tests.items() if query.get(name))


def expected(world, query, *, by):
    """What passes, by looking at every key: of equal ones the oldest comes first."""
    state, records = world.state, world.state.keys.values()
    if by is not None:
        records = [r for r in records if r.grant.user_id == "u" or is_led(r, "u")]
    found = [record for record in records if passes(record, query, state, world.now)]

    def order(record):
        name = query.get("sort_by", "created_at")
        value = {"token": record.grant.id, "expires": record.grant.expires_at}.get(name)
        value = getattr(record.details, name, value)
        return (value is not None, 0 if value is None else value)

    found.sort(key=order)
    return found if query.get("sort_order") == "asc" else found[::-1]


def page(found, query):
    start = (int(query["page"]) - 1) * int(query["size"])
    return found[start : start + int(query["size"])]


def check_lists(world, query, *, by):
    found = expected(world, query, by=by)
    listed = world.see("/key/list", by=by, **query)
    assert listed["keys"] == [record.grant.id.hex() for record in page(found, query)]
    assert listed["total_count"] == len(found)
    part = {"search": query["search"]} if "search" in query else {}
    records = expected(world, {}, by=by)
    aliases = sorted(
        r.details.key_alias
        for r in records
        if r.details.key_alias and part.get("search", "") in r.details.key_alias
    )
    at = {name: query[name] for name in pages}
    listed = world.see("/key/aliases", by=by, **at, **part)
    assert listed["aliases"] == page(aliases, at)
    assert listed["total_count"] == len(aliases)


@settings(max_examples=70, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(changes, min_size=2, max_size=4),
    st.lists(st.tuples(queries, st.integers(-2, 2)), min_size=1, max_size=3),
    st.booleans(),
)
def test_a_list_is_what_a_look_at_every_key_gives(steps, asked, is_master):
    world = World()
    leader = [{"role": "admin", "user_id": "u"}]
    world.do("team/new", team_id="led", members_with_roles=leader)
    world.do("user/new", user_id="u", auto_create_key=False)
    group = GroupRecord(grant=GroupGrant(id="g"), details=GroupDetails(name="g", **STAMP))
    rev = world.state.rev
    world.state.fold(rev + 1, [group, CALLER])
    by = None if is_master else "sk-of-u"
    for number, writes in enumerate(steps, rev + 2):
        world.state.fold(number, writes)
        for query, seconds in asked:
            world.now = NOW + seconds
            check_lists(world, query, by=by)
        for name in ("active", "expired", "revoked"):
            check_lists(world, {"status": name, "size": "100", "page": "1"}, by=by)
    world.state.fold(rev + 9, [Deployment(id="d9", name="other/model"), group])
    for query, _ in asked:
        check_lists(world, {**query, "dangling": "true"}, by=by)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60), st.integers(0, 9))
def test_an_order_has_every_page_from_both_ends(steps, rank):
    """Values come, change and go; what is there is what sorting all gives."""
    values = {}
    order = Order(values.__getitem__, ())
    for number, (value, is_new) in enumerate(steps):
        slot = number if is_new or not values else min(values)
        if slot in values:
            order.discard(slot)
            del values[slot]
            if number % 3 == 0:
                continue
        values[slot] = value
        order.add(slot)
    ascending = sorted(values, key=lambda slot: (values[slot], slot))
    flags = slot_sets.marked([slot for slot in values if slot % 2], len(steps))
    odd = [slot for slot in ascending if slot % 2]
    for whole, picked, is_descending in (
        (ascending, odd, False),
        (ascending[::-1], odd[::-1], True),
    ):
        for start in range(0, len(values) + 2, 3):
            end = start + 3
            assert order.page(start, 3, is_descending=is_descending) == whole[start:end]
            found = order.page_of(flags, len(odd), start, 3, is_descending=is_descending)
            assert found == picked[start:end]
    assert order.rank(rank) == sum(value <= rank for value in values.values())
    assert list(order.between(1, 2)) == [s for s in ascending if 1 <= values[s] <= 2]


sets = st.frozensets(st.integers(0, 9))
SIZE = 10


@given(sets, sets, st.tuples(st.booleans(), st.booleans()))
def test_sets_of_slots_are_sets_whichever_way_they_are_kept(some_slots, others, as_flags):
    def kept(slots, *, is_flags):
        return slot_sets.marked(slots, SIZE) if is_flags else slot_sets.slot_set(slots, SIZE)

    a, b = (kept(s, is_flags=f) for s, f in zip((some_slots, others), as_flags, strict=True))
    for found, wanted in (
        (slot_sets.both(a, b), some_slots & others),
        (slot_sets.without(a, b), some_slots - others),
        (slot_sets.either([a, b], SIZE), some_slots | others),
    ):
        assert list(slot_sets.members(found)) == sorted(wanted)
        assert slot_sets.length(found) == len(wanted)
    assert list(slot_sets.members(a)) == sorted(some_slots)


TEXTS = ["", "ab", "aab", "é", "x\ny", "a", "b" * 300, "a10", "b" + "7" * 9 + "ab", "-aba"]
PARTS = [*TEXTS, "b\n", "\0", "0", "10", "b-", "77a", "x y"]


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 9), some(TEXTS)), max_size=12), some(PARTS))
def test_a_search_is_what_a_look_at_every_alias_gives(steps, part):
    aliases, held = Aliases(["ab"] * 5), ["ab"] * 5
    for number, alias in [(0, "ab"), *steps]:
        slot = min(number, len(held))
        aliases.put(slot, alias)
        held[slot : slot + 1] = [alias.replace("\n", " ")]  # a line break is shown as a space
        wanted = [bool(each) and part in each and "\n" not in part for each in held]
        assert list(map(bool, aliases.with_part(part))) == wanted
        assert list(map(bool, Aliases(held).with_part(part))) == wanted
