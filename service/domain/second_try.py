"""A failed operation is tried once more as a new operation.

1. Only one that FAILED, and whose error says ``retryable: true``; never one of Ringback's own.
2. Not before ``retryAfter`` seconds of that error have passed since the end.
3. The new one is as the failed one was described; the client's own id stays with the failed one,
   since it names one operation only.
"""

from math import ceil
from typing import Final

import msgspec
from msgspec import Raw

from service.domain.errors import Refusal, RefusalKind, conflict
from service.domain.event import ErrorObject, EventIn, encode
from service.domain.lifetime import timed
from service.domain.operation import Operation, Status, is_own

#: The type of a retry's first event, by which the producer learns of it.
RETRY_REQUESTED: Final = "RETRY_REQUESTED"

_error = msgspec.json.Decoder(ErrorObject)


def is_retryable(operation: Operation) -> bool:
    """Whether the operation may be tried once more, sooner or later."""
    error = _error_of(operation)
    return error is not None and error.retryable is True


def refuse_retry(operation: Operation, now: int) -> Refusal | None:
    """Why ``operation`` may not be tried once more now; ``None`` when it may."""
    name, status = repr(operation.id), operation.status
    if status is not Status.FAILED:
        detail = f"Operation {name} is {status}; only one that FAILED can be retried."
        return conflict(detail, currentStatus=status.value)
    error = _error_of(operation)
    if error is None or error.retryable is not True:
        return conflict(
            f"Operation {name} FAILED for good: its error does not say retryable: true. "
            "Start a new operation instead.",
            currentStatus=status.value,
        )
    wait = _remaining(operation, error, now)
    if wait > 0:
        detail = f"Operation {name} can be retried, but not before {wait} seconds from now."
        return Refusal(
            RefusalKind.CONFLICT, detail, extra={"currentStatus": status.value}, retry_after=wait
        )
    return None


def successor(failed: Operation, key: int, name: str, now: int) -> Operation:
    """The operation that tries ``failed`` once more, before its first event."""
    return timed(
        Operation(
            key=key,
            tenant_id=failed.tenant_id,
            id=name,
            type=failed.type,
            created_at=now,
            updated_at=now,
            metadata=failed.metadata,
            described=True,
            expected_ms=failed.expected_ms,
            ttl_ms=failed.ttl_ms,
            timeout_ms=failed.timeout_ms,
            retry_of=failed.id,
        ),
        now,
        0,
    )


def first_event(new: Operation) -> EventIn:
    """The event that begins a retry."""
    data = Raw(encode({"retryOf": new.retry_of}))
    return EventIn(type=RETRY_REQUESTED, operation_id=new.id, data=data)


def _error_of(operation: Operation) -> ErrorObject | None:
    """The error of a failed operation of a producer's, as far as it can be read."""
    if operation.status is not Status.FAILED or operation.error is None or is_own(operation.type):
        return None
    try:
        return _error.decode(operation.error)
    except (msgspec.ValidationError, RecursionError):
        return None


def _remaining(operation: Operation, error: ErrorObject, now: int) -> int:
    """Whole seconds until the error's ``retryAfter`` has passed."""
    if operation.ended_at is None or not error.retry_after:
        return 0
    return max(ceil(error.retry_after - (now - operation.ended_at) / 1000), 0)
