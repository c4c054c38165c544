"""What is kept out of an upstream's answers."""

import json
from urllib.parse import quote

import pytest

from services.gateway.line import secrets_in

CREDENTIAL = 'up/stream+"credential"=\\1'


@pytest.mark.parametrize(
    "written",
    [
        CREDENTIAL,
        json.dumps(CREDENTIAL)[1:-1],
        json.dumps(CREDENTIAL)[1:-1].replace("/", "\\/"),
        quote(CREDENTIAL),
        quote(CREDENTIAL, safe=""),
    ],
)
def test_a_credential_is_known_in_each_way_that_json_and_urls_write_it(written):
    found = secrets_in((("authorization", f"Bearer {CREDENTIAL}"), ("x-extra", "short")))
    assert written in found


def test_a_credential_that_is_written_in_one_way_only_is_looked_for_once():
    header = ("authorization", "Bearer sk-plain_credential-1")
    assert secrets_in((header, ("x-same", "sk-plain_credential-1"))) == ("sk-plain_credential-1",)
