"""What is told of how deliveries go: of one subscription, and of the whole service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.health import Health
from service.domain.tallies import Tally
from service.domain.traffic import Range
from service.ports.delivering import Backlog


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts of some time, by what came of them."""

    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that half, and 19 of 20, do not exceed; ``None`` where there is nothing."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """How one subscription's deliveries go."""

    #: Deliveries by status: of the newest finished ones and of the open ones so many at most.
    deliveries: Mapping[str, int]
    dead_letters_open: int
    #: Whether there are more than were counted.
    is_capped: bool
    last_hour: Attempts
    last_day: Attempts
    #: How long the attempts of the last day took.
    durations: Percentiles
    health: Health
    #: The moment of all this.
    at: int


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """How all deliveries go."""

    in_flight: int
    delivered_per_minute: float
    failed_per_minute: float
    #: From the acceptance of the event to its delivery, over the last minutes.
    delivery_times: Percentiles
    circuits_open: int
    circuits_half_open: int


class StatsStore(Protocol):
    """Reads whose cost does not grow with the store."""

    async def subscription_stats(self, subscription_no: int) -> SubscriptionStats:
        """How one subscription's deliveries go."""

    async def subscription_attempts(self, subscription_no: int, wanted: Range) -> Sequence[Tally]:
        """One subscription's attempts over a range up to now, by its steps, oldest first."""

    async def healths(self, subscription_nos: Sequence[int]) -> tuple[Mapping[int, Health], int]:
        """What is remembered of these receivers, and the moment of that."""

    async def service_stats(self) -> ServiceStats:
        """How all deliveries go."""


class BacklogStore(Protocol):
    """Whoever counts what is open."""

    async def backlog(self) -> Backlog:
        """How much is open now."""


class QueueStore(BacklogStore, Protocol):
    """Whoever tells how the queue stands."""

    async def queue_age(self) -> int:
        """Milliseconds that the longest waiting delivery has been due which nothing holds back.

        Left out is what waits for a paused or held subscription, or for an open circuit.
        """
