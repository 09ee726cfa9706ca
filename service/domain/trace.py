"""W3C Trace Context: the trace that an event is of goes with it to each receiver.

A ``traceparent`` is ``00-<trace: 32 hex>-<span: 16 hex>-<flags: 2 hex>``. An event keeps the one
that its producer gave as a member of its own body, so that whoever has the event has it too.
Neither ``tracestate`` nor ``baggage`` is kept or sent on: what is in them is for nobody else.
"""

import re
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

_IDS: Final = "(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}"
#: As a member of an event: this version of the standard, to the letter.
Traceparent = Annotated[str, Meta(pattern=rf"\A00-{_IDS}-[0-9a-f]{{2}}\Z")]
#: As a header: a later version may have more behind what this one knows.
_HEADER: Final = re.compile(
    rf"(?P<version>(?!ff)[0-9a-f]{{2}})-(?P<rest>{_IDS}-[0-9a-f]{{2}})(?P<more>-.*)?"
)
_VERSION: Final = "00"
_SAMPLED: Final = 1
_MARK: Final = b'"traceparent":"'


class Place(NamedTuple):
    """A span in a trace."""

    trace: int
    span: int
    is_sampled: bool

    def __str__(self) -> str:
        """The ``traceparent`` of it."""
        return f"{_VERSION}-{self.trace:032x}-{self.span:016x}-{self.is_sampled:02x}"


class _Traced(msgspec.Struct, gc=False):
    """What is read of an event's body here."""

    traceparent: str | None = None


_traced: Final = msgspec.json.Decoder(_Traced)


def place_of(text: str) -> Place:
    """The span that a good ``traceparent`` names."""
    _, trace, span, flags = text.split("-")[:4]
    return Place(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))


def of_header(text: str | None) -> str | None:
    """The ``traceparent`` of a request; ``None`` for what is none, as if it were not there."""
    found = _HEADER.fullmatch(text.strip()) if text else None
    if found is None or (found["version"] == _VERSION and found["more"]):
        return None
    return f"{_VERSION}-{found['rest']}"


def of_body(body: bytes) -> str | None:
    """The ``traceparent`` of an event as it was rendered."""
    if _MARK not in body:
        return None  # the usual case, and one that needs no parser
    try:
        return _traced.decode(body).traceparent
    except (msgspec.DecodeError, RecursionError):
        return None


def next_traceparent(before: str | None, random16: bytes, random8: bytes) -> str:
    """A new span: in the trace of the one ``before``, or in a new one, which is sampled."""
    span = _hex(random8)
    if before is None:
        return f"{_VERSION}-{_hex(random16)}-{span}-01"
    return str(place_of(before)._replace(span=int(span, 16)))


def _hex(random: bytes) -> str:
    """An id of random bytes; not that of zeros, which is forbidden (Trace Context 1, 3.2.2)."""
    return random.hex() if any(random) else f"{1:0{2 * len(random)}x}"
