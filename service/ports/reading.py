"""What is read, and how: each method one snapshot of one tenant."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.ids import MAX_KEY, DeliveryRef
from service.domain.operation import Operation
from service.domain.subscription import Subscription

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventView:
    """One event of the log. ``body`` is the object every reader gets."""

    key: int
    id: str
    type: str
    operation_id: str | None
    sequence: int | None
    feed_position: int
    created_at: int
    body: bytes
    operation_type: str | None = None


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event as a list has it: without its body, which may be large."""

    id: str
    type: str
    operation_id: str | None
    operation_type: str | None
    sequence: int | None
    feed_position: int
    created_at: int


@dataclass(frozen=True, slots=True)
class EventSpan:
    """Events behind a place and before another one, from one moment (ms) to before another one.

    A place is one in a feed, or a sequence in a log.
    """

    after: int
    before: int
    since: int = 0
    until: int = MAX_KEY


@dataclass(frozen=True, slots=True)
class FeedSlice:
    """A part of a tenant's feed, oldest first, and where the feed begins and ends."""

    events: Sequence[EventView]
    #: The last place whose event retention took: what is at or before it may be gone.
    floor: int
    #: The place of the newest event.
    end: int


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One delivery. ``due_at`` is the next attempt's time while it is open and that is known."""

    ref: DeliveryRef
    subscription_id: str
    event_id: str
    event_type: str
    operation_id: str | None
    status: DeliveryStatus
    attempts: int
    due_at: int | None
    finished_at: int | None
    #: Whether somebody wants it sent now, whatever holds the rest back.
    is_hurried: bool
    #: In an ordered lane: the delivery that goes first, for whose sake this one waits.
    behind: DeliveryRef | None


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt. ``detail`` is the JSON written by the worker; absent when the worker died."""

    number: int
    trigger: Trigger
    started_at: int
    duration_ms: float | None
    status_code: int | None
    error_class: str | None
    message: str | None
    next_attempt_at: int | None
    detail: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetterView:
    """One dead letter with its event as it was."""

    ref: DeliveryRef
    subscription_id: str
    state: str
    reason: str
    attempts: int
    dead_at: int
    resolved_at: int | None
    replays: int
    status_code: int | None
    error_class: str | None
    message: str | None
    event_id: str
    event_type: str
    operation_id: str | None
    sequence: int | None
    body: bytes


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """Open dead letters of one subscription with one reason and error."""

    subscription_id: str
    reason: str
    error_class: str | None
    status_code: int | None
    count: int
    first_dead_at: int
    last_dead_at: int


@dataclass(frozen=True, slots=True)
class UndeliveredView:
    """An (event, subscription) pair without a successful delivery, and why."""

    event: EventView
    #: ``pending``, ``delivering``, ``dead``, ``cancelled`` or ``missing`` (no delivery was ever
    #: made).
    status: str
    reason: str | None
    ref: DeliveryRef | None


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """Which operations; created bounds are ms, inclusive below, exclusive above."""

    status: str | None = None
    type: str | None = None
    client_job_id: str | None = None
    created_after: int | None = None
    created_before: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries; bounds are ms of the event."""

    status: DeliveryStatus | None = None
    subscription_id: str | None = None
    operation_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; bounds are ms of the death. ``resolved=None`` means both."""

    subscription_id: str | None = None
    event_type: str | None = None
    reason: str | None = None
    since: int | None = None
    until: int | None = None
    resolved: bool | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A page asked for: at most ``limit`` items after the place ``after``."""

    limit: int
    after: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page, and the place to go on behind when there may be more.

    Where few are asked for among many, a page may be short, even empty, and have a next one.
    """

    items: Sequence[T]
    next: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReceiverView:
    """What people know a subscription by."""

    url: str
    description: str | None
    is_deleted: bool
    is_disabled: bool


class ReadStore(Protocol):
    """Reads of one tenant; another tenant's ids are simply not there."""

    async def operation(self, tenant_id: str, name: str) -> Operation | None:
        """One operation."""

    async def operations(
        self, tenant_id: str, which: OperationFilter, span: Span
    ) -> Page[Operation]:
        """Those that are readable, newest first."""

    async def log(self, operation_key: int, after: int, limit: int) -> list[EventView]:
        """Events of the operation with a sequence above ``after``, oldest first."""

    async def feed(self, tenant_id: str, after: int, limit: int) -> FeedSlice:
        """Events of the tenant behind the place ``after``, in the order of their commits."""

    async def log_newest(self, operation_key: int, span: EventSpan, limit: int) -> list[EventLine]:
        """Events of the operation, newest first."""

    async def feed_newest(self, tenant_id: str, span: EventSpan, limit: int) -> list[EventLine]:
        """Events of the tenant, newest first."""

    async def log_ends(self, operation_keys: Sequence[int]) -> dict[int, int]:
        """The present sequence of each operation."""

    async def feed_ends(self, tenant_ids: Sequence[str]) -> dict[str, int]:
        """The place of the newest event of each tenant."""

    async def event(self, tenant_id: str, name: str) -> EventView | None:
        """One event."""

    async def subscription(self, tenant_id: str, name: str) -> Subscription | None:
        """One subscription that is not deleted."""

    async def subscriptions(
        self, tenant_id: str, status: str | None, operation_id: str | None, span: Span
    ) -> Page[Subscription]:
        """Newest first."""

    async def receivers(self, tenant_id: str, names: Collection[str]) -> dict[str, ReceiverView]:
        """What these subscriptions are known by, by their ids; those that are deleted too."""

    async def delivery(self, tenant_id: str, ref: DeliveryRef) -> DeliveryView | None:
        """One delivery."""

    async def attempts(self, ref: DeliveryRef) -> list[AttemptView]:
        """All attempts of a delivery, first one first."""

    async def deliveries(
        self, tenant_id: str, which: DeliveryFilter, span: Span
    ) -> Page[DeliveryView]:
        """Newest event first."""

    async def dead_letter(self, tenant_id: str, ref: DeliveryRef) -> DeadLetterView | None:
        """One dead letter."""

    async def dead_letters(
        self, tenant_id: str, which: DeadLetterFilter, span: Span
    ) -> Page[DeadLetterView]:
        """Newest event first."""

    async def dead_letter_summary(
        self, tenant_id: str, which: DeadLetterFilter
    ) -> list[DeadLetterCount]:
        """Counts by subscription, reason and error; the largest first."""

    async def undelivered(
        self, tenant_id: str, subscription: Subscription, since: int, span: Span
    ) -> Page[UndeliveredView]:
        """Pairs of this subscription without a successful delivery, oldest event first."""


class PublicKeyStore(Protocol):
    """Public keys, which anybody may see."""

    async def public_keys(self, subscription: str | None, after: str, limit: int) -> list[str]:
        """Keys that sign behind the key ``after``, of one subscription or of all, each once.

        They are written, and ordered, as Standard Webhooks writes them.
        """
