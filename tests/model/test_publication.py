"""Publication: two keys replicas, puts that arrive late, an old revision trimmed.

| step here            | code                                                     |
| -------------------- | -------------------------------------------------------- |
| Journal.commit       | services/keys/journal.py                                 |
| Publisher._look      | services/keys/publisher.py (_compare_last)               |
| Publisher._publish   | the same; `ChangeStream.put` sends, the answer is a step |
| Publisher._trim      | the same                                                 |
| the stream stores    | nats-server: whenever it likes, or it refuses            |
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.model.explore import explore, put

REVS = 3
LATE = 3
"""How many puts may be on their way at once."""


class Rules(NamedTuple):
    """The protocol; each wrong variant changes one of these."""

    expects: str = "the change before"
    waits_for_answer: bool = True


class Publisher(NamedTuple):
    published: int = 0
    last_seq: int = 0
    asked: int = 0
    """The revision it waits to hear of, 0 when none."""
    is_sure: bool = False
    """Whether it has looked since it last was in doubt."""


class State(NamedTuple):
    publishers: tuple[Publisher, ...]
    head: int = 0
    stream: tuple[int, ...] = ()
    """The revisions on the stream in the order of their sequences; 0 stands for a removed one."""
    late: tuple[tuple[int, int], ...] = ()
    """Puts on their way: revision, and the sequence expected."""
    seen: int = 0
    """The highest revision that was ever the stream's last."""
    first: int = 1


def last(stream: tuple[int, ...]) -> tuple[int, int]:
    """The sequence and revision of the last change."""
    held = [(seq, rev) for seq, rev in enumerate(stream, 1) if rev]
    return held[-1] if held else (0, 0)


def steps(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    if state.head < REVS:
        yield "Journal.commit", state._replace(head=state.head + 1)
    for number, publisher in enumerate(state.publishers):
        yield from _publisher(state, number, publisher, rules)
    for late in set(state.late):
        yield "the stream stores or refuses", _arrive(state, late, rules)
    if state.first == 1 and state.seen >= 2 and 1 in state.stream:
        trimmed = tuple(0 if rev == 1 else rev for rev in state.stream)
        yield "Publisher._trim", state._replace(stream=trimmed, first=2)


def _publisher(
    state: State, number: int, p: Publisher, rules: Rules
) -> Iterator[tuple[str, State]]:
    def become(after: Publisher, **more) -> State:
        return state._replace(publishers=put(state.publishers, number, after), **more)

    if p.asked:
        seq, rev = last(state.stream)
        if rev >= p.asked:
            yield (
                "Publisher._publish: stored",
                become(
                    p._replace(published=p.asked, last_seq=state.stream.index(rev) + 1, asked=0)
                    if rev == p.asked
                    else p._replace(asked=0, is_sure=False)
                ),
            )
        yield "Publisher._publish: no answer", become(p._replace(asked=0, is_sure=False))
        if rules.waits_for_answer:
            return
    if not p.is_sure:
        seq, rev = last(state.stream)
        yield "Publisher._look", become(Publisher(published=rev, last_seq=seq, is_sure=True))
        return
    wanted = max(p.published, p.asked) + 1
    if wanted <= state.head and len(state.late) < LATE:
        late = tuple(sorted((*state.late, (wanted, p.last_seq))))
        yield "Publisher._publish: put", become(p._replace(asked=wanted), late=late)


def _arrive(state: State, late: tuple[int, int], rules: Rules) -> State:
    waiting = list(state.late)
    waiting.remove(late)
    state = state._replace(late=tuple(waiting))
    rev, expected = late
    if rules.expects == "the change before":
        allowed = last(state.stream)[0] == expected
    else:
        allowed = rules.expects == "nothing" or rev not in state.stream
    if not allowed:
        return state
    stream = (*(0 if held == rev else held for held in state.stream), rev)
    return state._replace(stream=stream, seen=max(state.seen, last(stream)[1]))


def out_of_order(state: State) -> bool:
    """The last change is not the highest there was, or one before it is missing."""
    rev = last(state.stream)[1]
    held = [held for held in state.stream if held]
    return rev < state.seen or held != list(range(state.first, rev + 1))


def check(rules: Rules):
    return explore(State((Publisher(),) * 2), lambda state: steps(state, rules), out_of_order)


def test_the_stream_holds_the_log_in_order_whatever_arrives_late():
    found = check(Rules())

    assert found.trace is None
    assert found.states > 1_000


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Rules(expects="nothing on its own subject"), id="expectation of 0"),
        pytest.param(
            Rules(expects="nothing on its own subject", waits_for_answer=False),
            id="expectation of 0, without waiting for the change before",
        ),
        pytest.param(Rules(expects="nothing"), id="no expectation"),
    ],
)
def test_each_wrong_publication_is_found(wrong):
    assert check(wrong).trace
