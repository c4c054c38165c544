"""A simulated world in which nothing happens but what a test says."""

import pytest

from tests.sim.clockwork import World
from tests.sim.parts import Site
from tests.sim.scenario import patched, quiet

KEY = bytes(31) + b"\x01"
LEASE_S = 1.0


class Stage:
    """Processes of a site, started and stopped by the test."""

    def __init__(self):
        self.world = World(1, tracing=True)
        self.site = Site(self.world, lease_s=LEASE_S, margin_s=0.1, snapshot_every=2)
        self.processes = []

    def start(self, kind, name):
        process = kind(self.site, name)
        for link in process.links:
            link.spikes = 0.0
        self.processes.append(process)
        return process

    def go_on(self, seconds):
        self.world.run_until(self.world.now + seconds)

    def write(self, keys, request, *, allowed):
        keys.spawn(keys.write(request, KEY, allowed=allowed), "a write")
        self.go_on(2 * LEASE_S)
        assert request in self.site.facts.acknowledged.values()


@pytest.fixture
def stage():
    with quiet(), patched(Site):
        stage = Stage()
        yield stage
        stage.world.is_over = True
        for process in stage.processes:
            process.bury()
