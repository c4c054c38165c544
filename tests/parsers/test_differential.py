"""No body that the gateway accepts names another model to any parser than the one decided on."""

import pytest

from tests.parsers.differential import compare
from tests.parsers.readers import FORM_READERS, JSON_READERS, node


def test_every_parser_reads_the_decided_model_from_what_is_sent():
    with node() as running:
        report = compare(2000, 1, running)
        assert report.disagreements == []
        assert report.counts["json accepted"] > 500
        assert report.counts["json as it came"] > 50
        assert report.counts["form accepted"] > 200
        assert report.counts["node could not read"] < 50
        if running is None:
            pytest.skip("no `node` on this machine: every other parser was compared")


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("last_wins", b'{"model":"ok","\\u006dodel":"no"}', ["no"]),
        ("first_wins", b'{"model":"no","model":"ok"}', ["no"]),
        ("go", b'{"model":"ok","MODEL":"no"}', ["no"]),
        ("every_twin", b'{"model":"ok","model\\u0000x":"no"}', ["ok", "no"]),
        ("msgspec_dict", b'{"model":"ok","model":"no"}', ["no"]),
        ("msgspec_struct", b'{"model":"ok","model":"no"}', ["no"]),
    ],
)
def test_a_parser_of_json_would_tell_of_another_model(name, data, found):
    assert JSON_READERS[name](data) == found


def two_parts(second):
    head = "--b\r\nContent-Disposition: form-data; name="
    return f'{head}"model"\r\n\r\nok\r\n{head}{second}\r\n\r\nno\r\n--b--\r\n'.encode()


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("python_email", '"=?utf-8?q?model?="'),
        ("python_email", "model"),
        ("aiohttp_form", "\"x\"; name*=UTF-8''model"),
        ("case_blind", '" MODEL"'),
    ],
)
def test_a_parser_of_forms_would_tell_of_another_model(name, second):
    assert "no" in FORM_READERS[name](two_parts(second), "multipart/form-data; boundary=b")


def test_node_would_tell_of_another_model():
    form = "multipart/form-data; boundary=b"
    with node() as running:
        if running is None:
            pytest.skip("no `node` on this machine")
        assert running.read(
            [("", b'{"model":"ok","model":"no"}'), (form, two_parts('"model"'))]
        ) == [
            ["no"],
            ["ok", "no"],
        ]
