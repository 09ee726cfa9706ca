"""What the use cases ask of the outside, named by intent.

One method is one intention is one transaction; no transaction outlives the call. Times are ms, lanes are
subscription numbers. A refused request is a returned :class:`~service.domain.errors.Refusal`; exceptions are for
broken infrastructure only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from service.domain.acceptance import Verdict
from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.errors import Refusal
from service.domain.event import EventIn
from service.domain.ids import DeliveryRef
from service.domain.operation import Operation
from service.domain.outcome import Outcome
from service.domain.request import OutboundRequest
from service.domain.retry import DeadReason, Verdict as JudgedVerdict
from service.domain.subscription import Secret, Subscription


T = TypeVar("T")


class StoreUnavailableError(Exception):
    """The store did not keep what it was given; the caller may try again. Says what happened."""


class SealError(Exception):
    """A sealed value does not open here: its key is not in the ring, or it is another row's."""


class GroupTooWideError(Exception):
    """A group of requests makes more deliveries than one transaction should; nothing of it was kept."""


class Clock(Protocol):
    """The one reader of time."""

    def now(self) -> int:
        """Milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that never jump."""


class Dice(Protocol):
    """The one reader of chance."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def bytes(self, count: int) -> bytes:
        """``count`` bytes nobody can guess."""


class Vault(Protocol):
    """Seals secrets; a sealed one opens only in the context it was sealed for."""

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt with the first key of the ring."""

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt; raises when the key is unknown or the context is another."""


class Sender(Protocol):
    """Sends one request to a vetted address; the network never raises past it."""

    async def send(self, request: OutboundRequest) -> Outcome:
        """Send, within the request's own time-out."""

    def check_url(self, url: str) -> str | None:
        """Why this URL may not be called, in words; ``None`` when it may. Resolves no names."""


class Waker(Protocol):
    """Tells workers to look at lanes. Losing a wake costs a sweep interval, never a delivery."""

    def wake(self, lanes: Iterable[int]) -> None:
        """Return at once; lanes that wait together go as one message."""


# --- once: answers kept for an Idempotency-Key


