"""What a gateway makes of keys' answer about a model made at run time."""

import aiohttp
import pytest

from services.gateway.stored_upstreams import StoredUpstreams
from services.gateway.upstreams import Upstreams
from shared.catalogue import VERSIONED
from shared.credentials import Secret
from tests.service.recording import Recorder

REF = f"m{VERSIONED}1"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model_name":"\xe9"}', b"[" * 100_000])
async def test_an_answer_that_cannot_be_read_is_a_model_that_is_not_known(body, capfd):
    async with Recorder().running() as keys, aiohttp.ClientSession() as session:
        keys.answering(body)
        url = f"http://127.0.0.1:{keys.port}"
        stored = StoredUpstreams(Upstreams({}), session, url, Secret("token"), {})
        await stored.bring([REF])
        assert stored.get(REF) is None
        assert len(keys.requests) == 1
    assert "stored_upstream_not_fetched" in capfd.readouterr().out
