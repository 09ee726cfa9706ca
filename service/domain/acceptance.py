"""Accepting events: each is judged against its operation and gets a verdict of its own.

The store reads what is known under its locks, lets a :class:`Planner` take the events in order,
and writes the plan; all of it in one transaction, so that a 2xx to the producer means durably
committed.
"""

from collections.abc import Callable, Mapping

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from service.domain import event as events
from service.domain import ids, times
from service.domain.errors import Fault, Refusal, conflict, invalid
from service.domain.event import EventIn, EventOut
from service.domain.lifetime import timed
from service.domain.operation import (
    Operation,
    Status,
    implied_status,
    is_end,
    is_own,
    refuse_expired,
    refuse_move,
)


class Accepted(msgspec.Struct, frozen=True, rename="camel"):
    """The verdict on an event that is in the log: now, or since earlier when ``duplicate``."""

    id: str
    operation_id: str | None
    sequence: int | None
    status: str | None
    duplicate: bool = False


Verdict = Accepted | Refusal


class KnownEvent(msgspec.Struct, frozen=True):
    """What the log remembers of an event id."""

    type: str
    operation_id: str | None
    sequence: int | None
    status: str | None


class NewEvent(msgspec.Struct):
    """One event to be written. ``body`` is the object every reader gets, to the byte."""

    key: int
    tenant_id: str
    id: str
    type: str
    operation_key: int | None
    operation_id: str | None
    operation_type: str | None
    sequence: int | None
    status: str | None
    created_at: int
    body: bytes
    #: The event's place in its tenant's feed; numbered under the tenant row's lock, just before
    #: the insert.
    feed_position: int = 0


TenantName = tuple[str, str]  # (tenant id, operation or event id)
#: Why an operation as it is at a moment (ms) may not take an event; ``None`` when it may.
Guard = Callable[[Operation, int], Refusal | None]


class Making(msgspec.Struct, frozen=True):
    """What is new is made of: keys, the moment, chance; and how long what ends is kept, in ms."""

    keys: ids.KeyMaker
    now: int
    salt: Callable[[], bytes]
    ttl: int


