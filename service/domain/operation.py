"""An operation and the moves it may make.

1. The status moves only along :data:`MOVES`; anything else is refused and leaves the log as it was.
2. Lifecycle types set the status by themselves; other types may at most say ``PROCESSING``.
3. Repeating the present status is no move. After the end every further event is refused.
4. A move straight from ``PENDING`` to the end counts as having passed ``PROCESSING``.
"""

from enum import StrEnum
from typing import Final

import msgspec

from service.domain import times
from service.domain.errors import Refusal, RefusalKind, conflict


class Status(StrEnum):
    """Where an operation is."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


#: The event types that end an operation; each is named as the status it sets.
END_TYPES: Final = (
    Status.COMPLETED.value,
    Status.COMPLETED_WITH_ERRORS.value,
    Status.FAILED.value,
    Status.CANCELLED.value,
)
_ENDS: Final = frozenset(Status(name) for name in END_TYPES)

#: From each status, the statuses it may move to. The store's guards come from this table too.
MOVES: Final[dict[Status, frozenset[Status]]] = {
    Status.PENDING: _ENDS | {Status.PROCESSING},
    Status.PROCESSING: _ENDS,
    **dict.fromkeys(_ENDS, frozenset()),
}

#: The status each lifecycle event type sets.
LIFECYCLE: Final[dict[str, Status]] = {
    "STARTED": Status.PROCESSING,
    "STATUS_UPDATE": Status.PROCESSING,
    **{status.value: status for status in _ENDS},
}

#: The type of a bulk replay's own operation.
REPLAY_TYPE: Final = "ringback.replay"
#: The type of the problem that an operation FAILED of which was silent for too long.
TIMEOUT_PROBLEM: Final = "operation-timeout"
_OWN_PREFIX: Final = "ringback."


def is_own(operation_type: str | None) -> bool:
    """Whether operations of this type are Ringback's own: nobody else posts to them."""
    return operation_type is not None and operation_type.startswith(_OWN_PREFIX)


def is_end(status: Status) -> bool:
    """Whether nothing can follow."""
    return not MOVES[status]


def implied_status(event_type: str, status: str | None) -> Status | str | None:
    """The status an event moves its operation to.

    Returns a :class:`Status`, ``None`` when the event moves nothing, or a plain ``str``: the
    fault in words.
    """
    implied = LIFECYCLE.get(event_type)
    if implied is not None:
        if status is None or status == implied:
            return implied
        return f"contradicts the type: {event_type} means {implied}; leave status out"
    if status is None:
        return None
    if status == Status.PROCESSING:
        return Status.PROCESSING
    return (
        f"may only be PROCESSING for the type {event_type!r}: "
        f"only the types {', '.join(sorted(LIFECYCLE))} move an operation otherwise"
    )


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One long-running operation. Times are ms; JSON members are the producer's own bytes."""

    key: int
    tenant_id: str
    id: str
    type: str | None = None
    status: Status = Status.PENDING
    sequence: int = 0
    created_at: int
    updated_at: int
    started_at: int | None = None
    ended_at: int | None = None
    progress: bytes | None = None
    result: bytes | None = None
    error: bytes | None = None
    warnings: bytes | None = None
    metadata: bytes | None = None
    #: Whether ``POST /v1/operations`` described it; one that an event created may be described
    #: once, later.
    described: bool = False
    #: The client's own id for it; one operation of a tenant has it at a time.
    client_job_id: str | None = None
    #: Durations in ms, as its description gave them.
    expected_ms: int | None = None
    ttl_ms: int | None = None
    timeout_ms: int | None = None
    #: When it is expected to end.
    estimated_at: int | None = None
    #: When it will have been silent for too long; ``None`` where nobody minds, or it has ended.
    silent_at: int | None = None
    #: From then on it is no longer readable; ``None`` while it has not ended.
    expires_at: int | None = None
    #: Since when only a tombstone is left.
    forgotten_at: int | None = None
    #: Ids: the operation this one retries, the one that retries this, its own subscription.
    retry_of: str | None = None
    retried_by: str | None = None
    webhook_id: str | None = None


def changed(operation: Operation, **members: object) -> Operation:
    """The operation with other members."""
    return msgspec.structs.replace(operation, **members)


def refuse_expired(operation: Operation, now: int) -> Refusal | None:
    """Why ``operation`` is not to be read any more; ``None`` when it is."""
    if operation.expires_at is None or operation.expires_at > now:
        return None
    ended = times.render(operation.expires_at)
    return Refusal(
        RefusalKind.GONE,
        f"Operation {operation.id!r} ended as {operation.status} and was readable until {ended}. "
        "Its events are under /v1/events/{id} for as long as events are kept.",
        extra={"expiredAt": ended},
    )


def refuse_move(operation: Operation, to: Status | None) -> Refusal | None:
    """Why ``operation`` may not take an event that moves it to ``to``; ``None`` when it may."""
    now = operation.status
    if is_end(now):
        wanted = f"move to {to}" if to else "take another event"
        return conflict(
            f"Operation {operation.id!r} is {now} and cannot {wanted}: {now} is final. "
            "Start a new operation instead.",
            currentStatus=now.value,
            requestedStatus=to.value if to else None,
        )
    if to is None or to == now or to in MOVES[now]:
        return None
    return conflict(
        f"Operation {operation.id!r} cannot move from {now} to {to}.",
        currentStatus=now.value,
        requestedStatus=to.value,
    )
