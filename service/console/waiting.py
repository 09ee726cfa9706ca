"""What an open delivery waits for: its turn, its own time, or what keeps back all it goes with."""

from dataclasses import dataclass
from enum import StrEnum

from service.domain.delivery import DeliveryStatus
from service.domain.health import Circuit, Health
from service.domain.ids import DeliveryRef
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import DeliveryView


class Why(StrEnum):
    """What keeps back every delivery of a subscription."""

    PAUSED = "paused"
    HELD = "held"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Wait:
    """The next attempt, where its moment is known, and what it waits for beside its own time."""

    due: int | None
    why: Why | None = None
    #: When that is over.
    until: int | None = None
    #: The delivery that goes first.
    behind: DeliveryRef | None = None


def wait_of(
    view: DeliveryView, subscription: Subscription, known: tuple[Health, str] | None, now: int
) -> Wait:
    """What a delivery waits for; ``known`` is its receiver's health and how its circuit stands."""
    goes = subscription.status is not SubscriptionStatus.DISABLED
    if view.status is not DeliveryStatus.PENDING or view.is_hurried or not goes:
        return Wait(None)
    if subscription.status is SubscriptionStatus.PAUSED:
        return Wait(None, Why.PAUSED, behind=view.behind)
    why, until = _kept_back(subscription, known or (Health(), Circuit.CLOSED), now)
    # what was read later may be later than what the delivery was read with: the page has one moment
    due = None if view.due_at is None else max(view.due_at, until or 0)
    return Wait(due, why, until, view.behind)


def _kept_back(
    subscription: Subscription, known: tuple[Health, str], now: int
) -> tuple[Why | None, int | None]:
    """What keeps an active subscription's deliveries back the longest, and until when."""
    health, circuit = known
    opens = health.open_until if circuit == Circuit.OPEN else 0
    hold = subscription.hold_until
    if hold > now and hold >= opens:
        return Why.HELD, hold
    if opens:
        return Why.OPEN, opens
    return (Why.HALF_OPEN if circuit == Circuit.HALF_OPEN else None), None