@dataclass(frozen=True, slots=True)
class Once:
    """Do it once: keep the answer under ``key``, in the same transaction as the change itself."""

    key: str
    fingerprint: bytes
    #: The answer to keep (sealed) for a result; ``None`` when the result is not to be kept.
    render: Callable[[Any], bytes | None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """It was done before: the answer kept then (sealed)."""

    answer: bytes


# --- accept


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """Events posted in one request, each without faults of its own, or the refusal it already has."""

    tenant_id: str
    events: Sequence[EventIn | Refusal]
    once: Once | None = None


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """One verdict an event, in order; or the answer given before."""

    answer: list[Verdict] | Replayed | Refusal
    #: The lanes that now have a delivery due.
    lanes: frozenset[int] = frozenset()


class AcceptStore(Protocol):
    """Takes events."""

    async def accept(
        self, group: Sequence[AcceptRequest], *, bounded: bool = True
    ) -> list[AcceptResult]:
        """Commit events, operations and deliveries of a whole group, all or nothing.

        Raises :class:`GroupTooWideError` when ``bounded`` and several events make too many deliveries.
        """

    async def pending(self) -> int:
        """How many deliveries are open, over all tenants."""


# --- deliver


@dataclass(frozen=True, slots=True)
class LaneQuota:
    """How many deliveries of a lane may be claimed now."""

    lane: int
    quota: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane's subscription and its secrets, as they are in the claiming transaction."""

    subscription: Subscription
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """One delivery leased to this worker; its attempt is already counted."""

    tenant_id: str
    ref: DeliveryRef
    token: int
    #: The attempt's number over all runs of the schedule: ``x-webhook-attempt``.
    attempt: int
    #: The attempt's number in this run of the schedule, from 1.
    step: int
    trigger: Trigger
    event_id: str
    event_type: str
    operation_id: str | None
    sequence: int | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim brought. A lane that gave less than its quota has nothing more due."""

    lanes: Mapping[int, Lane]
    deliveries: Sequence[Claimed]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of one claimed delivery."""

    claimed: Claimed
    outcome: Outcome
    verdict: JudgedVerdict
    started_at: int
    #: Address, headers, response and timing parts of the attempt, as JSON.
    detail: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settle changed: results that came after their lease was lost change nothing."""

    late: int = 0
    #: For each lane that has a retry to come, the earliest due time.
    retries: Mapping[int, int] = field(default_factory=dict)


class DeliverStore(Protocol):
    """Hands out deliveries and takes their results."""

    async def claim(self, quotas: Sequence[LaneQuota], lease: int) -> Claim:
        """Lease due deliveries of these lanes for ``lease`` ms, at most each lane's quota."""

    async def release(self, claimed: Sequence[Claimed]) -> None:
        """Give back what was claimed and not sent; its attempt does not count."""

    async def settle(self, results: Sequence[Settlement]) -> Settled:
        """Write results, fenced by token."""


# --- sweep


class SweepStore(Protocol):
    """Keeps the queue moving whatever was lost."""

    async def due_lanes(self) -> list[int]:
        """Lanes with something to claim now."""

    async def reclaim(self, schedule: tuple[float, ...], *, everything: bool = False) -> list[int]:
        """Make deliveries due again whose lease ran out (``everything``: all leases); their lanes.

        Each gets an attempt of unknown outcome; one that used up its schedule so is dead: ``crash_loop``.
        """

    async def retire(self) -> int:
        """Dead-letter a batch of what waits for deleted and disabled subscriptions; how many."""

    async def forget(self, retention: int) -> int:
        """Delete a batch of what is older than ``retention`` ms; how many rows."""


# --- replay


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a bulk replay replays. Bounds are ms: events (subscription) or deaths (dead letters)."""

    kind: Literal["dead_letters", "subscription"]
    only: Literal["dead", "missing", "all"]
    since: int
    until: int
    subscription_no: int | None = None
    event_types: tuple[str, ...] = ()
    reason: str | None = None
    rate_per_second: float | None = None
    dry_run: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """A bulk replay under way."""

    operation: Operation
    plan: ReplayPlan
    cursor: DeliveryRef
    #: How many it is about, where that can be counted beforehand (dead letters).
    matched: int | None
    replayed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """What one step of a bulk replay did; ``finished`` when no candidate is left."""

    run: ReplayRun
    lanes: frozenset[int]
    finished: bool


class ReplayStore(Protocol):
    """Reopens deliveries."""

    async def replay_one(
        self,
        tenant_id: str,
        ref: DeliveryRef,
        trigger: Trigger,
        actor: str,
        once: Once | None = None,
    ) -> DeliveryRef | Refusal | Replayed:
        """Reopen one delivery: the same one, its schedule anew."""

    async def start_replay(
        self, operation: Operation, plan: ReplayPlan, actor: str, once: Once | None = None
    ) -> ReplayRun | Refusal | Replayed:
        """Write down a bulk replay and the operation that shows it."""

    async def running_replays(self) -> list[ReplayRun]:
        """The bulk replays that are neither finished nor cancelled."""

    async def step_replay(self, run: ReplayRun, limit: int) -> ReplayStep:
        """Look at the next candidates of a bulk replay and reopen what it matches, ``limit`` at most."""

    async def finish_replay(self, run: ReplayRun) -> None:
        """Note that a bulk replay is over; its operation has ended."""

    async def cancel_delivery(
        self, tenant_id: str, ref: DeliveryRef, actor: str
    ) -> DeliveryStatus | Refusal:
        """Take an open delivery out of the queue."""

    async def discard(self, tenant_id: str, ref: DeliveryRef, actor: str) -> Refusal | None:
        """Delete a dead letter, keeping the fact in the audit log."""


# --- manage


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription to be made, checked and sealed."""

    subscription: Subscription
    secret: bytes


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: an API key, its tenant and what it may do."""

    key_id: str
    tenant_id: str
    scopes: frozenset[str]


class ManageStore(Protocol):
    """Subscriptions, operations' descriptions, keys."""

    async def create_operation(
        self, operation: Operation, once: Once | None = None
    ) -> Operation | Refusal | Replayed:
        """Write an operation down, or describe the one that an event created."""

    async def create_subscription(
        self, new: NewSubscription, actor: str, once: Once | None = None
    ) -> Subscription | Refusal | Replayed:
        """Make a subscription; events committed later reach it."""

    async def change_subscription(
        self,
        tenant_id: str,
        name: str,
        change: Callable[[Subscription], Subscription | Refusal],
        actor: str,
        action: str,
    ) -> Subscription | Refusal:
        """Apply ``change`` to the subscription as it is now."""

    async def delete_subscription(self, tenant_id: str, name: str, actor: str) -> Refusal | None:
        """Delete a subscription and its secrets; what waits for it becomes dead letters."""

    async def rotate_secret(
        self, tenant_id: str, name: str, seal: Callable[[int], bytes], overlap: int, actor: str
    ) -> Subscription | Refusal:
        """Add the secret that ``seal(version)`` gives; the present one signs ``overlap`` ms longer."""

    async def reveal(
        self, tenant_id: str, name: str, actor: str, *, action: str = "subscription.secret_revealed"
    ) -> Lane | Refusal:
        """The subscription with its secrets; ``action`` names in the audit log what for."""

    async def ensure_key(
        self, key_id: str, name: str, digest: bytes, scopes: Sequence[str]
    ) -> None:
        """Make sure this key of the tenant ``default`` exists with this hash."""

    async def find_key(self, digest: bytes) -> Principal | None:
        """Whose key this is, when it is neither revoked nor expired."""

    async def reseal(self, reseal: Callable[[bytes, str], bytes | None]) -> int:
        """Pass every sealed value with its context through ``reseal``; how many it changed."""


# --- read


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


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One delivery. ``due_at`` is the next attempt's time while it is open."""

    ref: DeliveryRef
    subscription_id: str
    event_id: str
    event_type: str
    operation_id: str | None
    status: DeliveryStatus
    attempts: int
    due_at: int | None
    finished_at: int | None


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
    #: ``pending``, ``delivering``, ``dead``, ``cancelled`` or ``missing`` (no delivery was ever made).
    status: str
    reason: str | None
    ref: DeliveryRef | None


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """Which operations; created bounds are ms, inclusive below, exclusive above."""

    status: str | None = None
    type: str | None = None
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
    """A page asked for: at most ``limit`` items after the place ``after`` (whole numbers, opaque outside)."""

    limit: int
    after: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page, and the place after its last item when there is more."""

    items: Sequence[T]
    next: tuple[int, ...] | None = None


class ReadStore(Protocol):
    """Reads of one tenant; another tenant's ids are simply not there."""

    async def operation(self, tenant_id: str, name: str) -> Operation | None:
        """One operation."""

    async def operations(
        self, tenant_id: str, which: OperationFilter, span: Span
    ) -> Page[Operation]:
        """Newest first."""

    async def operation_events(
        self, tenant_id: str, name: str, after: int, limit: int
    ) -> list[EventView] | None:
        """Events of an operation with a sequence above ``after``, oldest first; ``None``: no such operation."""

    async def event(self, tenant_id: str, name: str) -> EventView | None:
        """One event."""

    async def subscription(self, tenant_id: str, name: str) -> Subscription | None:
        """One subscription that is not deleted."""

    async def subscriptions(
        self, tenant_id: str, status: str | None, operation_id: str | None, span: Span
    ) -> Page[Subscription]:
        """Newest first."""

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
