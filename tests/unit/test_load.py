"""What is in flight is counted, refused above its limit, and forgotten when it ends."""

import pytest

from services.gateway.errors import Rejected
from services.gateway.load import Load


def test_above_the_limit_of_all_requests_the_next_is_503_until_one_ends():
    noted = []
    load = Load(2, 0, noted.append)
    load.enter()
    load.enter()
    with pytest.raises(Rejected) as caught:
        load.enter()
    assert (caught.value.status, caught.value.kind) == (503, "overloaded")
    assert dict(caught.value.headers) == {"retry-after": "1"}
    assert noted == ["requests"]
    load.leave()
    load.enter()
    assert load.in_flight == 2


def test_above_the_limit_of_a_key_its_next_is_429_and_others_go_on():
    noted = []
    load = Load(10, 1, noted.append)
    load.enter_key(b"a")
    with pytest.raises(Rejected) as caught:
        load.enter_key(b"a")
    assert (caught.value.status, caught.value.kind) == (429, "throttling_error")
    assert noted == ["requests_per_key"]
    load.enter_key(b"b")
    load.leave_key(b"a")
    load.enter_key(b"a")


def test_keys_with_nothing_in_flight_take_no_memory():
    load = Load(10, 3)
    for number in range(100):
        load.enter_key(b"%d" % number)
        load.leave_key(b"%d" % number)
    assert load._by_key == {}
