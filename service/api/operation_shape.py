"""The operation as it is shown (contract, section 4.2)."""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.api.links import Links
from service.domain import times
from service.domain.operation import Operation, Status, is_end
from service.ports import ReplayRun

#: Seconds between two polls, as we ask for them; less than the minimum only costs both sides.
POLL_RECOMMENDED: Final = 5
POLL_MINIMUM: Final = 1


class PollInterval(msgspec.Struct, frozen=True):
    """How often to ask, in seconds."""

    recommended: int
    minimum: int


class OperationLinks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to go from here; only moves that are possible now."""

    self: str
    events: str
    cancel: str | None = None


class OperationCreated(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a new operation: a producer can hand it to its own client as it is."""

    operation_id: str
    type: str | None
    status: str
    created_at: str
    status_url: str
    poll_interval: PollInterval
    links: OperationLinks


class OperationOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An operation; the producer's own JSON keeps its bytes."""

    operation_id: str
    type: str | None = None
    status: str
    progress: Raw | UnsetType = UNSET
    sequence: int
    created_at: str
    started_at: str | None = None
    updated_at: str
    completed_at: str | None = None
    failed_at: str | None = None
    cancelled_at: str | None = None
    #: Seconds, to the millisecond.
    duration: float | None = None
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    warnings: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    status_url: str
    poll_interval: PollInterval | None = None
    links: OperationLinks


class ReplayOut(OperationOut, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The operation of a bulk replay, and what it is about."""

    dry_run: bool
    matched: int | None = None


_POLL: Final = PollInterval(POLL_RECOMMENDED, POLL_MINIMUM)
#: The member that holds the time of each end.
_END_MEMBERS: Final = {
    Status.COMPLETED: "completed_at",
    Status.COMPLETED_WITH_ERRORS: "completed_at",
    Status.FAILED: "failed_at",
    Status.CANCELLED: "cancelled_at",
}


def created(operation: Operation, links: Links) -> OperationCreated:
    """What the producer of a new operation gets."""
    return OperationCreated(
        operation_id=operation.id,
        type=operation.type,
        status=operation.status.value,
        created_at=times.render(operation.created_at),
        status_url=links.operation(operation.id),
        poll_interval=_POLL,
        links=_links(operation, links),
    )


def shown(operation: Operation, links: Links) -> OperationOut:
    """The operation as every reader gets it."""
    ended = {}
    if operation.ended_at is not None:
        ended[_END_MEMBERS[operation.status]] = times.render(operation.ended_at)
    return OperationOut(
        operation_id=operation.id,
        type=operation.type,
        status=operation.status.value,
        progress=_raw(operation.progress),
        sequence=operation.sequence,
        created_at=times.render(operation.created_at),
        started_at=None if operation.started_at is None else times.render(operation.started_at),
        updated_at=times.render(operation.updated_at),
        **ended,
        duration=_duration(operation),
        result=_raw(operation.result),
        error=_raw(operation.error),
        warnings=_raw(operation.warnings),
        metadata=_raw(operation.metadata),
        status_url=links.operation(operation.id),
        poll_interval=None if is_end(operation.status) else _POLL,
        links=_links(operation, links),
    )


def replay_shown(run: ReplayRun, links: Links) -> ReplayOut:
    """The operation of a bulk replay that was just begun."""
    members = msgspec.structs.asdict(shown(run.operation, links))
    return ReplayOut(**members, dry_run=run.plan.dry_run, matched=run.matched)


def _links(operation: Operation, links: Links) -> OperationLinks:
    own = links.operation(operation.id)
    cancel = None if is_end(operation.status) else f"{own}/cancel"
    return OperationLinks(self=own, events=f"{own}/events", cancel=cancel)


def _duration(operation: Operation) -> float | None:
    """From the start, or else from the beginning, to the end."""
    if operation.ended_at is None:
        return None
    begun = operation.created_at if operation.started_at is None else operation.started_at
    return (operation.ended_at - begun) / 1000


def _raw(member: bytes | None) -> Raw | UnsetType:
    return UNSET if member is None else Raw(member)
