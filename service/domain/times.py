"""Times are whole milliseconds since 1970-01-01T00:00:00Z; on the wire they are RFC 3339 in UTC."""

import re
from datetime import UTC, datetime

#: Due times from here on never come: what waits for something other than the clock.
NEVER = 2**62

#: The due time of what a person wants sent now: ahead of all else, whatever holds the rest back.
HURRIED = 1

#: The last instant RFC 3339 can write (year 9999).
LATEST = 253_402_300_799_999

#: RFC 3339, 5.6. ISO 8601 also has week dates, basic forms and offsets with seconds; this has not.
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def render(at: int) -> str:
    """``1735689600123`` -> ``2025-01-01T00:00:00.123Z``."""
    moment = datetime.fromtimestamp(at // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % 1000:03d}Z"


def parse(text: str) -> int | None:
    """Read an RFC 3339 time that names its offset; ``None`` when it is not one."""
    if _RFC_3339.fullmatch(text) is None:
        return None
    try:
        return of(datetime.fromisoformat(text.upper()))
    except ValueError:  # a month 13, or a leap second, which milliseconds since 1970 cannot name
        return None


def of(moment: datetime) -> int | None:
    """Milliseconds of an aware moment; ``None`` outside 1970..9999."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    at = (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
    return at if 0 <= at <= LATEST else None


def seconds(at: float) -> int:
    """Seconds to whole milliseconds."""
    return round(at * 1000)
