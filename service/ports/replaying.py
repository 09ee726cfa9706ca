"""What replay asks of the store."""

from dataclasses import dataclass
from typing import Literal, Protocol

from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.errors import Refusal
from service.domain.ids import DeliveryRef
from service.domain.operation import Operation
from service.ports.accepting import Once, Replayed


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
    #: How many it is about, where that can be counted beforehand.
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
        self,
        operation: Operation,
        plan: ReplayPlan,
        actor: str,
        once: Once | None = None,
        matched: int | None = None,
    ) -> ReplayRun | Refusal | Replayed:
        """Write down a bulk replay and the operation that shows it.

        ``matched``: how many it is about, as counted before; dead letters are counted by the store.
        """

    async def count_replay(self, tenant_id: str, plan: ReplayPlan) -> int | None:
        """How many deliveries a plan is about; ``None`` where too many would have to be seen."""

    async def running_replays(self) -> list[ReplayRun]:
        """The bulk replays that are neither finished nor cancelled."""

    async def step_replay(self, run: ReplayRun, limit: int) -> ReplayStep:
        """Look at the next candidates of a bulk replay; reopen ``limit`` of them at most."""

    async def finish_replay(self, run: ReplayRun) -> None:
        """Note that a bulk replay is over; its operation has ended."""

    async def cancel_delivery(
        self, tenant_id: str, ref: DeliveryRef, actor: str
    ) -> DeliveryStatus | Refusal:
        """Take an open delivery out of the queue."""

    async def discard(self, tenant_id: str, ref: DeliveryRef, actor: str) -> Refusal | None:
        """Delete a dead letter, keeping the fact in the audit log."""
