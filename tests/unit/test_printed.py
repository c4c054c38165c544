"""Whatever holds a secret shows nothing of it when it is printed."""

import importlib
import inspect
import pkgutil
import re
from dataclasses import is_dataclass
from pathlib import Path

import msgspec
import pytest

import services
import shared
from services.dev.master_key import MasterKey
from services.dev.stack import Shape
from services.dev.supervisor import Command
from services.dev.up import Options
from services.gateway.line import Line
from services.gateway.stored_upstreams import _OneModel, _Stored
from services.gateway.target import target_of
from services.gateway.tunnels import Proxy
from services.gateway.upstreams import Upstream
from services.keys.litellm_rows import LiteLLMModel
from services.keys.litellm_shapes import ModelRow
from services.keys.management import Plan
from services.keys.model_requests import ModelFields, ModelNew, ModelPatch, ModelUpdate
from services.keys.requests import (
    KeyBulkItem,
    KeyBulkUpdate,
    KeyDelete,
    KeyGenerate,
    KeyInfoQuery,
    KeyInfos,
    KeyNamed,
    KeyRegenerate,
    KeyUpdate,
)
from services.policy.api import DecideRequest
from shared.config import Config
from shared.credentials import Secret
from shared.model_list import ModelEntry
from shared.settings import Settings

HIDDEN = "sk-hidden-in-all-that-is-printed"
WRAPPED = Secret(HIDDEN)
URL = f"mongodb://me:{HIDDEN}@db/"
PARAMS = {"model": "openai/x", "api_key": HIDDEN}
PATH = Path("data")

UPSTREAM = Upstream(
    id="a",
    speaks="openai",
    base_url=f"http://{HIDDEN}",
    name="x",
    model="x",
    headers=(("authorization", f"Bearer {HIDDEN}"),),
)
ENTRY = ModelEntry(
    id="a",
    model_name="x",
    access_groups=(),
    position=1,
    path="model_list[0]",
    model="openai/x",
    api_base=f"http://{HIDDEN}",
    api_key=WRAPPED,
    extra_headers={"x": WRAPPED},
)
SETTINGS = Settings(
    nats_password=WRAPPED,
    nats_nkey_seed=WRAPPED,
    mongo_url=URL,
    internal_token=WRAPPED,
    snapshot_token=WRAPPED,
    salt_key=WRAPPED,
)
HOLDERS = [
    WRAPPED,
    UPSTREAM,
    ENTRY,
    SETTINGS,
    Config(
        file="f",
        models=(ENTRY,),
        settings=SETTINGS,
        master_key=WRAPPED,
        environment={"A": WRAPPED},
        warnings=(),
    ),
    Command(name="a", argv=("a",), environ={"A": HIDDEN}),
    MasterKey(environ={"A": HIDDEN}, in_shell=HIDDEN),
    Shape(data_dir=PATH, port=1, mongo_url=URL, nats_url=URL),
    Options(mongo_url=URL, nats_url=URL),
    Proxy("h", 1, HIDDEN.encode()),
    Line(UPSTREAM, HIDDEN, target_of("a", f"http://h/{HIDDEN}"), HIDDEN.encode()),
    _Stored("a", 1, "x", PARAMS),
    _OneModel("f", (ENTRY,), {"A": WRAPPED}),
    LiteLLMModel(
        id="a",
        name="x",
        params=PARAMS,
        info={},
        blocked=False,
        created_at=0,
        updated_at=0,
        created_by="",
        updated_by="",
    ),
    Plan(writes=(), answer={"key": HIDDEN}, reason="key/generate"),
    ModelFields(litellm_params=PARAMS),
    ModelNew(model_name="x", litellm_params=PARAMS),
    ModelPatch(model_id="a", litellm_params=PARAMS),
    ModelUpdate(id="a", litellm_params=PARAMS),
    KeyGenerate(key=HIDDEN),
    KeyUpdate(key=HIDDEN),
    KeyRegenerate(key=HIDDEN, new_key=HIDDEN),
    KeyDelete(keys=(HIDDEN,)),
    KeyNamed(key=HIDDEN),
    KeyInfoQuery(key=HIDDEN),
    KeyInfos(keys=[HIDDEN]),
    KeyBulkItem(key=HIDDEN),
    KeyBulkUpdate(keys=[KeyBulkItem(key=HIDDEN)]),
    ModelRow(model_name="x", litellm_params=PARAMS),
    DecideRequest(key=HIDDEN),
]


_SECRETIVE = re.compile(
    r"(api_|new_|master_|salt_|^)keys?|.*(secret|password|token|credential)s?"
    r"|.*headers|environ(ment)?|(litellm_)?params|(mongo|nats)_url|secrets|sealed|answer"
)
"""Names of fields in which a secret may stand."""

NO_SECRET = {
    "services.gateway.admission.Caller": "a digest",
    "services.keys.callers.Caller": "a record, which has a digest",
    "services.keys.litellm_shapes.KeyRow": "a digest",
    "services.keys.log.Rest": "what is shown of keys",
    "services.keys.records.ModelDetails": "ciphertext, and what is shown of parameters",
    "services.keys.roles.Rule": "who may make a call about keys",
    "shared.decisions.ListQuestion": "a digest",
    "shared.decisions.Question": "a digest",
    "shared.providers.Provider": "the name of a header",
    "shared.workers.Service": "a port",
}
_DESCRIBED = re.compile(r"services\.keys\.((model|team|user)_)?shapes\.")
"""Modules whose Structs describe answers in `/openapi.json`: none of them is ever made."""


def secretive():
    """Every Struct, NamedTuple and dataclass with a field in which a secret may stand."""
    for package in (services, shared):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            for _, found in inspect.getmembers(module, inspect.isclass):
                fields = inspect.get_annotations(found)
                is_record = issubclass(found, msgspec.Struct | tuple) or is_dataclass(found)
                is_ours = found.__module__ == info.name and is_record
                if is_ours and any(_SECRETIVE.fullmatch(name) for name in fields):
                    yield f"{info.name}.{found.__name__}"


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_what_holds_a_secret_prints_none_of_it(holder):
    shown = f"{holder} {holder!r} {[holder]} {({'a': holder},)}"
    assert HIDDEN not in shown
    assert type(holder).__name__ in shown


def test_a_holder_that_does_not_hide_it_would_be_seen():
    leaky = msgspec.defstruct("Leaky", [("key", str)])(HIDDEN)
    assert HIDDEN in f"{leaky}"


def test_whatever_may_hold_a_secret_is_printed_here():
    found = {name for name in secretive() if not _DESCRIBED.match(name)}
    shown = {f"{type(each).__module__}.{type(each).__name__}" for each in HOLDERS}
    assert found - shown == NO_SECRET.keys()
