"""`grantgate doctor`: shows log and stream side by side, and carries out the operator's choice."""

import asyncio
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Literal

import msgspec

from services.keys import doctor, mending
from services.keys.doctor import Report
from services.keys.errors import ManagementError, Unavailable
from services.keys.log import name_of
from services.keys.store import Taken, open_store
from shared import bus, config
from shared.bus import BusUnavailable
from shared.changes import KeyGrant, Mutation, TeamGrant, Tombstone
from shared.credentials import TOKEN_HEADER, internal_token
from shared.service import set_up_logging
from shared.settings import Settings
from shared.streams import ChangeStream
from shared.tls import for_nats

Choice = Literal["look", "adopt-log", "restore-from-stream"]

Say = Callable[[str], None]
"""Takes one line for the operator."""

_BUS_WAIT_S = 5.0
_SHOWN = 20


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    choice: Choice = "look"
    above: int = 0
    as_json: bool = False


def main(options: Options) -> int:
    """Run the command. 0: all is well; 1: there are findings; 2: it could not be done."""
    try:
        settings = with_token(config.load(None, os.environ))
        set_up_logging("doctor", "error", "console")
        return asyncio.run(run(settings, options, lambda line: print(line)))  # noqa: PLW0108, T201 - flushes
    except config.ConfigError as problem:
        sys.stderr.write(f"grantgate doctor: {problem}\n")
        return 2


def with_token(loaded: config.Config) -> Settings:
    """The settings, with the internal token that keys has when none is configured."""
    token = internal_token(loaded.settings.internal_token, loaded.master_key)
    return msgspec.structs.replace(loaded.settings, internal_token=token)


async def run(settings: Settings, options: Options, say: Say) -> int:
    """Do what was asked for and tell of it; the exit status."""
    try:
        return await _run(settings, options, say)
    except Taken:
        say("Not done: somebody else writes to the log. Stop every keys replica, then try again.")
    except BusUnavailable as problem:
        say(f"Not done: NATS at {settings.nats_url} does not answer ({problem}).")
    except Unavailable as problem:
        where = _hosts(settings.mongo_url)
        say(f"Not done: {problem}. Start MongoDB at {where}, or correct grantgate.mongo_url.")
    except ManagementError as problem:
        say(f"Not done: {problem}")
    return 2


def _hosts(mongo_url: str) -> str:
    """Give the hosts in an address, and nothing of its user, password and options."""
    # The last @ first: whoever did not escape one, or a slash, in a password does not see it.
    after = mongo_url.partition("://")[2].rpartition("@")[2]
    return re.split(r"[/?]", after, maxsplit=1)[0]


async def _run(settings: Settings, options: Options, say: Say) -> int:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            open_store(settings.mongo_url, settings.mongo_database)
        )
        stream = await _reach(settings, stack)
        running = await asyncio.to_thread(keys_says, settings)
        refusal = (running or {}).get("refusing_writes")
        why = None if refusal is None else str(refusal)
        report, reading = await doctor.examine(store, stream, why)
        if stream is None:
            says = f"NATS at {settings.nats_url} does not answer"
            cure = "start it, or correct grantgate.nats_url and the password"
            unreached = doctor.Finding(kind="bus_unreachable", says=says, cure=cure)
            report.findings = (*report.findings, unreached)
        if options.choice == "look":
            await _show(report, stream, say, as_json=options.as_json)
            return doctor.exit_status(report)
        if running is not None:
            msg = f"keys runs at {settings.keys_url}: stop every keys replica first"
            raise mending.CannotMend(msg)
        if stream is None:
            msg = "without NATS the revisions that replicas have seen are not known"
            raise mending.CannotMend(msg)
        if options.choice == "adopt-log":
            head, aside = await mending.adopt_log(store, report, reading, options.above)
            say(f"The log up to revision {report.log.head} is the truth; its head is now {head}.")
            if aside:
                say(f"{aside} entries that do not continue it are in changes_set_aside.")
        else:
            head, count = await mending.restore_from_stream(
                store, stream, report, reading, options.above
            )
            say(f"{count} records were restored from the stream; the log's head is now {head}.")
        say("Start keys: it begins a new epoch, and every replica starts again from it.")
    return 0


