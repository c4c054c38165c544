"""Reading the config file: every mistake has its line, and ids never move."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue import Catalogue, Deployment
from shared.config import Config, ConfigError, load, load_settings

BAD = sorted((Path(__file__).parent / "bad_configs").glob("*.yaml"))
SECRET = "very-secret"


def read(directory: Path, content: str, environ: dict[str, str] | None = None) -> Config:
    file = directory / "config.yaml"
    file.write_text(content, encoding="utf-8")
    return load(str(file), environ or {})


def entry(name: str, params: dict | None = None, **info: object) -> dict:
    found = {"model_name": name, "litellm_params": {"model": "openai/m"} | (params or {})}
    return found | ({"model_info": info} if info else {})


def listed(directory: Path, *entries: dict, environ: dict[str, str] | None = None) -> Config:
    return read(directory, yaml.safe_dump({"model_list": list(entries)}), environ)


@pytest.mark.parametrize("file", BAD, ids=[f.stem for f in BAD])
def test_each_mistake_is_one_line_that_names_file_path_and_cure(file):
    expected = file.read_bytes().splitlines()[0].removeprefix(b"# ").decode()
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    assert str(caught.value) == f"{file}: {expected}"
    assert SECRET not in str(caught.value)


def test_there_is_a_file_for_every_kind_of_mistake():
    assert len(BAD) > 70


def test_a_missing_file_says_how_to_name_one(tmp_path):
    file = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as caught:
        load(str(file), {})
    cure = "name one with --config or GRANTGATE_CONFIG"
    assert str(caught.value) == f"{file}: there is no such file; {cure}"


def test_a_folder_is_not_a_config_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read \(is a directory\)"):
        load(str(tmp_path), {})


def test_the_file_is_named_by_argument_then_variable_then_config_yaml(tmp_path, monkeypatch):
    for name in ("argument", "variable", "config"):
        (tmp_path / f"{name}.yaml").write_text("model_list: []")
    monkeypatch.chdir(tmp_path)
    environ = {"GRANTGATE_CONFIG": "variable.yaml"}
    assert load("argument.yaml", environ).file == "argument.yaml"
    assert load(None, environ).file == "variable.yaml"
    assert load(None, {}).file == "config.yaml"


def test_the_requirements_models_are_read_as_they_stand(tmp_path):
    config = read(
        tmp_path,
        """