class Planner:
    """Takes events in order and collects what to write; refused ones leave nothing behind."""

    def __init__(
        self,
        operations: Mapping[TenantName, Operation],
        event_ids: Mapping[TenantName, KnownEvent],
        making: Making,
    ) -> None:
        self._before = operations
        self._operations = dict(operations)
        self._event_ids = dict(event_ids)
        self._keys = making.keys
        self._now = making.now
        self._salt = making.salt
        self._ttl = making.ttl
        self._stamp = times.render(making.now)
        self.events: list[NewEvent] = []

    def take(self, tenant_id: str, event: EventIn, guard: Guard | None = None) -> Verdict:
        """Judge one event in which :func:`service.domain.event.check` found no fault."""
        if event.operation_id is None:
            return invalid(Fault("/operationId", "is required: which operation is this event of?"))
        if event.id is not None:
            seen = self._event_ids.get((tenant_id, event.id))
            if seen is not None:
                return _repeated(event, seen)
        operation = self._operations.get((tenant_id, event.operation_id))
        if operation is None:
            operation = self._created(tenant_id, event.operation_id, event.operation_type)
        moved_to = implied_status(event.type, event.status)
        to = moved_to if isinstance(moved_to, Status) else None
        refusal = (
            refuse_expired(operation, self._now)
            or (None if guard is None else guard(operation, self._now))
            or refuse_move(operation, to)
            or _refuse_type(operation, event.operation_type)
        )
        return self._log(operation, event, to) if refusal is None else refusal

    def begin(self, operation: Operation, event: EventIn) -> Accepted:
        """Take the first event of an operation that is new, and moves nothing by it."""
        return self._log(operation, event, None)

    def find(self, tenant_id: str, name: str) -> Operation | None:
        """An operation that is known here, as it is now."""
        return self._operations.get((tenant_id, name))

    def note(self, operation: Operation) -> None:
        """Remember what is to be kept of an operation besides its events."""
        self._operations[operation.tenant_id, operation.id] = operation

    def changed_operations(self) -> list[Operation]:
        """The operations to insert or to update."""
        return [o for k, o in self._operations.items() if o is not self._before.get(k)]

    def before(self, operation: Operation) -> Operation | None:
        """The operation as it was read; ``None`` when it is new."""
        return self._before.get((operation.tenant_id, operation.id))

    def _created(self, tenant_id: str, name: str, operation_type: str | None) -> Operation:
        key = self._keys.next(self._now)
        return Operation(
            key=key,
            tenant_id=tenant_id,
            id=name,
            type=operation_type,
            created_at=self._now,
            updated_at=self._now,
        )

    def _log(self, operation: Operation, event: EventIn, to: Status | None) -> Accepted:
        progress = events.normal_progress(event.progress)
        after = _advance(operation, event, to, progress, self._now)
        after = timed(after, self._now, self._ttl, events.percentage(progress))
        return self._record(after, event, progress)

    def _record(self, operation: Operation, event: EventIn, progress: msgspec.Raw) -> Accepted:
        key = self._keys.next(self._now)
        first = operation.key - ids.LEAD
        if key < first:  # of a process that was far ahead; logs are read from there on
            self._keys.go_past(first)
            key = self._keys.next(self._now)
        name = event.id or ids.keyed("evt", key, self._salt())
        # a plain text: to ask a member for its value, or to hash it, takes longer
        tenant_id, status = operation.tenant_id, str(operation.status)
        self.events.append(
            NewEvent(
                key=key,
                tenant_id=tenant_id,
                id=name,
                type=event.type,
                operation_key=operation.key,
                operation_id=operation.id,
                operation_type=operation.type,
                sequence=operation.sequence,
                status=status,
                created_at=self._now,
                body=events.encode(self._rendered(name, operation, event, progress, status)),
            )
        )
        self._operations[tenant_id, operation.id] = operation
        known = KnownEvent(event.type, operation.id, operation.sequence, status)
        self._event_ids[tenant_id, name] = known
        return Accepted(name, operation.id, operation.sequence, status)

    def _rendered(
        self, name: str, operation: Operation, event: EventIn, progress: msgspec.Raw, status: str
    ) -> EventOut:
        given = times.parse(event.timestamp) if event.timestamp is not None else None
        return EventOut(
            id=name,
            type=event.type,
            timestamp=self._stamp if given is None else times.render(given),
            operation_id=operation.id,
            operation_type=operation.type,
            client_job_id=operation.client_job_id,
            sequence=operation.sequence,
            status=status,
            traceparent=event.traceparent,
            message=event.message,
            progress=progress or UNSET,
            result=event.result or UNSET,
            error=event.error or UNSET,
            warnings=event.warnings or UNSET,
            data=event.data or UNSET,
        )


def _repeated(event: EventIn, seen: KnownEvent) -> Verdict:
    if (seen.operation_id, seen.type) == (event.operation_id, event.type):
        return Accepted(
            str(event.id), seen.operation_id, seen.sequence, seen.status, duplicate=True
        )
    return conflict(
        f"Event {event.id!r} was posted before, for operation {seen.operation_id!r} and type "
        f"{seen.type!r}. "
        "Give this event an id of its own, or none."
    )


def _refuse_type(operation: Operation, wanted: str | None) -> Refusal | None:
    if is_own(operation.type) and wanted != operation.type:
        return conflict(
            f"Operation {operation.id!r} is of type {operation.type!r}: Ringback itself posts its "
            "events. It can be cancelled."
        )
    if wanted is None or operation.type is None or wanted == operation.type:
        return None
    return conflict(
        f"Operation {operation.id!r} is of type {operation.type!r}, not {wanted!r}; "
        "leave operationType out, or correct it."
    )


def _advance(
    operation: Operation, event: EventIn, to: Status | None, progress: msgspec.Raw, now: int
) -> Operation:
    """The operation after the event: numbered, moved, and with what the event says of it."""
    status = to or operation.status
    # two processes that take turns know the time to some milliseconds
    now = max(now, operation.updated_at)
    started = operation.started_at
    if started is None and status not in (Status.PENDING, Status.CANCELLED):
        started = now
    after = replace(
        operation,
        type=operation.type or event.operation_type,
        status=status,
        sequence=operation.sequence + 1,
        updated_at=now,
        started_at=started,
        ended_at=now if is_end(status) else None,
    )
    if not (progress or event.result or event.error or event.warnings):
        return after  # as most events say nothing of these
    return replace(
        after,
        progress=_newer(progress, operation.progress),
        result=_newer(event.result, operation.result),
        error=_newer(event.error, operation.error),
        warnings=_newer(event.warnings, operation.warnings),
    )


def _newer(given: msgspec.Raw, kept: bytes | None) -> bytes | None:
    return bytes(given) if given else kept
