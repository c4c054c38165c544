"""`python -m benchmarks.decisions`: one policy table, in process: time a decision, bytes a key.

Each table is built in a fresh process, through `GrantTable.apply` of encoded changes.
"""

import argparse
import gc
import hashlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.processes import rss_mib
from benchmarks.product import MODEL, PER_CHANGE, REFUSED_MODEL, grants
from services.policy.decide import decide
from services.policy.responder import answer
from services.policy.table import GrantTable
from shared.catalogue import Deployment
from shared.changes import (
    GENESIS,
    Change,
    Mutation,
    decode_change,
    encode_change,
    encode_mutations,
    hash_rest,
    link,
)
from shared.decisions import Question, decode_asks, encode_answers, encode_asks

_TEAMS = 10_000
_QUESTIONS = 100_000
_CHANGES = 20_000
_ANSWERS = 10_000
_ROUNDS = 7
_ROUTE = "/v1/chat/completions"
_BATCHES = (1, 16)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one table came to. `us` is microseconds a decision, by what is asked."""

    keys: int
    bytes_a_key: float
    applied_per_second: float
    changes_per_second: float
    """Changes of one key each, as management makes them."""
    change_bytes: float
    fold_and_answer_s: float
    """Of processor, for 20,000 such changes and 10,000 answers: what a busy second may bring."""
    us: dict[str, float]


def _digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def _messages(
    mutations: Iterator[Mutation],
    per_change: int = PER_CHANGE,
    rev: int = 0,
    chain: bytes = GENESIS,
) -> Iterator[bytes]:
    """The mutations as the encoded changes that a policy replica hears, after the one of `rev`."""
    rest_hash = hash_rest(b"")
    for rev in itertools.count(rev + 1):  # noqa: PLR1704, B020 - it goes on from there
        decision = encode_mutations(tuple(itertools.islice(mutations, per_change)))
        if decision == encode_mutations(()):
            return
        chain = link(chain, rev, decision, rest_hash)
        yield encode_change(Change(rev=rev, chain=chain, decision=decision, rest_hash=rest_hash))


def _build(keys: int) -> tuple[GrantTable, float]:
    """A table of that many keys, and the seconds that applying took."""
    served = [
        Deployment(id=name, name=name, position=at)
        for at, name in enumerate((MODEL, REFUSED_MODEL))
    ]
    granted = grants(map(_digest, range(keys)), _TEAMS)
    table, spent = GrantTable(), 0.0
    for message in _messages(itertools.chain(served, granted)):
        began = time.thread_time()
        table.apply(decode_change(message))
        spent += time.thread_time() - began
    return table, spent


def _fold_singly() -> tuple[float, float]:
    """Changes of one key each that a table folds in a second, and their bytes."""
    messages = list(_messages(grants(map(_digest, range(_CHANGES)), 1), 1))
    rates = []
    for _ in range(_ROUNDS):
        table, began = GrantTable(), time.thread_time()
        for message in messages:
            table.apply(decode_change(message))
        rates.append(len(messages) / (time.thread_time() - began))
        assert table.rev == len(messages)
    return max(rates), sum(map(len, messages)) / len(messages)


def _fold_and_answer(table: GrantTable, asked: Sequence[bytes], now: float) -> float:
    """Seconds of processor for 20,000 changes of a key and 10,000 answers, by turns."""
    changed = grants(map(_digest, range(_CHANGES)), _TEAMS)
    changes = list(_messages(itertools.islice(changed, _TEAMS, None), 1, table.rev, table.chain))
    between = len(changes) // (_ANSWERS // _BATCHES[-1])
    asked = itertools.cycle(asked)
    began = time.thread_time()
    for at in range(0, len(changes), between):
        for message in changes[at : at + between]:
            table.apply(decode_change(message))
        encode_answers([answer(table, each, now) for each in decode_asks(next(asked))])
    return time.thread_time() - began


def _time_us(run: Callable[[Sequence[Question]], None], questions: Sequence[Question]) -> float:
    """Microseconds a question: the best of some rounds, as all else only adds to it."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        run(questions)
        rounds.append((time.thread_time() - began) / len(questions) * 1e6)
    return min(rounds)


def _questions(model: str, numbers: Sequence[int]) -> Sequence[Question]:
    return [Question(_digest(number), model, _ROUTE) for number in numbers]


def _measure(keys: int) -> Figures:
    # A first small table, so that code and its caches are not counted as keys.
    _build(PER_CHANGE)
    gc.collect()
    before = rss_mib([os.getpid()])
    table, spent = _build(keys)
    gc.collect()
    grown = rss_mib([os.getpid()]) - before
    now = time.time()
    numbers = random.Random(keys).choices(range(keys), k=_QUESTIONS)
    allowed = _questions(MODEL, numbers)

    def ask(questions: Sequence[Question]) -> None:
        for question in questions:
            decide(table, question, now)

    assert type(decide(table, allowed[0], now)).__name__ == "Allow"
    us = {
        "allowed": _time_us(ask, allowed),
        "refused": _time_us(ask, _questions(REFUSED_MODEL, numbers)),
        "unknown key": _time_us(ask, _questions(MODEL, [keys + number for number in numbers])),
    }
    for size in _BATCHES:
        batches = [allowed[at : at + size] for at in range(0, len(allowed), size)]
        messages = [encode_asks([*batch]) for batch in batches]

        def serve(_: Sequence[Question], messages: list[bytes] = messages) -> None:
            for message in messages:
                encode_answers([answer(table, each, now) for each in decode_asks(message)])

        us[f"message of {size}"] = _time_us(serve, allowed)
    changes_per_second, change_bytes = _fold_singly()
    return Figures(
        keys=keys,
        fold_and_answer_s=_fold_and_answer(table, messages, now),
        changes_per_second=changes_per_second,
        change_bytes=change_bytes,
        bytes_a_key=grown * 1024 * 1024 / keys,
        applied_per_second=keys / spent,
        us=us,
    )


def _in_fresh_process(keys: int) -> Figures:
    command = [sys.executable, "-m", "benchmarks.decisions", "--one", str(keys)]
    done = subprocess.run(command, check=True, capture_output=True)
    return msgspec.json.decode(done.stdout, type=Figures)


def main() -> int:
    """Measure tables of each size, print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("--million", action="store_true", help="a table of 1,000,000 keys too")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(msgspec.json.encode(_measure(options.one)).decode())
        return 0
    found = [_in_fresh_process(keys) for keys in (100_000, *((1_000_000,) * options.million))]
    shown = Table(title=f"Decisions in process, {_TEAMS:,} teams; µs a decision")
    heads = ("keys", "bytes a key", "applied/s", "changes/s", "bytes a change", "both s")
    for column in (*heads, *found[0].us, "allowed decisions/s"):
        shown.add_column(column, justify="right")
    for each in found:
        figures = [f"{value:.2f}" for value in each.us.values()]
        per_second = f"{1e6 / each.us['allowed']:,.0f}"
        head = (f"{each.keys:,}", f"{each.bytes_a_key:.0f}", f"{each.applied_per_second:,.0f}")
        head += (f"{each.changes_per_second:,.0f}", f"{each.change_bytes:.0f}")
        head += (f"{each.fold_and_answer_s:.2f}",)
        shown.add_row(*head, *figures, per_second)
    Console(width=150).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
