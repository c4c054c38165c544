"""Leaks that are built in, one in each place: the sweep of the whole product has to find it."""

from tests.mutations import Mutation

_SWEEP = "tests/e2e/test_no_secret_leaks.py"


def _leak(file: str, old: str, new: str) -> Mutation:
    return Mutation(file, old, new, _SWEEP)


MUTATIONS = (
    # In the gateway's log: the header with the caller's key.
    _leak(
        "services/gateway/api.py",
        "            stamp.request_id = inbound.request_id or stamp.request_id\n",
        "            stamp.request_id = inbound.request_id or stamp.request_id\n"
        '            log.debug("request", headers=str(request.headers))\n',
    ),
    # In a log of the internal ports: the line that could not be read.
    _leak("shared/http.py", "problem = type(exc).__name__\n", "problem = str(exc)\n"),
    # In a label of the metrics: a key that is in the path.
    _leak(
        "services/gateway/telemetry.py",
        'label = "unmatched" if route is None else route.label',
        'label = "unmatched" if route is None else f"{route.path} {route.model}"',
    ),
    # In a message: a key that is asked about as a name.
    _leak("services/gateway/admission.py", "_NO_NAME if self._is_key(model, caller) else ", ""),
    # In records, messages, streams and files: a key where its short form belongs.
    _leak(
        "services/keys/key_management.py",
        "key_name=key_name(secret),",
        "key_name=secret.reveal(),",
    ),
    # The same with a credential of a stored model, in plain beside what is sealed.
    _leak(
        "services/keys/model_management.py",
        "params=_shown(request.litellm_params),\n            info=entry.model_info,\n",
        "params=request.litellm_params,\n            info=entry.model_info,\n",
    ),
    # In an answer: an upstream's error with our credential as JSON writes it.
    _leak("services/gateway/line.py", "dict.fromkeys(forms)", "dict.fromkeys(forms[:1])"),
    # In an answer: a key in the place of an id.
    _leak("services/keys/errors.py", "self.message = masked(message)", "self.message = message"),
    # Among the arguments of a process.
    _leak(
        "services/dev/stack.py",
        'argv=_module(f"services.{user}"),',
        'argv=(*_module(f"services.{user}"), environ["GRANTGATE_INTERNAL_TOKEN"]),',
    ),
    # In the environment of a process that has no use for it.
    _leak("services/dev/stack.py", '"policy": _DATABASE | _SALT | {', '"policy": _DATABASE | {'),
)
