"""What deliver and sweep ask of the store. Times are ms, lanes are subscription numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from service.domain.delivery import Trigger
from service.domain.health import DisabledReason
from service.domain.ids import DeliveryRef
from service.domain.outcome import Outcome
from service.domain.retry import Verdict as JudgedVerdict
from service.domain.subscription import Secret, Subscription
from service.domain.values import Value


@dataclass(frozen=True, slots=True)
class LaneQuota:
    """How many deliveries of a lane may be claimed now, and how many are in flight already.

    With the latter a claim keeps to the limit that the subscription has at that moment.
    """

    lane: int
    quota: int
    in_flight: int = 0
    #: Sends per second by which the quota was planned. Where the subscription has another rate by
    #: now, one delivery at most is claimed.
    rate: float | None = None


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Lane:
    """A lane's subscription and its secrets, of one version that no claim finds outdated.

    Equal is what is the very same: whatever is derived of one may go by that.
    """

    subscription: Subscription
    secrets: tuple[Secret, ...]


class Claimed(Value, frozen=True):
    """One delivery leased to this worker; its attempt is already counted."""

    tenant_id: str
    subscription_id: str
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
    #: The key of the operation whose events go to its subscription in their order.
    chain: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim brought. A lane that gave less than its quota has nothing more due."""

    lanes: Mapping[int, Lane]
    deliveries: Sequence[Claimed]


class Settlement(Value, frozen=True):
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
    #: For each lane that has a retry to come, or in which the next event of an operation may go
    #: now, the earliest due time.
    retries: Mapping[int, int] = field(default_factory=dict)
    #: Lanes whose circuit has closed: they are to begin slowly.
    recovered: frozenset[int] = frozenset()
    #: For each lane whose circuit has opened, until when (ms).
    opened: Mapping[int, int] = field(default_factory=dict)
    #: For each lane whose subscription was disabled, why.
    disabled: Mapping[int, DisabledReason] = field(default_factory=dict)


class DeliverStore(Protocol):
    """Hands out deliveries and takes their results."""

    async def claim(self, quotas: Sequence[LaneQuota], lease: int) -> Claim:
        """Lease due deliveries of these lanes for ``lease`` ms, at most each lane's quota."""

    async def release(self, claimed: Sequence[Claimed]) -> None:
        """Give back what was claimed and not sent; its attempt does not count."""

    async def settle(self, results: Sequence[Settlement]) -> Settled:
        """Write results, fenced by token."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is open, over all tenants."""

    open: int
    due: int
    #: Milliseconds that the longest waiting due delivery has been due.
    oldest_due_age: int
    dead_letters_open: int


class SweepStore(Protocol):
    """Keeps the queue moving whatever was lost."""

    async def due_lanes(self) -> list[int]:
        """Lanes with something to claim now."""

    async def reclaim(self, schedule: tuple[float, ...], *, everything: bool = False) -> list[int]:
        """Make deliveries due again whose lease ran out (``everything``: all leases); their lanes.

        Each gets an attempt of unknown outcome; one that used up its schedule so is dead:
        ``crash_loop``.
        """

    async def retire(self) -> int:
        """Dead-letter a batch of what waits for deleted and disabled subscriptions; how many."""

    async def unpark(self) -> list[int]:
        """Let go a batch of what waits in ordered lanes without need; the lanes.

        So it is where a lane is no longer ordered, or where the one waited for is gone.
        """

    async def backlog(self) -> Backlog:
        """How much is open now."""

    async def forget(self, retention: int) -> int:
        """Delete a batch of what is older than ``retention`` ms; how many rows."""

    async def renew_parts(self, retention: int) -> int:
        """Make parts of tables for the time to come, or drop one older than that; how many.

        It may take minutes, in which nothing else should wait for it.
        """
