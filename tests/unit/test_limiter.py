"""A limiter lets so many a second through, and loses count of none."""

from hypothesis import given
from hypothesis import strategies as st

from shared.limiter import Limiter


def test_what_is_above_the_limit_is_held_back_and_told_of_later():
    limiter = Limiter(2)
    assert [limiter.let(10 + i / 10) for i in range(5)] == [0, 0, None, None, None]
    assert [limiter.let(11.0), limiter.let(11.9)] == [3, 0]


def test_a_limit_of_nothing_lets_nothing_through():
    assert [Limiter(0).let(now) for now in (0.0, 1.0, 1.5)] == [None] * 3


@given(st.integers(1, 5), st.lists(st.floats(0, 20), max_size=100).map(sorted))
def test_no_second_has_more_than_the_limit_and_none_is_uncounted(per_s, times):
    limiter = Limiter(per_s)
    found = [(int(now), limiter.let(now)) for now in times]
    let = [second for second, told in found if told is not None]
    assert all(let.count(second) <= per_s for second in let)
    last = max((i for i, (_, told) in enumerate(found) if told is not None), default=-1)
    told = sum(each for _, each in found if each is not None)
    assert len(let) + told == last + 1
