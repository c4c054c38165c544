"""What a run stored is there in the next, also when the stream's storage is gone by then."""

import shutil

from tests.e2e.stack import running


def test_keys_and_blocks_outlive_the_stack_and_its_stream(tmp_path):
    with running(tmp_path) as first:
        used = first.manage("/key/generate", {"models": ["gpt-4"]})["key"]
        blocked = first.manage("/key/generate", {"models": ["gpt-4"]})["key"]
        first.manage("/key/block", {"key": blocked})
        assert first.chat(used, "gpt-4").status_code == 200
        assert first.stop() == 0
    with running(tmp_path) as second:
        assert second.chat(used, "gpt-4").status_code == 200
        assert second.chat(used, "gpt-4o").status_code == 403
        assert second.chat(blocked, "gpt-4").status_code == 401
        assert second.stop() == 0
    shutil.rmtree(tmp_path / "data" / "jetstream")
    with running(tmp_path) as third:
        assert third.chat(used, "gpt-4").status_code == 200
        assert third.chat(blocked, "gpt-4").status_code == 401
