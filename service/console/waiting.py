"""What an open delivery waits for: its own time, or what keeps back all that go to its receiver."""

from dataclasses import dataclass
from enum import StrEnum

from service.domain.health import Circuit, Health
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


def wait_of(
    view: DeliveryView, subscription: Subscription, known: tuple[Health, str] | None, now: int
) -> Wait:
    """What a delivery waits for; ``known`` is its receiver's health and how its circuit stands."""
    due = view.due_at
    if due is None:  # it is over, under way, hurried, or waits for another
        return Wait(None)
    if subscription.status is SubscriptionStatus.PAUSED:
        return Wait(None, Why.PAUSED)
    health, circuit = known or (Health(), Circuit.CLOSED)
    opens = health.open_until if circuit == Circuit.OPEN else 0
    hold = subscription.hold_until
    # what was read later may be later than what the delivery was read with: the page has one moment
    if hold > now and hold >= opens:
        return Wait(max(due, hold), Why.HELD, hold)
    if opens:
        return Wait(max(due, opens), Why.OPEN, opens)
    return Wait(due, Why.HALF_OPEN if circuit == Circuit.HALF_OPEN else None)
