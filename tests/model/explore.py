"""Every reachable state of a small model, breadth first, so that a counterexample is shortest."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)

MOST_STATES = 1_000_000


class Found(NamedTuple):
    """How many states there are, and the steps to a bad one (None: there is none)."""

    states: int
    trace: list[str] | None


def explore(
    initial: State,
    steps: Callable[[State], Iterable[tuple[str, State]]],
    is_bad: Callable[[State], bool],
) -> Found:
    """Walk from `initial` until a bad state is met or nothing is left."""
    came_from: dict[State, tuple[State, str] | None] = {initial: None}
    edge = [initial]
    while edge:
        if len(came_from) > MOST_STATES:
            msg = "the model is too large"
            raise AssertionError(msg)
        beyond = []
        for state in edge:
            for name, after in steps(state):
                if after in came_from:
                    continue
                came_from[after] = (state, name)
                if is_bad(after):
                    return Found(len(came_from), list(_trace(after, came_from)))
                beyond.append(after)
        edge = beyond
    return Found(len(came_from), None)


def _trace(state: State, came_from: dict[State, tuple[State, str] | None]) -> Iterator[str]:
    steps = []
    while (before := came_from[state]) is not None:
        steps.append(f"{before[1]:<42} {state}")
        state = before[0]
    yield from reversed(steps)


def put(items: tuple[State, ...], position: int, item: State) -> tuple[State, ...]:
    """The tuple with one item changed."""
    return (*items[:position], item, *items[position + 1 :])
