"""`grantgate import litellm`: LiteLLM's rows from a file of JSON lines into the change log.

It writes to MongoDB as one more keys replica would; those that run follow, and put it in force.
"""

import asyncio
import itertools
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from services.keys.doctor_command import keys_says, with_token
from services.keys.errors import ManagementError, Unavailable
from services.keys.journal import Journal
from services.keys.litellm_differences import differences
from services.keys.litellm_rows import BadRow, LiteLLMModel, read_row
from services.keys.litellm_secrets import Unopened, open_params
from services.keys.log import name_of
from services.keys.management import Context
from services.keys.moving_in import (
    check_distinct,
    fate,
    in_changes,
    model_record,
    next_position,
    problem_of,
    take_over,
)
from services.keys.records import KeyRecord
from services.keys.state import Record, State
from services.keys.store import open_store
from services.keys.vault import Vault
from shared import config
from shared.credentials import Secret
from shared.service import set_up_logging
from shared.settings import Settings

Say = Callable[[str], None]
"""Takes one line for the operator."""
Numbered = list[tuple[int, Record]]

_SHOWN = 20
_EXAMPLES = 3


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    file: Path
    dry_run: bool = False
    replace: bool = False


class NotDone(Exception):
    """It could not be done, or not all of it: why, for the operator."""


def main(options: Options) -> int:
    """Run the command. 0: done, or would be; 1: rows are at fault; 2: it could not be done."""
    try:
        loaded = config.load(None, os.environ)
    except config.ConfigError as problem:
        sys.stderr.write(f"grantgate import: {problem}\n")
        return 2
    if loaded.master_key is None:
        sys.stderr.write("grantgate import: no master key: set GRANTGATE_MASTER_KEY\n")
        return 2
    set_up_logging("import", "error", "console")
    salt = os.environ.get("LITELLM_SALT_KEY")
    ctx = context(loaded.settings, loaded.master_key)
    work = run(with_token(loaded), options, ctx, Secret(salt) if salt else None, _say)
    try:
        return asyncio.run(work)
    except (NotDone, ManagementError) as problem:
        _say(f"Not done: {problem}")
    except config.ConfigError as problem:
        sys.stderr.write(f"grantgate import: {problem}\n")
    return 2


def context(settings: Settings, master_key: Secret) -> Context:
    """Give what the plans need, from what keys itself is given."""
    vault = Vault(settings.salt_key or master_key)
    return Context(
        now=time.time(),
        actor="import",
        choose=lambda _: "",  # no secret is minted
        new_id=_new_id,
        reserved=frozenset({master_key.digest()}),
        seal=vault.seal,
        unseal=vault.open,
    )


async def run(
    settings: Settings, options: Options, ctx: Context, salt_key: Secret | None, say: Say
) -> int:
    """Do what was asked for and tell of it; the exit status. Raises NotDone, ManagementError."""
    running = await asyncio.to_thread(keys_says, settings)
    if running == {}:
        msg = f"keys at {settings.keys_url} does not say how it is: use its internal_token"
        raise NotDone(msg)
    if running and running.get("refusing_writes"):
        msg = f"keys refuses writes, {running['refusing_writes']}: see `grantgate doctor`"
        raise NotDone(msg)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            open_store(settings.mongo_url, settings.mongo_database)
        )
        await store.prepare()
        journal = Journal(store, clock=time.time, new_id=_new_id, enforce=_later)
        state = await journal.current()
        if journal.refusal is not None:
            raise Unavailable(journal.refusal)
        numbered, problems = _read(options.file, state, ctx, salt_key)
        problems += check_distinct(numbered)
        fates = _fates(numbered, state, ctx, problems, replace=options.replace)
        if problems:
            _tell_problems(problems, say)
            return 1
        records = [record for _, record in numbered]
        if options.dry_run:
            state.fold(state.rev, take_over(state, records, ctx, replace=options.replace).writes)
        else:
            await _commit(journal, records, ctx, say, replace=options.replace)
        _tell(fates, records, state, say, is_dry=options.dry_run)
    return 0


