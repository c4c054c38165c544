"""Which master key the development stack has, and how a shell gets hold of it."""

import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from shared.credentials import Secret

VARIABLES = (
    "GRANTGATE_MASTER_KEY",
    "GRANTGATE_MASTER_KEY_FILE",
    "LITELLM_MASTER_KEY",
)
"""Where a master key may stand in the environment, the first one first."""

_SECRET_BYTES = 24


class MasterKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the services' environment needs for it, its form in a shell command, and a remark."""

    environ: Mapping[str, str]
    in_shell: str
    remark: str | None = None

    def __repr__(self) -> str:
        """Show nothing."""
        return "MasterKey(***)"


def with_file(environ: Mapping[str, str], file: str | None) -> dict[str, str]:
    """The environment in which a file that was named on the command line comes first."""
    if file is None:
        return dict(environ)
    rest = {name: value for name, value in environ.items() if name not in VARIABLES}
    return rest | {"GRANTGATE_MASTER_KEY_FILE": file}


def choose(configured: Secret | None, environ: Mapping[str, str], config_file: str) -> MasterKey:
    """Take the configured key; make one when there is none.

    The secret itself is in the answer's `in_shell` only when it was made here: that is the one
    place where it is shown.
    """
    if configured is None:
        made = f"sk-{secrets.token_urlsafe(_SECRET_BYTES)}"
        return MasterKey(
            environ={"GRANTGATE_MASTER_KEY": made},
            in_shell=made,
            remark="no master key is set: one was made for this run, see the curl below",
        )
    for name in ("GRANTGATE_MASTER_KEY", "LITELLM_MASTER_KEY"):
        if environ.get(name) == configured.reveal():
            return MasterKey(environ={}, in_shell=f"${name}")
    file = environ.get("GRANTGATE_MASTER_KEY_FILE")
    if file and Path(file).read_text().strip() == configured.reveal():
        return MasterKey(environ={}, in_shell=f"$(cat {shlex.quote(file)})")
    return MasterKey(
        environ={},
        in_shell="$GRANTGATE_MASTER_KEY",
        remark=f"the master key is that of {config_file}: before you paste the curl below, "
        "set GRANTGATE_MASTER_KEY to it",
    )
