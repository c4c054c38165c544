"""The command line: `grantgate up` and one command for each service."""

import importlib
import importlib.metadata
import os
from pathlib import Path
from typing import Annotated

import typer

from shared.credentials import internal_token

app = typer.Typer(
    name="grantgate",
    help="Grantgate decides which virtual key may call which LLM.",
    no_args_is_help=True,
    add_completion=False,
    # A trace with local variables could show a secret.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The config.yaml. Else the variable GRANTGATE_CONFIG, else ./config.yaml.",
        exists=True,
        dir_okay=False,
        readable=True,
    ),
]


WorkersCount = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="How many processes. Else the setting `workers`, else one.",
    ),
]


def _use(config: Path | None) -> None:
    """Have a command that reads the configuration once read this file."""
    if config is not None:
        os.environ["GRANTGATE_CONFIG"] = str(config.resolve())


def _serve(service: str, config: Path | None, workers: int | None = None) -> None:
    """Run a service in this process and end with its exit status."""
    if workers is not None:
        os.environ["GRANTGATE_WORKERS"] = str(workers)
    if config is not None:
        # Not resolved: where the name is a link, another file may stand behind it later.
        os.environ["GRANTGATE_CONFIG"] = str(config.absolute())
    # Imported now: each service brings libraries that the other commands do without.
    module = importlib.import_module(f"services.{service}.__main__")
    raise typer.Exit(module.main())


def _show_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


@app.command()
def up(  # noqa: PLR0913 - one parameter for each option
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="The config.yaml. Else the example, whose models lead to the demo upstream.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    data_dir: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where the data stays between runs.", file_okay=False),
    ] = Path(".grantgate"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's port; 0 takes a free one.")
    ] = 4000,
    policy_replicas: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="How many policy replicas.")
    ] = 1,
    gateways: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="How many gateways share the port.")
    ] = 1,
    nats_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="GRANTGATE_NATS_URL",
            help="Use this NATS server, not an embedded one. Its users' passwords come from "
            "GRANTGATE_NATS_KEYS_PASSWORD, ..._POLICY_PASSWORD and ..._GATEWAY_PASSWORD.",
        ),
    ] = None,
    mongo_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="GRANTGATE_MONGO_URL",
            help="Use this MongoDB, not an embedded one. "
            "Set the variable instead when the address holds a password.",
        ),
    ] = None,
    master_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with the master key. Else the variable GRANTGATE_MASTER_KEY, "
            "else one is made for this run and shown once.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
) -> None:
    """Run the whole stack on this machine, for development.

    It binds loopback, says "ready" once requests are served, and stops everything on Ctrl-C.
    """
    development = importlib.import_module("services.dev.up")
    options = development.Options(
        config=config,
        data_dir=data_dir,
        port=port,
        policy_replicas=policy_replicas,
        gateways=gateways,
        nats_url=nats_url,
        mongo_url=mongo_url,
        master_key_file=master_key_file,
    )
    raise typer.Exit(development.up(options))


@app.command()
def keys(*, config: ConfigFile = None) -> None:
    """Run the control plane: keys, teams and the log of their changes (needs MongoDB and NATS)."""
    _serve("keys", config)


@app.command()
def policy(*, config: ConfigFile = None, workers: WorkersCount = None) -> None:
    """Run a policy replica: it holds the grants and answers every decision (needs NATS)."""
    _serve("policy", config, workers)


@app.command()
def gateway(*, config: ConfigFile = None, workers: WorkersCount = None) -> None:
    """Run a gateway: the public port, which asks policy and relays to upstreams (needs NATS)."""
    _serve("gateway", config, workers)


@app.command()
def doctor(
    *,
    config: ConfigFile = None,
    adopt_log: Annotated[
        bool,
        typer.Option(
            "--adopt-log", help="The log as it is is the truth: what only the stream has is lost."
        ),
    ] = False,
    restore_from_stream: Annotated[
        bool,
        typer.Option(
            "--restore-from-stream",
            help="Append to a log that was restored from an older copy what the stream still has.",
        ),
    ] = False,
    above: Annotated[
        int,
        typer.Option(min=0, metavar="REVISION", help="Lift the log's head at least this high."),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Show it as JSON.")] = False,
) -> None:
    """Compare the log with the stream; without a flag nothing is changed.

    Ends with 0 when all is well, 1 when something was found, 2 when it could not be done.
    """
    _use(config)
    if adopt_log and restore_from_stream:
        message = "choose one of --adopt-log and --restore-from-stream"
        raise typer.BadParameter(message)
    command = importlib.import_module("services.keys.doctor_command")
    choice = "adopt-log" if adopt_log else "restore-from-stream" if restore_from_stream else "look"
    options = command.Options(choice=choice, above=above, as_json=as_json)
    raise typer.Exit(command.main(options))


moving = typer.Typer(help="Take records over from elsewhere.", no_args_is_help=True)
app.add_typer(moving, name="import")


@moving.callback()
def _moving() -> None:
    """Let what is taken over be named, though there is one."""


@moving.command("litellm")
def import_litellm(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="One row a line, in JSON: keys, teams, users, models, unified groups.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    *,
    config: ConfigFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; tell what would be done.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Where a record is here and differs, take the row's."),
    ] = False,
) -> None:
    """Take over LiteLLM's rows: keys go on working, by the same secrets (needs MongoDB).

    Tells what will be decided differently, and why. All rows are taken over or none; what is
    here already stays as it is. keys may run meanwhile, and puts it in force. Encrypted models
    are opened with the variable LITELLM_SALT_KEY. A key that was deleted here comes back when
    its row is in FILE again.

    Ends with 0 when done, 1 when rows are at fault, 2 when it could not be done.
    """
    _use(config)
    command = importlib.import_module("services.keys.import_command")
    options = command.Options(file=file, dry_run=dry_run, replace=replace)
    raise typer.Exit(command.main(options))


@app.command()
def token(*, config: ConfigFile = None) -> None:
    """Print the internal token, which keys wants in a header for `/health/propagation`."""
    _use(config)
    configuration = importlib.import_module("shared.config")
    try:
        loaded = configuration.load(None, os.environ)
    except configuration.ConfigError as problem:
        typer.echo(f"grantgate token: {problem}", err=True)
        raise typer.Exit(2) from None
    found = internal_token(loaded.settings.internal_token, loaded.master_key)
    if found is None:
        typer.echo(
            "grantgate token: set GRANTGATE_MASTER_KEY or GRANTGATE_INTERNAL_TOKEN", err=True
        )
        raise typer.Exit(2)
    typer.echo(found.reveal())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(importlib.metadata.version("grantgate"))
