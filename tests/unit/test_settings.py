"""The settings: one table of fields, the file under the environment, typed, and never printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.master_key import read_master_key
from shared.reading import ConfigError, Notes, Place
from shared.settings import FIELDS, Settings
from shared.settings_reader import VARIABLES, read_settings, with_secret_files

FILE = "config.yaml"
MASTER = Place(FILE, "general_settings.master_key")


def of(section: object = None, **environ: str) -> Settings:
    return read_settings(section, environ, FILE)


@pytest.mark.parametrize("section", [None, {}, {"errors": None}, {"keys_port": None}])
def test_nothing_written_means_the_defaults(section):
    found = of(section)
    assert [getattr(found, f) for f in FIELDS] == [getattr(Settings(), f) for f in FIELDS]


def test_every_default_is_acceptable_where_it_would_be_written():
    written = {f: getattr(Settings(), f) for f in FIELDS}
    assert repr(of(written)) == repr(Settings())


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("GRANTGATE_KEYS_PORT", "0", 0),
        ("GRANTGATE_KEYS_PORT", " 65535 ", 65535),
        ("GRANTGATE_LEASE_S", "2", 2.0),
        ("GRANTGATE_DRAIN_S", "0.25", 0.25),
        ("GRANTGATE_MAX_BODY_BYTES", "2048", 2048),
        ("GRANTGATE_LIST_MODELS", "False", False),
        ("GRANTGATE_LIST_MODELS", "1", True),
        ("GRANTGATE_LOG_FORMAT", "console", "console"),
        ("GRANTGATE_NATS_USER", "keys", "keys"),
        ("GRANTGATE_NATS_URL", "tls://nats:4222", "tls://nats:4222"),
        ("GRANTGATE_MONGO_URL", "mongodb://u:p@a,b/?x=y", "mongodb://u:p@a,b/?x=y"),
        ("GRANTGATE_KEYS_URL", "http://keys:4001/", "http://keys:4001"),
        ("GRANTGATE_GATEWAY_HOST", "::", "::"),
        ("GRANTGATE_ALLOW_PRIVATE_UPSTREAMS", "True", True),
        ("GRANTGATE_ALLOW_PRIVATE_UPSTREAMS", "10.0.0.0/8, vLLM", ("10.0.0.0/8", "vllm")),
    ],
)
def test_a_variable_is_read_as_its_fields_type(variable, text, expected):
    assert getattr(of(**{variable: text}), VARIABLES[variable]) == expected


def test_a_list_in_the_file_is_read_as_one():
    assert of({"allow_private_upstreams": ["::1", "vllm"]}).allow_private_upstreams == (
        "::1",
        "vllm",
    )
    with pytest.raises(
        ConfigError, match=r"grantgate\.allow_private_upstreams: must be true, false"
    ):
        of({"allow_private_upstreams": ["10.0.0.1/8"]})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("GRANTGATE_KEYS_PORT", "4001x"),
        ("GRANTGATE_KEYS_PORT", "-1"),
        ("GRANTGATE_LEASE_S", "0"),
        ("GRANTGATE_LEASE_S", "nan"),
        ("GRANTGATE_LEASE_S", "inf"),
        ("GRANTGATE_MAX_BODY_BYTES", "32MiB"),
        ("GRANTGATE_LIST_MODELS", "maybe"),
        ("GRANTGATE_LOG_LEVEL", "loud"),
        ("GRANTGATE_NATS_URL", "http://very-secret"),
        ("GRANTGATE_NATS_URL", "nats://u:very-secret@h"),
        ("GRANTGATE_MONGO_URL", "very-secret"),
        ("GRANTGATE_KEYS_URL", "http://u:very-secret@h"),
        ("GRANTGATE_KEYS_HOST", "a b"),
        ("GRANTGATE_MONGO_DATABASE", "a/b"),
        ("GRANTGATE_ALLOW_PRIVATE_UPSTREAMS", "10.0.0.1/8"),
        ("GRANTGATE_ALLOW_PRIVATE_UPSTREAMS", "10.0.0.0/8,"),
        ("GRANTGATE_MAX_REQUESTS", "0"),
    ],
)
def test_a_variable_that_does_not_fit_is_named_with_what_would(variable, text):
    with pytest.raises(ConfigError) as caught:
        of(**{variable: text})
    message = str(caught.value)
    assert message.startswith(f"environment: {variable}: must be ")
    assert message.endswith("; correct the value")
    assert "very-secret" not in message


def test_the_environment_goes_before_the_file():
    assert of({"keys_port": 1}, GRANTGATE_KEYS_PORT="2").keys_port == 2


def test_an_empty_variable_is_no_variable():
    assert of({"keys_port": 1}, GRANTGATE_KEYS_PORT="").keys_port == 1


def test_a_reference_that_is_overridden_need_not_be_set():
    section = {"nats_password": "os.environ/NOT_SET"}
    found = of(section, GRANTGATE_NATS_PASSWORD="p").nats_password
    assert found.reveal() == "p"


def test_a_reference_is_read_as_its_fields_type():
    assert of({"keys_port": "os.environ/PORT"}, PORT="7").keys_port == 7


def test_refusals_may_leave_the_models_out_in_either_place():
    assert of({"errors": {"list_models": False}}).list_models is False
    assert of({"list_models": False}).list_models is False


def test_one_setting_written_in_both_places_is_refused():
    with pytest.raises(ConfigError, match="list_models: is written twice"):
        of({"errors": {"list_models": False}, "list_models": True})


@given(st.sampled_from(FIELDS), st.integers(0, 3))
def test_a_misspelt_setting_is_refused_with_the_closest_known_one(field, at):
    misspelt = field[:at] + field[at + 1 :]
    with pytest.raises(ConfigError) as caught:
        of({misspelt: 1})
    assert f"grantgate.{misspelt}: is not a setting; did you mean " in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("GRANTGATE_KEYS_PROT", "; did you mean GRANTGATE_KEYS_PORT?"),
        ("GRANTGATE_NATS_PASWORD_FILE", None),
        ("GRANTGATE_", None),
    ],
)
def test_an_unknown_variable_is_a_warning(variable, hint):
    notes = Notes()
    read_settings(None, {variable: "1"}, FILE, notes)
    (line,) = notes.lines()
    assert line.startswith(f"environment: {variable}: is not a setting and is ignored")
    assert hint is None or line.endswith(hint)


def test_grantgates_other_variables_are_known():
    names = (
        "CONFIG MASTER_KEY MASTER_KEY_FILE NATS_PASSWORD_FILE MONGO_URL_FILE NATS_KEYS_PASSWORD"
        " NATS_POLICY_PASSWORD NATS_GATEWAY_PASSWORD DEMO_UPSTREAM TEST_MONGO_URL"
    )
    notes = Notes()
    environ = {f"GRANTGATE_{name}": "mongodb://h" for name in names.split()} | {"GRANT": "1"}
    read_settings(None, environ, FILE, notes)
    assert notes.lines() == ()


def test_a_margin_from_the_environment_is_blamed_there():
    with pytest.raises(ConfigError, match=r"environment: GRANTGATE_MARGIN_S: margin_s \(6\)"):
        of(GRANTGATE_MARGIN_S="6")


def test_printing_settings_shows_no_password():
    found = of({"nats_password": "very-secret", "mongo_url": "mongodb://u:very-secret@h"})
    assert "very-secret" not in repr(found)
    assert "keys_port=4001" in repr(found)


def test_any_setting_may_come_from_a_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("from-file\n")
    environ = {"GRANTGATE_NATS_PASSWORD_FILE": str(file)}
    assert with_secret_files(environ)["GRANTGATE_NATS_PASSWORD"] == "from-file"
    both = environ | {"GRANTGATE_NATS_PASSWORD": "own"}
    assert with_secret_files(both)["GRANTGATE_NATS_PASSWORD"] == "own"


@pytest.mark.parametrize(("content", "what"), [(None, "cannot be read"), ("\n", "empty file")])
def test_an_unusable_secret_file_is_named_by_its_variable(tmp_path, content, what):
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="environment: GRANTGATE_MASTER_KEY_FILE: .*" + what):
        with_secret_files({"GRANTGATE_MASTER_KEY_FILE": str(file)})


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        ("sk-in-the-file", {"GRANTGATE_MASTER_KEY": "sk-gateway"}, "sk-in-the-file"),
        ("os.environ/KEY", {"KEY": "sk-reference"}, "sk-reference"),
        (None, {"GRANTGATE_MASTER_KEY": "sk-gateway"}, "sk-gateway"),
        (None, {"LITELLM_MASTER_KEY": "sk-litellm"}, "sk-litellm"),
        (None, {"GRANTGATE_MASTER_KEY": "sk-one-1", "LITELLM_MASTER_KEY": "sk-two-2"}, "sk-one-1"),
    ],
)
def test_the_master_key_comes_from_the_file_then_ours_then_litellms(value, environ, expected):
    assert read_master_key(value, environ, MASTER).reveal() == expected


def test_no_master_key_is_none():
    assert read_master_key(None, {}, MASTER) is None


@pytest.mark.parametrize("key", ["very-secret", "sk-", "sk-1234", "sk-a b c d e", "sk-gg-1234"])
def test_a_weak_or_malformed_master_key_is_refused_without_showing_it(key):
    with pytest.raises(ConfigError) as caught:
        read_master_key(None, {"GRANTGATE_MASTER_KEY": key}, MASTER)
    assert str(caught.value).startswith("environment: GRANTGATE_MASTER_KEY: a master key begins")
    assert key not in str(caught.value) or key == "sk-"


def test_no_setting_is_called_unknown():
    notes = Notes()
    read_settings(None, dict.fromkeys(VARIABLES, ""), FILE, notes)
    assert notes.lines() == ()
