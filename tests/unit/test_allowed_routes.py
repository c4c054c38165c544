import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.allowed_routes import BUCKETS, route_allowed, routes_within

PATHS = sorted({path for paths in BUCKETS.values() for path in paths})
ROUTES = sorted({path.replace("*", "x") for path in PATHS})
ENTRIES = st.sampled_from(
    [*PATHS, *BUCKETS, "odd", "/key/generate", "/chat/*", "/v1/chat/completions", "/*", "/k*", "*"]
)
LISTS = st.lists(ENTRIES, max_size=4).map(tuple)


@given(LISTS, LISTS)
def test_a_list_within_another_admits_nothing_the_other_does_not(allowed, limit):
    if routes_within(allowed, limit):
        admitted = [r for r in [*ROUTES, "/x", "/chat/x"] if route_allowed(allowed, r)]
        assert all(route_allowed(limit, route) for route in admitted)


@pytest.mark.parametrize(
    ("allowed", "limit", "is_within"),
    [
        (["/key/generate"], ["/key/generate", "/v1/models"], True),
        (["/key/generate"], ["/key/*"], True),
        (["/key/gen*"], ["/key/*"], True),
        (["/key/generate"], ["management_routes"], True),
        (["info_routes"], ["info_routes", "/x"], True),
        (["anything"], [], True),
        ([], [], True),
        ([], ["/key/generate"], False),
        (["/key/*"], ["/key/generate"], False),
        (["/keys"], ["/key"], False),
        (["/key/generate", "/user/new"], ["/key/*"], False),
        (["management_routes"], ["/key/*"], False),
    ],
)
def test_what_is_within_what(allowed, limit, is_within):
    assert routes_within(tuple(allowed), tuple(limit)) == is_within
