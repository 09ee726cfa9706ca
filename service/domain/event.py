"""An operation event: what a producer posts, and the object every reader gets.

The JSON under ``data``, ``result``, ``error`` and ``warnings`` is kept as :class:`msgspec.Raw`: a
parse and dump would turn ``1.10`` into ``1.1`` and ``1e400`` into ``null``; the bytes are what
the producer signed off.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from service.domain import times
from service.domain.errors import Fault
from service.domain.operation import Status, implied_status
from service.domain.trace import Traceparent

Id = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
EventType = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,128}\Z")]
OperationType = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.:/-]{1,128}\Z")]
Message = Annotated[str, Meta(max_length=8192)]
_Percentage = Annotated[float, Meta(ge=0, le=100)]
_Count = Annotated[float, Meta(ge=0, le=2**63)]

#: Bytes that an event takes whatever is in it.
_WEIGHT: Final = 1024


class EventIn(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True, gc=False):
    """One event as a producer posts it."""

    type: EventType
    id: Id | None = None
    operation_id: Id | None = None
    operation_type: OperationType | None = None
    timestamp: str | None = None
    status: Status | None = None
    #: Of the span it was made in, where that is another than the request's.
    traceparent: Traceparent | None = None
    message: Message | None = None
    progress: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()
    warnings: Raw = Raw()
    data: Raw = Raw()

    @property
    def weight(self) -> int:
        """Bytes that it takes while it waits, about."""
        own = len(self.data) + len(self.result) + len(self.error) + len(self.warnings)
        return _WEIGHT + own + len(self.progress) + len(self.message or "")


class Phase(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One phase of a phased progress."""

    name: str
    status: str
    percentage: _Percentage | None = None
    duration: _Count | None = None


class Progress(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Counted or phased progress."""

    current: _Count | UnsetType = UNSET
    total: _Count | UnsetType = UNSET
    percentage: _Percentage | UnsetType = UNSET
    phase: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    phases: list[Phase] | UnsetType = UNSET


class ErrorObject(msgspec.Struct, rename="camel", kw_only=True):
    """The members of an RFC 9457 problem that Ringback reads; others are the producer's own."""

    type: str | None = None
    title: str | None = None
    status: int | None = None
    detail: str | None = None
    instance: str | None = None
    retryable: bool | None = None
    retry_after: _Count | None = None


class EventOut(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    """The event object of log, streams and webhooks; encoded once, when it is accepted."""

    id: str
    type: str
    timestamp: str
    operation_id: str | None = None
    operation_type: str | None = None
    client_job_id: str | None = None
    sequence: int | None = None
    status: str | None = None
    traceparent: str | None = None
    message: str | None = None
    progress: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    warnings: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET


#: The members whose bytes travel untouched.
RAW_MEMBERS: Final = ("progress", "result", "error", "warnings", "data")

_NONE: Final = Raw(b"null")  # a Raw equals no bytes
_progress = msgspec.json.Decoder(_Percentage | Progress)
_error = msgspec.json.Decoder(ErrorObject)
_warnings = msgspec.json.Decoder(list[Raw])
encode = msgspec.json.Encoder().encode


def check(event: EventIn) -> list[Fault]:
    """The faults that the field types alone do not show; an event without any may be planned."""
    faults = []
    implied = implied_status(event.type, event.status)
    if isinstance(implied, str) and not isinstance(implied, Status):
        faults.append(Fault("/status", implied))
    if event.timestamp is not None and times.parse(event.timestamp) is None:
        faults.append(Fault("/timestamp", "is not an RFC 3339 time such as 2025-01-31T12:00:00Z"))
    for name, decoder, wanted in _SHAPES:
        raw = getattr(event, name)
        if raw and raw != _NONE:
            faults.extend(_shape_faults(name, raw, decoder, wanted))
    return faults


_SHAPES: Final = (
    (
        "progress",
        _progress,
        "a number from 0 to 100, or {current, total, percentage?, phase?, message?, phases?}",
    ),
    ("error", _error, "an RFC 9457 problem object, with retryable and retryAfter where known"),
    ("warnings", _warnings, "an array"),
)


def _shape_faults(
    name: str, raw: Raw, decoder: msgspec.json.Decoder[Any], wanted: str
) -> list[Fault]:
    try:
        decoder.decode(raw)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        return [Fault(f"/{name}", f"must be {wanted}: {error}")]
    return []


def normal_progress(raw: Raw) -> Raw:
    """The progress, its percentage derived when ``current`` and ``total`` allow it."""
    if not raw or raw == _NONE:
        return Raw()
    progress = _progress.decode(raw)
    if not isinstance(progress, Progress) or progress.percentage is not UNSET:
        return raw
    if progress.current is UNSET or progress.total is UNSET or not progress.total:
        return raw
    members = msgspec.json.decode(raw, type=dict[str, Raw])
    share = min(progress.current / progress.total, 1.0)
    members["percentage"] = Raw(encode(round(share * 100, 2)))
    return Raw(encode(members))


def percentage(progress: Raw) -> float | None:
    """How far a progress is that :func:`normal_progress` gave, 0 to 100; ``None``: not told."""
    if not progress:
        return None
    told: float | Progress = _progress.decode(progress)
    if not isinstance(told, Progress):
        return told
    return None if told.percentage is UNSET else told.percentage


def own_event(
    kind: str,
    operation_id: str,
    *,
    operation_type: str | None = None,
    message: str | None = None,
    progress: object = None,
    result: object = None,
) -> EventIn:
    """An event that Ringback itself posts, such as a cancellation or a replay's progress.

    It names its operation's type, which opens Ringback's own operations to it.
    """
    return EventIn(
        type=kind,
        operation_id=operation_id,
        operation_type=operation_type,
        message=message,
        progress=Raw() if progress is None else Raw(encode(progress)),
        result=Raw() if result is None else Raw(encode(result)),
    )
