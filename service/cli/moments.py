"""Times as people say them on a command line."""

import re
from typing import Final

from service.domain import times

_AWAY: Final = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_EXPECTED: Final = "give a time such as 2026-01-31T12:00:00Z, a day such as 2026-01-31 (UTC), or"
AGO: Final = f"{_EXPECTED} how long ago: 90s, 15m, 2h, 3d, 1w"
AHEAD: Final = f"{_EXPECTED} how long from now: 90s, 15m, 2h, 3d, 1w"


def read(text: str, now: int, *, ahead: bool = False) -> str:
    """An RFC 3339 time for a time, a day, or so long ago (``ahead``: from now); ``now`` is in ms.

    Raises ``ValueError`` with what it should have been.
    """
    away = _AWAY.fullmatch(text)
    if away is not None:
        far = times.seconds(int(away["count"]) * _SECONDS[away["unit"]])
        at = now + far if ahead else now - far
    else:
        found = times.parse(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
        at = -1 if found is None else found
    if not 0 <= at <= times.LATEST:
        raise ValueError(f"{text!r} is no time; {AHEAD if ahead else AGO}")
    return times.render(at)


def short(text: str) -> str:
    """A time of the service as a table shows it: in UTC, to the second."""
    return text[:19].replace("T", " ")
