"""Events that know when they were to be posted: numbered, stamped, of one size.

The stamp travels through the service in the event's ``data``, so that the receiver can tell how
long all of it took. The clock is the machine's monotonic one, which all processes share.
"""

import time
from typing import Final, NamedTuple

#: Bytes of an event as it is posted.
EVENT_BYTES: Final = 1024
#: Events of one operation.
PER_OPERATION: Final = 4
#: What the events are called; of several types each has a number behind.
EVENT_TYPE: Final = "job.step"

_MARK: Final = b'"stamp":"'
_NUMBER: Final = 10
_MOMENT: Final = 16
_FORM: Final = b'{"operationId":"%b-%010d","type":"%b","data":{"stamp":"%010d%016d","rest":"%b"}}'


class Stamp(NamedTuple):
    """Which event it is, counted from 0, and when it was to be posted (microseconds)."""

    number: int
    moment: int


def now() -> int:
    """Microseconds on the clock of stamps."""
    return time.monotonic_ns() // 1000


def event(run: bytes, number: int, moment: int, types: int = 1) -> bytes:
    """The event as JSON; ``run`` keeps the operations of one run apart from those of others."""
    name = event_type(number, types).encode()
    body = _FORM % (run, number // PER_OPERATION, name, number, moment, b"")
    rest = b"x" * (EVENT_BYTES - len(body))
    return _FORM % (run, number // PER_OPERATION, name, number, moment, rest)


def event_type(number: int, types: int = 1) -> str:
    """What event ``number`` is called where events are of so many types, one after the other."""
    return EVENT_TYPE if types == 1 else f"{EVENT_TYPE}.{number % types}"


def read(body: bytes) -> Stamp | None:
    """The stamp in a delivered event; ``None`` where there is none."""
    start = body.find(_MARK)
    if start < 0:
        return None
    start += len(_MARK)
    middle = start + _NUMBER
    return Stamp(int(body[start:middle]), int(body[middle : middle + _MOMENT]))
