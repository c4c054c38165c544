"""A few hundred tries at each reader of what strangers send; `make fuzz-parsers` makes millions."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.parsers.harnesses import INPUTS


@pytest.mark.parametrize("check", INPUTS, ids=lambda check: check.__name__)
def test_no_bytes_break_a_promise(check):
    @settings(max_examples=250, suppress_health_check=list(HealthCheck), database=None)
    @given(INPUTS[check])
    def holds(data):
        check(data)

    holds()
