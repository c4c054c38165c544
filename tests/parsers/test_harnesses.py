"""A few hundred tries at each reader of what strangers send; `make fuzz-parsers` makes millions."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.parsers.harnesses import INPUTS
from tests.parsers.kept import kept


@pytest.mark.parametrize("check", INPUTS, ids=lambda check: check.__name__)
def test_no_bytes_break_a_promise(check):
    @settings(max_examples=250, suppress_health_check=list(HealthCheck), database=None)
    @given(INPUTS[check])
    def holds(data):
        check(data)

    holds()


@pytest.mark.parametrize("check", INPUTS, ids=lambda check: check.__name__)
def test_what_a_search_once_found_is_tried_again(check):
    inputs = kept(check.__name__)
    assert len(inputs) > 10
    for data in inputs:
        check(data)