async def _reach(settings: Settings, stack: AsyncExitStack) -> ChangeStream | None:
    try:
        client = await stack.enter_async_context(
            bus.reach(
                settings.nats_url,
                settings.nats_user or "keys",
                settings.nats_proof(),
                _BUS_WAIT_S,
                for_nats(settings),
            )
        )
    except BusUnavailable:
        return None
    return ChangeStream(client)


def keys_says(settings: Settings) -> dict[str, object] | None:
    """What a running keys tells of itself. Empty: it tells us nothing; None: none answers."""
    token = settings.internal_token
    headers = {} if token is None else {TOKEN_HEADER: token.reveal()}
    url = f"{settings.keys_url}/health/propagation"
    asked = urllib.request.Request(url, headers=headers)  # noqa: S310 - an operator's address
    try:
        with urllib.request.urlopen(asked, timeout=2) as answer:  # noqa: S310
            found = json.load(answer)
    except urllib.error.HTTPError:
        return {}
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else {}


async def _show(report: Report, stream: ChangeStream | None, say: Say, *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(_plain(report)))
        return
    log, view = report.log, report.stream
    say(f"log     head {log.head}  chain {log.chain.hex()[:16]}  copies at {log.projected}")
    if log.beyond:
        say(f"        and {log.beyond} entries beyond it, up to revision {log.highest}")
    if view is not None:
        last = view.last
        at = f"revisions {view.first} to {last.rev}  chain {last.chain.hex()[:16]}" if last else "-"
        say(f"stream  {at}  agrees with the log up to {view.agreed}")
        if view.epoch is not None:
            e = view.epoch
            say(f"epoch   {e.id}  complete {e.complete}  settled {e.settled}  schema {e.schema}")
        for member in view.members:
            say(f"replica {member.replica}  at {member.rev}  epoch {member.epoch}")
    for finding in report.findings:
        say(f"FOUND   {finding.kind}: {finding.says}\n        {finding.cure}")
    if stream is not None and report.has("log_behind", "forked"):
        await _show_lost(stream, report, say)
    if not report.findings:
        say("All is well.")


async def _show_lost(stream: ChangeStream, report: Report, say: Say) -> None:
    """The records whose newest state only the stream has: a lost block or deletion counts most."""
    try:
        lost = await mending.lost_records(stream, report)
    except (mending.CannotMend, BusUnavailable) as problem:
        say(f"        What the log has lost cannot be listed: {problem}")
        return
    # --adopt-log would undo these, so they come first.
    lost.sort(key=lambda mutation: not _narrows(mutation))
    say(f"        The log has lost the newest state of {len(lost)} records:")
    for mutation in lost[:_SHOWN]:
        kind, name = name_of(mutation)
        shown = f"{name.hex()[:12]}..." if isinstance(name, bytes) else name
        what = "deleted" if isinstance(mutation, Tombstone) else "written"
        if _narrows(mutation) and what == "written":
            what = "BLOCKED"
        say(f"          {kind} {shown} {what}")
    if len(lost) > _SHOWN:
        say(f"          and {len(lost) - _SHOWN} more")


def _narrows(mutation: Mutation) -> bool:
    return isinstance(mutation, Tombstone) or (
        isinstance(mutation, KeyGrant | TeamGrant) and mutation.blocked
    )


def _plain(report: Report) -> dict[str, object]:
    view = report.stream
    return {
        "log": {
            "head": report.log.head,
            "chain": report.log.chain.hex(),
            "beyond": report.log.beyond,
            "projected": report.log.projected,
        },
        "stream": view
        and {
            "first": view.first,
            "last": view.last.rev if view.last else 0,
            "chain": view.last.chain.hex() if view.last else None,
            "agreed": view.agreed,
            "epoch": view.epoch and msgspec.structs.asdict(view.epoch),
            "members": {m.replica: {"rev": m.rev, "epoch": m.epoch} for m in view.members},
        },
        "seen": report.seen,
        "findings": [msgspec.structs.asdict(finding) for finding in report.findings],
    }
