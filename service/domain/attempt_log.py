"""What is kept of an attempt for people to look at: address, headers, response, timing parts.

What one filters and sorts by (status code, error class, duration) has columns of its own; this is
the rest, as the JSON that the API answers. Values of the subscription's own headers are masked:
users put tokens there.
"""

import base64
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from service.domain.outcome import ErrorClass, Outcome, Responded, Timing
from service.domain.request import OutboundRequest

MASK: Final = "****"

#: Bytes of one UTF-8 character: a body that was cut may end inside one.
_LONGEST_CHARACTER: Final = 4
#: Characters that JSON takes six bytes for each.
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r\b\f"))
_PRINTABLE: Final = bytes(range(32, 127))
_WITHOUT_CONTROLS: Final = dict.fromkeys(_CONTROLS, "?")
#: Of what is text at most one character in so many is such a one: else it is shorter as base64.
_TEXT_PER_CONTROL: Final = 16

#: The times of an attempt's parts where none is known.
_UNKNOWN: Final = (None, None, None, None)

_encode = msgspec.json.Encoder().encode


class Timings(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """Milliseconds of an attempt's parts, where known."""

    resolve_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None


class RequestDetail(msgspec.Struct, frozen=True):
    """The request's headers; its body is the event."""

    headers: dict[str, str]


class ResponseDetail(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """What came back. ``body_encoding`` is ``base64`` for a body that is not UTF-8 text.

    Nor is it text where many of its characters are control characters.
    """

    headers: dict[str, str]
    body: str
    body_truncated: bool
    body_encoding: str | None = None


class Detail(msgspec.Struct, omit_defaults=True, frozen=True):
    """The whole of it."""

    url: str
    request: RequestDetail
    response: ResponseDetail | None = None
    timings: Timings | None = None


def detail(request: OutboundRequest, outcome: Outcome, masked: frozenset[str]) -> bytes:
    """The attempt as compact JSON; values of headers ``masked`` names (lower case) are not kept."""
    sent = request.headers
    if masked:
        sent = tuple((name, MASK if name in masked else value) for name, value in sent)
    response = _response(outcome) if isinstance(outcome, Responded) else None
    kept = Detail(
        url=request.url,
        # what was answered went out, and so can be written down
        request=RequestDetail(_joined(sent, is_sound=response is not None)),
        response=response,
        timings=_timings(outcome.timing),
    )
    return _encode(kept)


def error_of(outcome: Outcome) -> tuple[int | None, str | None, str | None]:
    """Status code, error class and message of an attempt, each ``None`` where there is none."""
    if not isinstance(outcome, Responded):
        return None, outcome.error.value, _clean(outcome.message)
    if outcome.succeeded:
        return outcome.status, None, None
    said = f"The receiver answered {outcome.status}{phrase(outcome.status)}, which is not a 2xx."
    return outcome.status, ErrorClass.HTTP_STATUS.value, said


def phrase(status: int) -> str:
    """The name of a status, to be put behind its number; nothing where it has none."""
    # Ours, not the receiver's: a reason phrase off the wire may hold anything.
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def _response(outcome: Responded) -> ResponseDetail:
    text = _text(outcome.body, cut=outcome.body_cut)
    return ResponseDetail(
        headers=_joined([(name.lower(), value) for name, value in outcome.headers]),
        body=base64.b64encode(outcome.body).decode() if text is None else text,
        body_truncated=outcome.body_cut,
        body_encoding="base64" if text is None else None,
    )


def _text(body: bytes, *, cut: bool) -> str | None:
    """The body as text without a character that the cut split; ``None`` when it is none."""
    controls = len(body) - len(body.translate(None, _CONTROLS))
    if controls * _TEXT_PER_CONTROL > len(body):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        if cut and error.end == len(body) and error.start > len(body) - _LONGEST_CHARACTER:
            return body[: error.start].decode()
        return None


def _timings(timing: Timing) -> Timings | None:
    parts = (timing.resolve, timing.connect, timing.tls, timing.first_byte)
    if parts == _UNKNOWN:
        return None
    return Timings(*[None if ms is None else round(ms, 3) for ms in parts])


def _joined(headers: Sequence[tuple[str, str]], *, is_sound: bool = False) -> dict[str, str]:
    """Headers by name; what was sent several times is one list (RFC 9110, 5.3)."""
    by_name = dict(headers)
    if len(by_name) == len(headers) and (
        is_sound or _is_clean("".join([*by_name, *by_name.values()]))
    ):
        return by_name  # as nearly all are
    by_name.clear()
    for name, value in headers:
        clean, text = _clean(name), _clean(value)
        by_name[clean] = f"{by_name[clean]}, {text}" if clean in by_name else text
    return by_name


def _is_clean(text: str) -> bool:
    # nothing is left of what may be there; to ask whether it is printable takes four times as long
    return text.isascii() and not text.encode().translate(None, _PRINTABLE)


def _clean(text: str) -> str:
    # Receivers may send any byte. JSON is UTF-8, which has no word for half of a surrogate pair;
    # PostgreSQL's text has none for NUL, and JSON none that is short for its like.
    text = text.translate(_WITHOUT_CONTROLS)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
