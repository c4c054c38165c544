"""500 seeds keep every promise; a seed replays exactly; bugs put in on purpose are found."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from services.keys.barrier import Barrier
from tests.sim.__main__ import first_broken
from tests.sim.parts import Site
from tests.sim.planted import PLANTED
from tests.sim.scenario import run

SEEDS = 500

QUICKLY_FOUND = (
    "barrier returns once published",
    "barrier waits half a lease",
    "lease without following",
    "journal acknowledges before the append",
    "push applied without its chain",
    "stream trimmed beyond the older snapshot",
    "snapshot of one behind replaces a newer",
)
"""Planted bugs that break a promise within so many seeds; `make sim` runs all of them."""
WITHIN = 50


def violation(seed):
    return seed, run(seed).violation


@pytest.mark.timeout(300)
def test_every_promise_holds_in_every_simulated_history():
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = pool.map(violation, range(SEEDS), chunksize=25)
        broken = [f"python -m tests.sim {seed}: {why}" for seed, why in found if why]

    assert broken == []


@pytest.mark.parametrize("seed", [3, 11])
def test_a_seed_replays_the_same_history(seed):
    assert run(seed, tracing=True).trace == run(seed, tracing=True).trace


@pytest.mark.parametrize("bug", QUICKLY_FOUND)
def test_a_planted_bug_is_found(bug):
    assert first_broken(bug, WITHIN)


class CrashingSite(Site):
    """Its barrier raises what nothing catches."""

    class barrier(Barrier):  # noqa: N801  # it stands where Site has the class
        async def enforced(self, rev):
            raise AttributeError(rev)


def test_that_a_planted_bug_crashes_is_no_broken_promise(monkeypatch):
    monkeypatch.setitem(PLANTED, "crashes", CrashingSite)

    assert run(0, site=CrashingSite).is_crash
    assert first_broken("crashes", 3) is None
