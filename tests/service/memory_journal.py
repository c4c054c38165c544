"""A journal without a database: the same promises, for one process and as long as it lives."""

import asyncio

import msgspec

from services.keys.errors import TooLarge, Unavailable
from services.keys.state import State
from shared.changes import MAX_CHANGE_BYTES


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    plan: object
    revision: int
    propagation: str


class MemoryJournal:
    """Commits to a list. `is_down` and `is_cut_off` are the states of its database and its bus."""

    def __init__(self):
        self.state = State()
        self.committed = []
        self.is_down = False
        self.is_cut_off = False
        self.in_force = asyncio.Event()
        """What the barrier waits for."""
        self.in_force.set()

    async def current(self):
        if self.is_down:
            raise Unavailable
        return self.state

    async def commit(self, plan, *, actor, request_id, wait=True):
        state = await self.current()
        made = plan(state)
        propagation = "enforced" if wait and not self.is_cut_off else "pending"
        if made.writes:
            if len(msgspec.msgpack.encode(made.writes)) > MAX_CHANGE_BYTES:
                raise TooLarge(MAX_CHANGE_BYTES)
            state.fold(state.rev + 1, made.writes, once=made.once)
            self.committed.append((made.reason, actor, request_id))
        await self.in_force.wait()
        return Committed(plan=made, revision=state.rev, propagation=propagation)