async def _commit(
    journal: Journal, records: Sequence[Record], ctx: Context, say: Say, *, replace: bool
) -> None:
    began, first = time.monotonic(), journal.state.rev
    for part in in_changes(records):
        plan = partial(take_over, records=part, ctx=ctx, replace=replace)
        try:
            await journal.commit(plan, actor="import", request_id="import", wait=False)
        except ManagementError as problem:
            done = journal.state.rev - first
            msg = f"stopped after {done} changes: {problem}. Run it again: what is in stays in"
            raise NotDone(msg) from problem
    seconds = time.monotonic() - began
    changes = journal.state.rev - first
    say(f"{len(records)} records in {changes} changes, in {seconds:.1f} s.")
    say(f"They are committed at revision {journal.state.rev}; keys puts them in force as it runs.")


def _read(
    file: Path, state: State, ctx: Context, salt_key: Secret | None
) -> tuple[Numbered, list[tuple[int, BadRow]]]:
    """Read every line. Raises NotDone when there is no such file."""
    numbered: Numbered = []
    problems: list[tuple[int, BadRow]] = []
    positions = itertools.count(next_position(state))
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = _record(line, ctx, salt_key, positions)
                except BadRow as problem:
                    problems.append((number, problem))
                else:
                    numbered += [] if record is None else [(number, record)]
    except OSError as error:
        msg = f"{file}: {error.strerror}"
        raise NotDone(msg) from error
    return numbered, problems


def _record(
    line: bytes, ctx: Context, salt_key: Secret | None, positions: Iterable[int]
) -> Record | None:
    row = read_row(line)
    if not isinstance(row, LiteLLMModel):
        return row
    try:
        opened = msgspec.structs.replace(row, params=open_params(row.params, salt_key))
        return model_record(opened, ctx, next(iter(positions)))
    except Unopened as problem:
        raise BadRow(field="litellm_params", problem=str(problem)) from None
    except ManagementError as error:
        raise problem_of(error) from None


def _fates(
    numbered: Numbered,
    state: State,
    ctx: Context,
    problems: list[tuple[int, BadRow]],
    *,
    replace: bool,
) -> list[tuple[str, Record]]:
    found = []
    for number, record in numbered:
        try:
            each = fate(state, record, ctx, replace=replace)
        except ManagementError as error:
            problems.append((number, problem_of(error)))
        else:
            found.append((each.what, record))
    return found


def _tell_problems(problems: list[tuple[int, BadRow]], say: Say) -> None:
    problems.sort(key=lambda each: each[0])
    for number, problem in problems[:_SHOWN]:
        say(f"row {number}: {problem}")
    if len(problems) > _SHOWN:
        say(f"and {len(problems) - _SHOWN} more")
    say("Nothing was written: correct these rows, or take them out.")


def _tell(
    fates: Sequence[tuple[str, Record]],
    records: Sequence[Record],
    state: State,
    say: Say,
    *,
    is_dry: bool,
) -> None:
    counts = Counter((what, name_of(record)[0]) for what, record in fates)
    for (what, kind), count in sorted(counts.items()):
        say(f"{'would be ' if is_dry else ''}{what:9} {count} {kind}s")
    kept = [record for what, record in fates if what == "kept"]
    if kept:
        say(f"kept as they are here (--replace takes the rows'): {_examples(kept)}")
    found: dict[str, list[Record]] = {}
    for record in records:
        for reason in differences(state, record):
            found.setdefault(reason, []).append(record)
    if found:
        say("Decided differently than by LiteLLM:")
    for reason, those in sorted(found.items(), key=lambda each: -len(each[1])):
        say(f"  {len(those)}: {reason}. {_examples(those)}")
    if is_dry:
        say("Nothing was written: this was a dry run.")


def _examples(records: Sequence[Record]) -> str:
    shown = ", ".join(_named(record) for record in records[:_EXAMPLES])
    return shown + (", ..." if len(records) > _EXAMPLES else "")


def _named(record: Record) -> str:
    kind, name = name_of(record)
    if isinstance(record, KeyRecord):
        name = record.details.key_alias or record.grant.id.hex()[:12] + "..."
    return f"{kind} {name!s}"


async def _later(_rev: int) -> Literal["enforced", "pending"]:
    return "pending"


def _new_id() -> str:
    return str(uuid.uuid4())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
