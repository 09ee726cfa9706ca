"""Times as people write them into filters: as pages show them, to the minute, or a day."""

import re
from typing import Final
from urllib.parse import parse_qsl, urlencode

from service.web import queries

_NAMES: Final = frozenset({"since", "until", "createdAfter", "createdBefore"})
#: What people leave out may be missing: the letters T and Z, the seconds, the time of day.
_SHORT: Final = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<minute>[0-9]{2}:[0-9]{2})(?P<second>:[0-9]{2}(?:\.[0-9]+)?)?Z?)?"
)


def whole(query: bytes) -> bytes:
    """The query of an address with its times in full, in UTC as all that pages show."""
    had = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    got = [(name, _whole(value) if name in _NAMES else value) for name, value in had]
    return query if got == had else urlencode(got, safe=queries.UNQUOTED).encode()


def _whole(text: str) -> str:
    found = _SHORT.fullmatch(text.strip())
    if found is None:
        return text
    return f"{found['day']}T{found['minute'] or '00:00'}{found['second'] or ':00'}Z"
