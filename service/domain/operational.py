"""Operational events (contract, section 4.5): what happened to subscriptions and deliveries.

They are events without an operation. They go to the subscriptions that name their type, and their
own deliveries never cause further ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Raw

from service.domain import times
from service.domain.event import EventOut, encode
from service.domain.health import DisabledReason, Health

DISABLED: Final = "subscription.disabled"
FAILING: Final = "subscription.failing"
RECOVERED: Final = "subscription.recovered"
DEAD_LETTERED: Final = "delivery.dead_lettered"
THRESHOLD: Final = "dead_letters.threshold"
TYPES: Final = frozenset((DISABLED, FAILING, RECOVERED, DEAD_LETTERED, THRESHOLD))

_WHY_DISABLED: Final = {
    DisabledReason.GONE: "its receiver answered 410 Gone",
    DisabledReason.FAILING: "every attempt failed for five days",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """An operational event to be made."""

    tenant_id: str
    type: str
    message: str
    #: JSON; members that are ``None`` are left out.
    data: dict[str, Any]


def render(notice: Notice, event_id: str, now: int) -> bytes:
    """The event as every reader gets it."""
    data = {name: value for name, value in notice.data.items() if value is not None}
    return encode(
        EventOut(
            id=event_id,
            type=notice.type,
            timestamp=times.render(now),
            message=notice.message,
            data=Raw(encode(data)),
        )
    )


def is_operational(event_type: str, operation_id: str | None) -> bool:
    """Whether it is one of these: a producer's event of the same name has an operation."""
    return operation_id is None and event_type in TYPES


def naming(patterns: Iterable[str]) -> list[str]:
    """The patterns that name something: a bare ``*`` names nothing."""
    return [each for each in patterns if each.strip("*")]


def disabled(tenant_id: str, subscription_id: str, reason: DisabledReason) -> Notice:
    """A subscription was disabled."""
    data = {"subscriptionId": subscription_id, "reason": reason.value}
    said = f"Subscription {subscription_id} was disabled: {_WHY_DISABLED[reason]}."
    return Notice(tenant_id, DISABLED, said, data)


def failing(tenant_id: str, subscription_id: str, health: Health) -> Notice:
    """A subscription's circuit has opened."""
    data = {"subscriptionId": subscription_id, "failedAttempts": health.streak}
    said = f"Most attempts for subscription {subscription_id} fail; its deliveries wait."
    return Notice(tenant_id, FAILING, said, data)


def recovered(tenant_id: str, subscription_id: str) -> Notice:
    """A subscription that was told to be failing takes deliveries again."""
    said = f"Subscription {subscription_id} takes deliveries again."
    return Notice(tenant_id, RECOVERED, said, {"subscriptionId": subscription_id})


def threshold(tenant_id: str, subscription_id: str, count: int) -> Notice:
    """A subscription has so many open dead letters."""
    data = {"subscriptionId": subscription_id, "threshold": count}
    letters = "dead letter" if count == 1 else "dead letters"
    said = f"Subscription {subscription_id} has {count} open {letters}."
    return Notice(tenant_id, THRESHOLD, said, data)


def thresholds(before: int, now: int) -> list[int]:
    """The powers of ten that are above ``before`` and not above ``now``."""
    found, power = [], 1
    while power <= now:
        if power > before:
            found.append(power)
        power *= 10
    return found
