"""One `grantgate up` with the example configuration, shared by the tests of this folder."""

import pytest

from tests.e2e.stack import running


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    with running(tmp_path_factory.mktemp("stack")) as up:
        yield up
