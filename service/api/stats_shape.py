"""Statistics as they are shown (contract, sections 4.3 and 4.5)."""

import msgspec

from service.domain import times
from service.domain.health import circuit
from service.domain.subscription import Subscription
from service.ports import Attempts, Backlog, Percentiles, ServiceStats, SubscriptionStats


class DeliveryCountsOut(msgspec.Struct, frozen=True):
    """Deliveries by status."""

    pending: int
    delivering: int
    delivered: int
    dead: int
    cancelled: int


class AttemptCountsOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Attempts of some time."""

    attempts: int
    succeeded: int
    failed: int
    success_rate: float | None = None


class PercentilesOut(msgspec.Struct, frozen=True):
    """Milliseconds, to within a fifth."""

    p50: float
    p95: float


class CircuitOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A subscription's circuit breaker."""

    state: str
    open_until: str | None = None


class SubscriptionStatsOut(
    msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True
):
    """How a subscription's deliveries go."""

    subscription_id: str
    status: str
    deliveries: DeliveryCountsOut
    dead_letters_open: int
    capped: bool
    last_hour: AttemptCountsOut
    last_day: AttemptCountsOut
    duration_ms: PercentilesOut | None = None
    last_success_at: str | None = None
    last_failure_at: str | None = None
    failing_since: str | None = None
    circuit: CircuitOut
    hold_until: str | None = None
    concurrency_limit: int


class CircuitsOut(msgspec.Struct, frozen=True, rename="camel"):
    """How many circuits are not closed."""

    open: int
    half_open: int


class StatsOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """How all deliveries go, over all tenants."""

    in_flight: int
    due: int
    oldest_due_age_seconds: float
    delivered_per_minute: float
    failed_per_minute: float
    delivery_time_ms: PercentilesOut | None = None
    dead_letters_open: int
    circuits: CircuitsOut


def subscription_shown(
    subscription: Subscription, stats: SubscriptionStats, limit: int
) -> SubscriptionStatsOut:
    """The statistics of one subscription, ``limit`` of whose deliveries may be in flight."""
    health, hold = stats.health, subscription.hold_until
    return SubscriptionStatsOut(
        subscription_id=subscription.id,
        status=subscription.status.value,
        deliveries=DeliveryCountsOut(**stats.deliveries),
        dead_letters_open=stats.dead_letters_open,
        capped=stats.is_capped,
        last_hour=_attempts(stats.last_hour),
        last_day=_attempts(stats.last_day),
        duration_ms=_percentiles(stats.durations),
        last_success_at=_moment(health.last_success_at),
        last_failure_at=_moment(health.last_failure_at),
        failing_since=_moment(health.failing_since),
        circuit=CircuitOut(circuit(health, stats.at).value, _moment(health.open_until or None)),
        hold_until=_moment(hold) if hold > stats.at else None,
        concurrency_limit=min(limit, subscription.max_concurrency or limit),
    )


def service_shown(stats: ServiceStats, backlog: Backlog) -> StatsOut:
    """The statistics of the service."""
    return StatsOut(
        in_flight=stats.in_flight,
        due=backlog.due,
        oldest_due_age_seconds=backlog.oldest_due_age / 1000,
        delivered_per_minute=stats.delivered_per_minute,
        failed_per_minute=stats.failed_per_minute,
        delivery_time_ms=_percentiles(stats.delivery_times),
        dead_letters_open=backlog.dead_letters_open,
        circuits=CircuitsOut(stats.circuits_open, stats.circuits_half_open),
    )


def _attempts(counted: Attempts) -> AttemptCountsOut:
    total = counted.succeeded + counted.failed
    rate = round(counted.succeeded / total, 4) if total else None
    return AttemptCountsOut(total, counted.succeeded, counted.failed, rate)


def _percentiles(of: Percentiles) -> PercentilesOut | None:
    return None if of.p50 is None or of.p95 is None else PercentilesOut(of.p50, of.p95)


def _moment(at: int | None) -> str | None:
    return None if at is None else times.render(at)
