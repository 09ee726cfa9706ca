"""Query parameters: each with a reader, unknown ones refused, all faults at once."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import HTTPConnection

from service.domain import times
from service.domain.errors import Fault, Refusal, invalid

#: Turns a value into what it means, or raises ``ValueError`` with what it should have been.
Reader = Callable[[str], Any]

MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50
LONGEST: Final = 256
LARGEST: Final = 2**63 - 1
#: Control characters would end up in terminals and logs, and no name holds any.
TEXT: Final = rf"[^\x00-\x1f\x7f-\x9f]{{1,{LONGEST}}}"
_TEXT: Final = re.compile(TEXT)
#: What patterns and times have, and a query may: escaped, each would be three bytes of a header.
UNQUOTED: Final = "*,:"
_PATTERN: Final = "[A-Za-z0-9_.:/*-]{1,128}"
PATTERNS: Final = f"{_PATTERN}(,{_PATTERN}){{0,99}}"
_PATTERNS: Final = re.compile(PATTERNS)
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
#: What a time should have been.
NO_MOMENT: Final = "must be an RFC 3339 time such as 2025-01-31T12:00:00Z"


def read(request: HTTPConnection, readers: Mapping[str, Reader]) -> dict[str, Any] | Refusal:
    """The parameters given, by name; an empty one is as if it were not there."""
    values: dict[str, Any] = {}
    faults = []
    for name, text in request.query_params.multi_items():
        if name not in readers:
            known = ", ".join(sorted(readers)) or "none"
            faults.append(fault(name, f"is not known here; known are: {known}"))
        elif name in values:
            faults.append(fault(name, "is given twice; give it once"))
        elif text:
            try:
                values[name] = readers[name](text)
            except ValueError as error:
                faults.append(fault(name, str(error)))
    return invalid(*faults) if faults else values


def fault(name: str, detail: str) -> Fault:
    """A fault of the query parameter ``name``."""
    shown = name[:LONGEST]
    return Fault("/" + shown.replace("~", "~0").replace("/", "~1"), f"The parameter {detail}.")


def text(value: str) -> str:
    """Any printable text."""
    if _TEXT.fullmatch(value) is None:
        raise ValueError(f"has 1 to {LONGEST} printable characters")
    return value


def moment(value: str) -> int:
    """A time, in ms."""
    # '+' is a space in a query unless it is written as %2B, which many forget.
    at = times.parse(value.replace(" ", "+"))
    if at is None:
        raise ValueError(NO_MOMENT)
    return at


def flag(value: str) -> bool:
    """``true`` or ``false``."""
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def number(value: str) -> int:
    """A whole number from 0."""
    if _NUMBER.fullmatch(value) is None or int(value) > LARGEST:
        raise ValueError("must be a whole number, 0 or more")
    return int(value)


def patterns(value: str) -> tuple[str, ...]:
    """Patterns of types, parted by commas."""
    if _PATTERNS.fullmatch(value) is None:
        raise ValueError("must be types parted by commas, such as COMPLETED,payment.*")
    return tuple(value.split(","))


def limit(value: str) -> int:
    """How many items a page may have."""
    if _NUMBER.fullmatch(value) is None or not 1 <= int(value) <= MAX_LIMIT:
        raise ValueError(f"must be a whole number from 1 to {MAX_LIMIT}")
    return int(value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A reader of one word out of ``choices``."""

    choices: Mapping[str, str]

    def __call__(self, value: str) -> str:
        """The choice itself, such as the member of an enumeration."""
        if value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}")
        return self.choices[value]


def one_of(choices: Iterable[str]) -> Reader:
    """A reader of one word out of ``choices``; it gives the member of an enumeration as it is."""
    return OneOf({str(choice): choice for choice in choices})


def cursor(kind: str, width: int) -> Reader:
    """A reader of the cursors that lists of this kind hand out: places of ``width`` numbers."""

    def reader(value: str) -> tuple[int, ...]:
        place = _decoded(value, kind)
        if place is None or len(place) != width:
            raise ValueError("is not a cursor of this list; leave it out to start at the beginning")
        return place

    return reader


def cursor_text(kind: str, place: tuple[int, ...]) -> str:
    """A place in a list of this kind, opaque outside."""
    plain = ".".join([kind, *map(str, place)])
    return base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()


def _decoded(value: str, kind: str) -> tuple[int, ...] | None:
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        given, *numbers = plain.decode("ascii").split(".")
    except ValueError:
        return None
    if given != kind or not all(_NUMBER.fullmatch(each) for each in numbers):
        return None
    place = tuple(int(each) for each in numbers)
    return place if all(each <= LARGEST for each in place) else None
