import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.keys.durations import InvalidDuration, add_duration, iso_utc


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("30m", 1800),
        ("30min", 1800),
        ("30minutes", 1800),
        ("30h", 108_000),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("0s", 0),
        ("hourly", 3600),
        ("daily", 86_400),
        ("weekly", 604_800),
        ("monthly", 2_592_000),
    ],
)
def test_a_duration_is_a_number_and_a_unit_or_a_word(text, seconds):
    assert add_duration(1000.5, text) == 1000.5 + seconds


@pytest.mark.parametrize(
    ("start", "text", "end"),
    [
        ("2026-01-15T10:00:00", "1mo", "2026-02-15T10:00:00"),
        ("2026-01-31T10:00:00", "1mo", "2026-02-28T10:00:00"),
        ("2028-01-31T10:00:00", "1month", "2028-02-29T10:00:00"),
        ("2026-12-01T00:00:00", "1mo", "2027-01-01T00:00:00"),
        ("2026-11-30T00:00:00", "27months", "2029-02-28T00:00:00"),
    ],
)
def test_months_are_those_of_the_calendar(start, text, end):
    assert add_duration(at(start), text) == at(end)


@pytest.mark.parametrize(
    "text",
    ["", "30", "d", "-1", "-1d", "1.5h", " 1d", "1d ", "1 d", "1y", "1d12h", "30D", "٣d", "never"],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidDuration):
        add_duration(0, text)


@pytest.mark.parametrize("text", ["999999999999d", "999999999999mo", "999999999999s"])
def test_an_end_beyond_the_calendar_is_refused(text):
    with pytest.raises(InvalidDuration):
        add_duration(0, text)


@given(st.text(max_size=12))
def test_no_text_does_anything_but_end_later_or_be_refused(text):
    with contextlib.suppress(InvalidDuration):
        assert add_duration(1000.0, text) >= 1000.0


def test_times_are_written_in_utc():
    assert iso_utc(at("2026-01-02T03:04:05") + 0.25) == "2026-01-02T03:04:05.250Z"
