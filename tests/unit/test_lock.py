"""requirements.lock holds what pyproject.toml asks for, each file of it by its hash."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}[^\n]*)*)",
    re.MULTILINE,
)


def locked():
    found = PINNED.findall((ROOT / "requirements.lock").read_text())
    return {canonicalize_name(name): (version, hashes) for name, version, hashes in found}


def test_every_dependency_is_locked_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = locked()
    for text in project["dependencies"]:
        wanted = Requirement(text)
        version, _ = pins[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version), text


def test_every_pin_has_its_hashes_and_no_address():
    pins = locked()
    assert len(pins) > 20
    assert [name for name, (_, hashes) in pins.items() if not hashes] == []
    assert "://" not in (ROOT / "requirements.lock").read_text()
