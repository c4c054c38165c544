"""Services and commands that are started with something wrong, beside a secret or as one."""

import json
import sys

import msgspec

from services.dev.supervisor import Command
from tests.e2e.leaks.product import Part, until
from tests.e2e.leaks.world import CHOSEN, SECRETS
from tests.parts import BIN, free_port

WRONG = SECRETS["password in a wrong setting"]
OWN = {f"GRANTGATE_{name}_PORT": "0" for name in ("KEYS", "POLICY", "GATEWAY", "GATEWAY_INTERNAL")}
WAYS = (
    ("keys", {"GRANTGATE_MONGO_URL": f"mongodb://me:{WRONG}@127.0.0.1:port/"}),
    ("keys", {"GRANTGATE_MONGO_URL": f"mongodb://me:{WRONG}/x+@127.0.0.1:1/"}),
    ("keys", {"GRANTGATE_SALT_KEY": WRONG, "GRANTGATE_LEASE_S": WRONG}),
    ("keys", {"GRANTGATE_NATS_URL": f"nats://me:{WRONG}@127.0.0.1:1"}),
    ("policy", {"GRANTGATE_NATS_URL": f"nats://me:{WRONG}@127.0.0.1:1"}),
    ("policy", {"GRANTGATE_POLICY_PORT": WRONG}),
    ("policy", {"GRANTGATE_NATS_NKEY_SEED": WRONG}),
    ("gateway", {"GRANTGATE_NATS_URL": f"nats://me:{WRONG}@127.0.0.1:1"}),
    ("gateway", {"GRANTGATE_KEYS_URL": f"http://me:{WRONG}@127.0.0.1:1"}),
    ("gateway", {"GRANTGATE_MASTER_KEY": WRONG}),
    ("gateway", {"SWEEP_CREDENTIAL": f"{WRONG} x"}),
    ("gateway", {"https_proxy": f"socks5://me:{WRONG}@127.0.0.1:1"}),
    ("gateway", {"https_proxy": f"http://me:{WRONG}@127.0.0.1:port"}),
    ("gateway", {"https_proxy": f"http://me:{WRONG}/more@127.0.0.1:1"}),
)
"""What a service does not start with."""

UNKNOWN_NKEY = {
    "GRANTGATE_NATS_NKEY_SEED": SECRETS["seed of an nkey"],
    "GRANTGATE_NATS_PASSWORD": None,
}


def start_wrongly(world):
    """Each way, all at once; every one has to end, and to say why."""
    parts = [
        _part(world, f"{user}, wrongly {number}", user, wrong)
        for number, (user, wrong) in enumerate(WAYS)
    ]
    for part in parts:
        part.start()
    for part in parts:
        until(lambda part=part: not part.is_running, f"{part.command.name} to end")
        assert part.process.returncode, part.command.name
        assert part.log.read_bytes(), part.command.name


def start_in_vain(world):
    """Services that run and reach nothing, with the wrong password or at the wrong address."""
    mongo = world.product.environ("keys")["GRANTGATE_MONGO_URL"].removeprefix("mongodb://")
    nowhere = f"127.0.0.1:{free_port()}/"
    for user, wrong, said in (
        ("keys", {"GRANTGATE_MONGO_URL": f"mongodb://me:{WRONG}@{mongo}"}, "does not answer"),
        ("keys", {"GRANTGATE_MONGO_URL": f"mongodb://me:{WRONG}@{nowhere}"}, "does not answer"),
        ("policy", {"GRANTGATE_NATS_PASSWORD": WRONG}, "Authorization Violation"),
        ("gateway", {"GRANTGATE_NATS_PASSWORD": WRONG}, "Authorization Violation"),
        *((user, UNKNOWN_NKEY, "Authorization Violation") for user in ("policy", "gateway")),
    ):
        part = _part(world, f"{user}, in vain {len(world.product.parts)}", user, wrong)
        part.start()
        until(lambda part=part, said=said: part.said(said), f"{part.command.name} to say so")
        part.end()


def run_commands(world):
    """What an operator runs, with secrets in the environment and in the rows of a file."""
    rows = world.folder / "rows.jsonl"
    row = {"token": WRONG, "key_name": CHOSEN, "models": CHOSEN, "metadata": {"secret": WRONG}}
    rows.write_text(f"{json.dumps(row)}\n{WRONG}\n")
    command = world.product.parts["keys"].command
    parts = []
    for words in (
        ("doctor",),
        ("doctor", "--json"),
        ("import", "litellm", str(rows), "--dry-run"),
        ("no-such-command",),
    ):
        argv = (str(BIN / "grantgate"), *words)
        name = f"command {len(parts)}"
        parts.append(_add(world, msgspec.structs.replace(command, name=name, argv=argv)))
        parts[-1].start()
    for part in parts:
        until(lambda part=part: not part.is_running, f"{part.command.argv} to end")
        assert part.log.read_bytes(), part.command.argv


def leak(world, secret):
    """Start a process that has the secret among its arguments, in its environment, in its log."""
    code = "import signal, sys; print(sys.argv[1], flush=True); signal.pause()"
    argv = (sys.executable, "-c", code, secret)
    part = _add(world, Command(name="leaky", argv=argv, environ={"LEAKY": secret}))
    part.start()
    # It shows its arguments once it runs itself.
    until(lambda: part.said(secret), "its line")


def _part(world, name, user, wrong):
    command = world.product.parts[user].command
    merged = {**command.environ, **OWN, **wrong}
    environ = {variable: value for variable, value in merged.items() if value is not None}
    return _add(world, msgspec.structs.replace(command, name=name, environ=environ))


def _add(world, command):
    part = world.product.parts[command.name] = Part(command, world.folder)
    return part
