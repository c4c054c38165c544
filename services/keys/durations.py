"""LiteLLM's durations: `30s`, `30m`, `30h`, `30d`, `2w`, `1mo` and four words."""

import calendar
import re
from datetime import UTC, datetime

_WORDS = {"hourly": "1h", "daily": "24h", "weekly": "7d", "monthly": "30d"}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# The unit is read as a prefix, so "30min" is 30 minutes; LiteLLM's documentation relies on it.
_DURATION = re.compile(r"([0-9]{1,12})(mo|[smhdw])[A-Za-z]*")
_MONTHS_OF_A_YEAR = 12


class InvalidDuration(Exception):
    """The text is no duration, or reaches beyond the year 9999."""

    def __init__(self, text: str) -> None:
        """Quote the text and say what would work."""
        super().__init__(
            f"{text[:64]!r} is not a duration: write a whole number and a unit"
            " (s, m, h, d, w, mo), such as '30d', or hourly, daily, weekly, monthly"
        )


def add_duration(start: float, text: str) -> float:
    """Add a duration to `start`; both ends are epoch seconds. Raises InvalidDuration.

    Months are those of the calendar in UTC: a month after the 31st of January is the last day of
    February.
    """
    found = _DURATION.fullmatch(_WORDS.get(text, text))
    if found is None:
        raise InvalidDuration(text)
    count, unit = int(found[1]), found[2]
    try:
        end = _add_months(start, count) if unit == "mo" else start + count * _SECONDS[unit]
        datetime.fromtimestamp(end, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidDuration(text) from error
    return end


def _add_months(start: float, count: int) -> float:
    moment = datetime.fromtimestamp(start, UTC)
    years, month = divmod(moment.month - 1 + count, _MONTHS_OF_A_YEAR)
    year = moment.year + years
    last_day = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last_day)).timestamp()


def iso_utc(at: float) -> str:
    """Write epoch seconds as ISO 8601 in UTC, to the millisecond."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
