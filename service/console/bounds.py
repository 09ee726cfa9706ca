"""What of a tenant's things somebody may see and change: all of them, or one subscription's.

Lists are narrowed by the handlers that make them; what an address names is looked at in one place
before any handler is asked, and what is not known here belongs to nobody.
"""

from dataclasses import dataclass, replace
from typing import Final, TypeVar

from service.domain import ids
from service.domain.matching import wants
from service.domain.subscription import Subscription
from service.ports import (
    DeadLetterFilter,
    DeliveryFilter,
    EventView,
    OneSubscription,
    Page,
    ReadStore,
    Span,
)

Filter = TypeVar("Filter", DeliveryFilter, DeadLetterFilter)

#: The id of no subscription.
_NOBODY: Final = ""
#: Ids of pairs of an event and a subscription, by where they stand.
_PAIRS: Final = {"deliveries": "dlv", "dead-letters": "dl"}


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Which subscriptions."""

    status: str | None = None
    operation_id: str | None = None

    def takes(self, one: Subscription) -> bool:
        """Whether it is among them."""
        is_so = self.status in (None, one.status)
        return is_so and self.operation_id in (None, one.operation_id)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a visit is about; without a subscription it is the whole tenant."""

    subscription: OneSubscription | None = None

    def own(self, asked: str | None) -> str | None:
        """The subscription that a filter is to name where this one is asked for, or none."""
        if self.subscription is None:
            return asked
        return self.subscription.id if asked in (None, self.subscription.id) else _NOBODY

    def narrowed(self, which: Filter) -> Filter:
        """The filter, letting nothing through that is outside."""
        return replace(which, subscription_id=self.own(which.subscription_id))


async def subscriptions(
    reads: ReadStore, tenant: str, bounds: Bounds, which: SubscriptionFilter, span: Span
) -> Page[Subscription]:
    """The subscriptions within the bounds, newest first."""
    if bounds.subscription is None:
        return await reads.subscriptions(tenant, which.status, which.operation_id, span)
    one = await reads.subscription(tenant, bounds.subscription.id)
    return Page([] if one is None or not which.takes(one) else [one])


async def holds(reads: ReadStore, tenant: str, one: OneSubscription, path: str, name: str) -> bool:
    """Whether what ``name`` names, at an address like ``path``, is of this subscription."""
    kind = path.split("/")[1]
    if kind == "subscriptions":
        return name == one.id
    if kind in _PAIRS:
        ref = ids.parse_ref(_PAIRS[kind], name)
        return ref is not None and ref.subscription_no == one.no
    if kind == "events":
        event = await reads.event(tenant, name)
        return event is not None and await _is_of(reads, tenant, one, event)
    return False


async def _is_of(reads: ReadStore, tenant: str, one: OneSubscription, event: EventView) -> bool:
    """Whether the subscription wants the event, or got it when it wanted others."""
    subscription = await reads.subscription(tenant, one.id)
    if subscription is None:
        return False
    if wants(subscription, event.type, event.operation_type, event.operation_id):
        return True
    which = DeliveryFilter(event_id=event.id, subscription_id=one.id)
    return bool((await reads.deliveries(tenant, which, Span(1))).items)
