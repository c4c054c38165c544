"""What models at run time may be: the one a call names, and what it says of one."""

from urllib.parse import urlsplit

from services.keys.access_groups import check_group_name
from services.keys.errors import InvalidRequest, NotFound
from services.keys.management import Context, check_id
from services.keys.records import ModelRecord
from services.keys.state import State
from shared.credentials import is_ours
from shared.model_list import ModelEntry, read_models
from shared.reading import REFERENCE, ConfigError, Notes, Place
from shared.upstream_checks import check_upstream

_MAX_ID = 128


def known(state: State, model_id: str, field: str) -> ModelRecord:
    """Look a model up that a field names. Raises NotFound."""
    found = state.models.get(model_id)
    if found is None:
        msg = f"Model not found, passed model id: {model_id[:256]}"
        raise NotFound(msg, field)
    return found


def stored(state: State, model_id: str, field: str) -> ModelRecord:
    """The same for a call that leaves declared models alone. Raises NotFound, InvalidRequest."""
    found = known(state, model_id, field)
    if found.details.source == "config":
        msg = "This model is declared in the configuration: change it there"
        raise InvalidRequest(msg, field)
    return found


def read_entry(
    name: str,
    params: dict[str, object],
    info: dict[str, object],
    ctx: Context,
    *,
    is_imported: bool = False,
) -> tuple[ModelEntry, list[str]]:
    """Read an entry as one of the config file is read, in the same words, with its warnings.

    What is wrong is the caller's: raises InvalidRequest. An imported entry may be one of a
    provider that no gateway here can use.
    """
    place, notes = Place("request"), Notes()
    _check_references(params, "litellm_params")
    raw = {"model_name": name, "litellm_params": params, "model_info": info}
    try:
        (entry,) = read_models([raw], {}, place, notes)
        if not is_imported:
            check_upstream(entry, Place("request", entry.path).field("litellm_params"))
    except ConfigError as error:
        raise _refused(error) from error
    _check_reach(entry, ctx)
    return entry, [line.removeprefix("request: ").removeprefix("[0].") for line in notes.lines()]


def _refused(error: ConfigError) -> InvalidRequest:
    """The same for a caller: it begins with the place in the entry, which is the body."""
    message = str(error).removeprefix("request: ").removeprefix("[0].")
    return InvalidRequest(message, message.partition(": ")[0])


def _check_reach(entry: ModelEntry, ctx: Context) -> None:
    """Refuse an address of ours. A name, and a variable's value, the gateway judges on connecting.

    What cannot be read here as a URL cannot there either.
    """
    if entry.api_base is None or entry.api_base.startswith(REFERENCE):
        return
    try:
        parts = urlsplit(entry.api_base)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    where = "litellm_params.api_base"
    if not host:
        msg = f"{where}: must be an http:// or https:// URL; write it like https://host/v1"
        raise InvalidRequest(msg, where)
    if ctx.reach.refuses(host):
        msg = (
            f"{where}: leads to a private or special address, and a model made at run time may"
            " not; name the network or host in the setting grantgate.allow_private_upstreams,"
            " or declare the model in the configuration file"
        )
        raise InvalidRequest(msg, where)


def _check_references(value: object, where: str) -> None:
    """A credential may be a variable of the gateway's environment, but none of our own secrets."""
    if isinstance(value, dict):
        for name, member in value.items():
            _check_references(member, f"{where}.{name}")
    elif isinstance(value, list):
        for member in value:
            _check_references(member, where)
    elif (
        isinstance(value, str)
        and value.startswith(REFERENCE)
        and is_ours(value.removeprefix(REFERENCE))
    ):
        msg = f"{where}: this environment variable is not for upstreams"
        raise InvalidRequest(msg, where)


def check_model_id(chosen: object) -> str:
    """Validate an id a caller chose for a model. Raises InvalidRequest."""
    if not isinstance(chosen, str) or len(chosen) > _MAX_ID:
        msg = f"model_info.id must be text of up to {_MAX_ID} characters"
        raise InvalidRequest(msg, "model_info.id")
    return check_id(chosen, "model_info.id")


def groups_of(info: dict[str, object]) -> tuple[str, ...]:
    """The access groups that a `model_info` names, each once. Raises InvalidRequest."""
    groups = info.get("access_groups") or []
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        msg = "model_info.access_groups must be a list of text"
        raise InvalidRequest(msg, "model_info.access_groups")
    named = (check_group_name(group, "model_info.access_groups") for group in groups)
    return tuple(dict.fromkeys(named))
