"""After every step of a random walk, requests are answered as the documented rules have it.

`GRANTGATE_TEST_WALK` is the number of steps, `GRANTGATE_TEST_SEED` where the walk begins.
"""

import os

from tests.e2e.authorisation import Walk

STEPS = int(os.environ.get("GRANTGATE_TEST_WALK") or 120)
SEED = int(os.environ.get("GRANTGATE_TEST_SEED") or 1)


def test_a_random_walk_is_decided_as_an_independent_reading_of_the_rules_says(stack):
    walk = Walk(stack, SEED)
    walk.begin()
    for _ in range(STEPS):
        walk.step()
    walk.end()
    assert walk.disagreements == []
    assert min(walk.counts["allowed"], walk.counts["denied"]) > STEPS / 8, walk.counts
    assert walk.counts["refused"] < STEPS / 5, walk.counts
