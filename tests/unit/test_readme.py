"""The README is true where a test can tell."""

import re
from pathlib import Path

from services.gateway.providers import PROVIDERS
from services.gateway.refusals import SHAPES
from shared.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_setting_is_documented_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    settings = Settings()
    for name in Settings.__struct_fields__:
        default = getattr(settings, name)
        assert rows.get(name) == ("" if default is None else f"`{default}`"), name


def test_every_provider_is_named():
    for prefix in PROVIDERS:
        assert f"`{prefix}`" in README


def test_every_reason_for_a_refusal_is_documented_with_its_status():
    for reason, shape in SHAPES.items():
        row = next(line for line in README.splitlines() if f"`{reason.value}`" in line)
        assert f"| {shape.status} |" in row
