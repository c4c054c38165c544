"""A state, a context and a way to carry plans out, for tests of the management domain."""

import itertools

from services.keys.callers import MASTER, identify
from services.keys.endpoints import READS, WRITES
from services.keys.management import Context
from services.keys.reading import read_body, read_query
from services.keys.state import State
from services.keys.vault import Vault
from shared.addresses import PUBLIC
from shared.catalogue import Deployment
from shared.credentials import Secret

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
VAULT = Vault(Secret("sk-salt-of-the-tests"))

_WRITES = {write.call: write for write in WRITES}
_READS = {read.call: read for read in READS}


class World:
    """A state that plans are made against and folded into."""

    def __init__(self):
        self.state = State()
        self.now = NOW
        self.reserved = frozenset()
        self.reach = PUBLIC
        self._characters = itertools.cycle("0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")
        self._ids = (f"id-{n}" for n in itertools.count(1))
        self.state.fold(
            1,
            [
                Deployment(id="d1", name="gpt-4", access_groups=("beta-models",)),
                Deployment(id="d2", name="openai/*", access_groups=("default-models",)),
            ],
        )

    def context(self, call="", key=None):
        """The context of a call by the master key, or by the holder of a key's secret."""
        caller = MASTER
        if key is not None:
            path = call.partition(" ")[2].replace("{key}", "x")
            caller = identify(self.state, Secret(key).digest(), call, path, self.now)
        return Context(
            now=self.now,
            actor=caller.name,
            choose=lambda _alphabet: next(self._characters),
            new_id=lambda: next(self._ids),
            reserved=self.reserved,
            caller=caller,
            seal=VAULT.seal,
            unseal=VAULT.open,
            reach=self.reach,
        )

    def plan(self, reason, *, by=None, **body):
        """Plan a POST by its path, or any call by its name; `by` is a key's secret."""
        call = reason if " " in reason else f"POST /{reason}"
        write = _WRITES[call]
        typed, _ = read_body(body, write.request)
        plan = write.plan(self.state, typed, self.context(call, by))
        assert " " in reason or plan.reason == reason
        return plan

    def do(self, reason, *, by=None, **body):
        """Carry a plan out; give its answer."""
        plan = self.plan(reason, by=by, **body)
        self.state.fold(self.state.rev + 1, plan.writes)
        return plan.answer

    def see(self, path, *, by=None, **query):
        """What a read answers; by POST when that is its method."""
        call = f"GET {path}" if f"GET {path}" in _READS else f"POST {path}"
        read = _READS[call]
        if call.startswith("GET"):
            typed = read_query(query, read.request)
        else:
            typed, _ = read_body(query, read.request)
        return read.look(self.state, typed, self.context(call, by))

    def grant(self, answer):
        """Give the grant of the key an answer is about."""
        return self.state.keys[bytes.fromhex(answer["token"])].grant

    def team_models(self, team_id):
        return list(self.state.teams[team_id].grant.models)
