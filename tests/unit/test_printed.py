"""Whatever holds a secret shows nothing of it when it is printed."""

from pathlib import Path

import msgspec
import pytest

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
from services.keys.management import Plan
from services.keys.model_requests import ModelNew, ModelPatch, ModelUpdate
from services.keys.requests import (
    KeyBulkItem,
    KeyBulkUpdate,
    KeyDelete,
    KeyGenerate,
    KeyInfoQuery,
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
    ModelNew(model_name="x", litellm_params=PARAMS),
    ModelPatch(model_id="a", litellm_params=PARAMS),
    ModelUpdate(id="a", litellm_params=PARAMS),
    KeyGenerate(key=HIDDEN),
    KeyUpdate(key=HIDDEN),
    KeyRegenerate(key=HIDDEN, new_key=HIDDEN),
    KeyDelete(keys=(HIDDEN,)),
    KeyNamed(key=HIDDEN),
    KeyInfoQuery(key=HIDDEN),
    KeyBulkUpdate(keys=(KeyBulkItem(key=HIDDEN),)),
    DecideRequest(key=HIDDEN),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_what_holds_a_secret_prints_none_of_it(holder):
    shown = f"{holder} {holder!r} {[holder]} {({'a': holder},)}"
    assert HIDDEN not in shown
    assert type(holder).__name__ in shown


def test_a_holder_that_does_not_hide_it_would_be_seen():
    leaky = msgspec.defstruct("Leaky", [("key", str)])(HIDDEN)
    assert HIDDEN in f"{leaky}"
