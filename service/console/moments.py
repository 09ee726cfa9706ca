"""Times as people write them into filters: as pages show them, to the minute, or a day."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, urlencode

from service.domain.errors import Fault
from service.web import queries

_NAMES: Final = frozenset({"since", "until", "createdAfter", "createdBefore"})
#: What people leave out may be missing: the letters T and Z, the seconds, the time of day.
_SHORT: Final = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<minute>[0-9]{2}:[0-9]{2})(?P<second>:[0-9]{2}(?:\.[0-9]+)?)?Z?)?"
)
#: What is said of a time that is none; people need not write it as programs do.
_NO_MOMENT: Final = queries.fault("", queries.NO_MOMENT).detail
_SAID: Final = queries.fault(
    "",
    "must be a time as the tables show it, such as 2025-01-31 12:00:00, to the minute or of a day, "
    "in UTC; or in RFC 3339, such as 2025-01-31T12:00:00+01:00",
).detail


def told(faults: Iterable[Fault]) -> list[Fault]:
    """The faults, with all that a time may be written like."""
    return [replace(each, detail=_SAID) if each.detail == _NO_MOMENT else each for each in faults]


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
