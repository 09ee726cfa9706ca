"""The times of an operation that the clock keeps: its likely end, its patience, its expiry.

1. It is expected to end when it was said to; once it tells how far it is, when it will have gone
   all the way at the pace it had since its start.
2. It is silent for too long when nothing came for its time-out: no event, no description.
3. It is readable for its TTL after its end.
"""

from math import ceil

from msgspec import Raw
from msgspec.structs import replace

from service.domain import times
from service.domain.errors import Refusal, conflict
from service.domain.event import EventIn, encode
from service.domain.operation import Operation, Status


def refined(estimate: int | None, begun: int, now: int, percentage: float | None) -> int | None:
    """When what is at ``percentage`` now, and at 0 was at ``begun``, is at 100 if it goes on so.

    Where that tells nothing (no progress, no time that has passed) the ``estimate`` stays.
    """
    elapsed = now - begun
    if percentage is None or percentage <= 0 or elapsed <= 0:
        return estimate
    whole = min(elapsed * 100 / percentage, times.LATEST - begun)
    return max(begun + ceil(whole), now)


def timed(operation: Operation, now: int, ttl: int, percentage: float | None = None) -> Operation:
    """The operation with its times as they are after an event at ``now``.

    ``ttl`` (ms) is for an operation that has none of its own.
    """
    if operation.ended_at is not None:
        own = operation.ttl_ms
        expires = operation.ended_at + (ttl if own is None else own)
        return replace(operation, estimated_at=None, silent_at=None, expires_at=expires)
    estimate = operation.estimated_at
    if estimate is None and operation.expected_ms is not None:
        estimate = operation.created_at + operation.expected_ms
    if operation.started_at is not None:
        estimate = refined(estimate, operation.started_at, now, percentage)
    patience = operation.timeout_ms
    silent = None if patience is None else now + patience
    if (estimate, silent) == (operation.estimated_at, operation.silent_at):
        return operation
    return replace(operation, estimated_at=estimate, silent_at=silent)


def refuse_unless_silent(operation: Operation, now: int) -> Refusal | None:
    """Why the time-out of ``operation`` has not come; ``None`` when it has."""
    if operation.silent_at is not None and operation.silent_at <= now:
        return None
    return conflict(f"Operation {operation.id!r} is not silent for too long.")


def timeout_event(name: str, kind: str | None, timeout_ms: int, problem: str) -> EventIn:
    """The event by which an operation fails that was silent for too long.

    ``kind`` is the operation's type, ``problem`` the address that says what this error means.
    """
    error = {
        "type": problem,
        "title": "The operation was silent for too long",
        "detail": f"Nothing was heard of operation {name!r} for {timeout_ms / 1000:.15g} seconds, "
        "which is its timeoutSeconds.",
        "retryable": True,
    }
    return EventIn(
        type=Status.FAILED.value,
        operation_id=name,
        operation_type=kind,
        error=Raw(encode(error)),
    )
