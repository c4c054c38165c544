"""The README is true where a test can tell."""

import re
from pathlib import Path

import pytest

from services.gateway.errors import Rejected
from services.gateway.refusals import SHAPES
from services.gateway.routes import Kind, resolve
from services.keys.endpoints import READS, WRITES
from shared.providers import PROVIDERS
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
METRIC = re.compile(
    r"(Counter|Gauge|Histogram|CounterMetricFamily|HistogramMetricFamily)\(\s*\"(\w+)\""
)


def test_every_setting_is_documented_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    settings = Settings()
    for name in Settings.__struct_fields__:
        default = getattr(settings, name)
        assert rows.get(name) == ("" if default is None else f"`{default}`"), name


def test_every_metric_is_documented():
    documented = (ROOT / "docs" / "metrics.md").read_text()
    sources = [*ROOT.glob("services/**/*.py"), *ROOT.glob("shared/*.py")]
    found = {match for path in sources for match in METRIC.findall(path.read_text())}
    assert len(found) > 20
    for kind, name in found:
        written = name + "_total" if kind.startswith("Counter") else name
        assert re.search(rf"^\| `{written}[`{{]", documented, re.MULTILINE), written


def test_every_provider_is_named():
    for prefix in PROVIDERS:
        assert f"`{prefix}`" in README


def test_every_reason_for_a_refusal_is_documented_with_its_status():
    for reason, shape in SHAPES.items():
        row = next(line for line in README.splitlines() if f"`{reason.value}`" in line)
        assert f"| {shape.status} |" in row


def plain(path):
    return re.sub(r"\{\w+\}", "{}", path)


def rows():
    """Every endpoint of the table of the management API, with what stands beside it."""
    section = README.partition("## Management API")[2].partition("\n\n* ")[0]
    for first, second in re.findall(r"^\| (`.*?) \| (.*) \|$", section, re.MULTILINE):
        method = None
        for word in re.findall(r"`([^`]+)`", first):
            named, _, path = word.rpartition(" ")
            method = named or method
            yield (method, plain(path)), second


TABLE = dict(rows())
SERVED = {(each.method, plain(each.path)) for each in (*WRITES, *READS)}


def is_served(method, path):
    """Whether the public port answers this endpoint, itself or through keys."""
    try:
        route = resolve(method, path.replace("{}", "x"))
    except Rejected:
        return False
    kept = route.path.replace("/x", "/{}")
    return route.kind is not Kind.MANAGEMENT or (method, kept) in SERVED


def test_every_endpoint_of_the_management_api_is_in_the_table():
    for endpoint in SERVED:
        assert not TABLE[endpoint].startswith("absent"), endpoint


@pytest.mark.parametrize("endpoint", TABLE, ids=" ".join)
def test_the_table_says_what_is_served_and_what_is_absent(endpoint):
    assert re.match(r"(same|stricter|stored only|absent)\b", TABLE[endpoint])
    method, path = endpoint
    if method == "*":
        group = path.removesuffix("*")
        assert not any(served.startswith(group) for _, served in SERVED)
        assert not is_served("POST", group + "new")
    else:
        assert is_served(method, path) != TABLE[endpoint].startswith("absent")


# What LiteLLM 1.106 has for management, beside what is served here.
ELSEWHERE = """
POST /key/{}/reset_spend, POST /team/key/bulk_update, GET /team/filter/ui,
GET /team/{}/members/me, GET /access_group/{}/budget, PUT /access_group/{}/budget,
DELETE /access_group/{}/budget, GET /health, GET /routes, GET /metrics,
GET /v1/models, GET /models, GET /v1/models/{}, GET /health/liveliness, GET /health/readiness,
POST /v1/unified_access_group, GET /v1/unified_access_group, GET /v1/unified_access_group/{},
PUT /v1/unified_access_group/{}, DELETE /v1/unified_access_group/{},
* /budget/*, * /organization/*, * /project/*, * /customer/*
"""


def test_every_endpoint_of_litellm_has_a_row():
    for endpoint in re.split(r",\s+", ELSEWHERE.strip()):
        assert tuple(endpoint.split(" ")) in TABLE, endpoint