model_list:
  - model_name: gpt-4
    litellm_params:
      model: openai/fake
      api_key: fake-key
      api_base: https://exampleopenaiendpoint-production.up.railway.app/
    model_info:
      access_groups: ["beta-models"] # Model Access Group
  - model_name: fireworks-llama-v3-70b-instruct
    litellm_params:
      model: fireworks_ai/accounts/fireworks/models/llama-v3-70b-instruct
      api_key: "os.environ/FIREWORKS"
    model_info:
      access_groups: ["beta-models"]
  - model_name: openai/*
    litellm_params: {model: openai/*, api_key: os.environ/OPENAI_API_KEY}
    model_info: {access_groups: ["default-models"]}
""",
    )
    assert config.warnings == ()
    assert [(d.name, d.access_groups, d.position) for d in config.deployments()] == [
        ("gpt-4", ("beta-models",), 0),
        ("fireworks-llama-v3-70b-instruct", ("beta-models",), 1),
        ("openai/*", ("default-models",), 2),
    ]
    assert config.models[1].api_key.reveal() == "os.environ/FIREWORKS"


def test_the_example_file_is_read_without_a_warning():
    example = Path(__file__).parents[2] / "config.example.yaml"
    config = load(str(example), {})
    assert config.warnings == ()
    catalogue = Catalogue(config.deployments())
    assert catalogue.groups == {"beta-models", "default-models", "restricted-models"}
    assert [d.name for d in catalogue.serving("openai/o1-mini")] == ["openai/o1-*"]
    assert catalogue.serving("BEDROCK_GROUP") == ()


def test_a_reference_may_stand_for_what_every_process_needs(tmp_path):
    config = listed(
        tmp_path,
        entry("os.environ/NAME", access_groups=["os.environ/GROUP"], id="os.environ/ID"),
        environ={"NAME": "gpt-4", "GROUP": "beta", "ID": "one"},
    )
    assert config.deployments() == (Deployment(id="one", name="gpt-4", access_groups=("beta",)),)


def test_environment_variables_of_the_file_stand_below_the_real_ones(tmp_path):
    content = """
environment_variables: {NAME: from-file, OTHER: 7, LOOP: os.environ/LOOP}
model_list: [{model_name: os.environ/NAME, litellm_params: {model: openai/m}}]
"""
    assert read(tmp_path, content).models[0].model_name == "from-file"
    assert read(tmp_path, content, {"NAME": "real"}).models[0].model_name == "real"
    found = read(tmp_path, content).environment
    assert {k: v.reveal() for k, v in found.items()} == {"NAME": "from-file", "OTHER": "7"}


def test_an_unquoted_date_is_text(tmp_path):
    content = """
model_list:
  - model_name: a
    litellm_params: {model: azure/a, api_version: 2024-10-21}
"""
    assert read(tmp_path, content).models[0].api_version == "2024-10-21"


def test_merge_keys_and_modest_aliases_work(tmp_path):
    content = "x: &p {model: openai/m, rpm: 1}\nmodel_list:\n" + "".join(
        f"  - {{model_name: m{n}, litellm_params: {{<<: *p, model: openai/{n}}}}}\n"
        for n in range(1000)
    )
    config = read(tmp_path, content)
    assert config.models[999].model == "openai/999"
    rpm = [w for w in config.warnings if "rpm" in w]
    assert len(rpm) == 1
    assert rpm[0].endswith("(and in 999 more)")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("router_settings: {fallbacks: [{a: [b]}]}", "router_settings.fallbacks: has no effect"),
        ("router_settings: {model_group_alias: {a: b}}", "model_group_alias: has no effect"),
        ("litellm_settings: {default_team_params: {a: 1}}", "default_team_params: has no effect"),
        ("general_settings: {database_url: postgres}", "database_url: is not used"),
        ("general_settings: {master_kez: a}", "did you mean master_key?"),
        ("modellist: [a]", "did you mean model_list?"),
        ("guardrails: [a]", "guardrails: is not a field Grantgate knows and is ignored"),
        ("model_list: []", "model_list: is empty: no model can be called"),
    ],
)
def test_what_has_no_effect_is_said_in_one_line(tmp_path, content, expected):
    found = [w for w in read(tmp_path, content).warnings if expected in w]
    assert len(found) == 1
    assert found[0].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("params", "info", "count"),
    [
        ({"rpm": 1}, {}, 1),
        ({"weight": 1, "tpm": 1}, {}, 2),
        ({"api_bas": "x"}, {}, 1),
        ({"rpm": None, "tags": []}, {}, 0),
        ({"input_cost_per_token": 1e-6}, {}, 0),
        ({}, {"mode": "chat", "base_model": "m", "max_tokens": 5}, 0),
        ({}, {"output_cost_per_token": 1e-6, "supports_vision": True}, 0),
        ({}, {"our_own": 1}, 1),
        ({}, {"blocked": False, "team_id": None}, 0),
    ],
)
def test_unknown_fields_of_a_model_warn_and_documented_prices_do_not(tmp_path, params, info, count):
    assert len(listed(tmp_path, entry("a", params, **info)).warnings) == count


def test_model_info_keeps_everything_and_takes_prices_of_the_parameters(tmp_path):
    params = {"input_cost_per_token": 1.5}
    model = listed(tmp_path, entry("a", params, our_own={"x": [1]})).models[0]
    assert model.model_info == {"input_cost_per_token": 1.5, "our_own": {"x": [1]}}


def test_base_url_is_another_word_for_api_base(tmp_path):
    assert listed(tmp_path, entry("a", {"base_url": "http://x"})).models[0].api_base == "http://x"


def test_a_number_is_a_good_id(tmp_path):
    assert listed(tmp_path, entry("a", id=7)).models[0].id == "7"


def test_identical_entries_get_ordinals(tmp_path):
    first, second, third = (m.id for m in listed(tmp_path, *[entry("a")] * 3).models)
    assert len(first) == 32
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_an_id_written_out_may_not_be_anothers_derived_one(tmp_path):
    derived = listed(tmp_path, entry("a")).models[0].id
    with pytest.raises(ConfigError, match=r"model_list\[1\]\.model_info\.id: the id"):
        listed(tmp_path, entry("a"), entry("b", id=derived))


def test_a_derived_id_does_not_hang_on_the_environment(tmp_path):
    model = entry("a", {"api_key": "os.environ/KEY"})
    unset, set_ = listed(tmp_path, model), listed(tmp_path, model, environ={"KEY": "k"})
    assert unset.models[0].id == set_.models[0].id
    assert unset.models[0].id != listed(tmp_path, entry("a")).models[0].id


def test_a_derived_id_is_the_same_in_every_release(tmp_path):
    # Changing it would make every deployment of every running installation a new one.
    model = entry("a", {"api_key": "os.environ/KEY", "timeout": 1.5}, access_groups=["g"])
    assert listed(tmp_path, model).models[0].id == "cf70a11e42cfa51194ec3fe50b10412a"


names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="!*"), min_size=1
)


@given(before=st.lists(names, max_size=5), after=st.lists(names, max_size=5))
def test_a_derived_id_is_stable_under_unrelated_entries(tmp_path_factory, before, after):
    directory = tmp_path_factory.mktemp("config")
    others = [[entry(f"other-{name[:40]}") for name in part] for part in (before, after)]
    alone = listed(directory, entry("the-one")).models[0].id
    among = listed(directory, *others[0], entry("the-one"), *others[1])
    assert among.models[len(before)].id == alone
    assert len({m.id for m in among.models}) == len(among.models)


@given(st.permutations(["model", "api_key", "api_base", "rpm"]))
def test_a_derived_id_does_not_hang_on_the_order_of_fields(tmp_path_factory, order):
    directory = tmp_path_factory.mktemp("config")
    fixed = entry("a", {"api_key": "k", "api_base": "b", "rpm": 1})["litellm_params"]
    params = {name: fixed[name] for name in order}
    content = yaml.safe_dump(
        {"model_list": [{"model_name": "a", "litellm_params": params}]}, sort_keys=False
    )
    assert (
        read(directory, content).models[0].id == listed(directory, entry("a", fixed)).models[0].id
    )


words = (
    "&a_ *a <<:_ !!int_ !!bool_ !!map_ !!seq_ !!str_ model_list:_ grantgate:_ x:_ 0x_ 1:9 .nan ="
)
pieces = [
    *"[]{}:,-&*!|>'\"%@`#?~ \n\t\x01\u2028",
    "\n  ",
    "- ",
    *(word.replace("_", " ") for word in words.split()),
]


@given(st.lists(st.sampled_from(pieces), max_size=30).map("".join))
def test_whatever_the_file_holds_is_read_or_refused_in_one_line(tmp_path_factory, content):
    directory = tmp_path_factory.mktemp("config")
    try:
        found = str(read(directory, content).file)
    except ConfigError as refused:
        found = str(refused)
    assert found.isprintable()


def test_nothing_prints_a_secret(tmp_path):
    params = {"api_key": SECRET, "extra_headers": {"x": SECRET}, "api_base": f"http://{SECRET}@h"}
    content = yaml.safe_dump(
        {
            "model_list": [entry("a", params)],
            "general_settings": {"master_key": f"sk-{SECRET}"},
            "environment_variables": {"A": SECRET},
            "grantgate": {"nats_password": SECRET, "mongo_url": f"mongodb://u:{SECRET}@h"},
        }
    )
    config = read(tmp_path, content)
    for thing in (config, config.models, config.models[0], config.settings, config.environment):
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)


def test_settings_alone_need_neither_file_nor_models_nor_master_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {})[0].policy_port == 4002
    bad = "general_settings: {master_key: os.environ/NO}\ngrantgate: {policy_port: 1}"
    (tmp_path / "config.yaml").write_text(bad)
    assert load_settings(None, {})[0].policy_port == 1
    with pytest.raises(ConfigError, match="there is no such file"):
        load_settings("other.yaml", {})
