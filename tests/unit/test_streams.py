"""Where a stream that is made begins: above all that was in one made before."""

from hypothesis import given
from hypothesis import strategies as st

from shared.streams import new_beginning

CHANCE = st.integers(min_value=0, max_value=2**64)


@given(
    made=st.floats(min_value=0, max_value=7e9),
    later_s=st.floats(min_value=0.002, max_value=1e9),
    chances=st.tuples(CHANCE, CHANCE),
)
def test_a_stream_begins_above_all_that_one_made_before_may_hold(made, later_s, chances):
    before = new_beginning(made, chances[0])
    all_it_took = int((later_s - 0.002) * 1000) * 250_000
    assert 0 < before + all_it_took < new_beginning(made + later_s, chances[1]) < 2**62


def test_streams_of_one_moment_begin_apart():
    assert new_beginning(1_800_000_000.0, 1) != new_beginning(1_800_000_000.0, 2)
