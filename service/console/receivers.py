"""What people know subscriptions by, beside the ids by which programs do."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from service.console.visits import Visit
from service.domain import urls
from service.domain.api_keys import Scope
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import ReadStore, ReceiverView


class Known(NamedTuple):
    """What a subscription is known by."""

    name: str
    is_deleted: bool


async def receivers(visit: Visit, reads: ReadStore, names: Iterable[str]) -> Mapping[str, Known]:
    """Of all subscriptions that a page names, by their ids, for who may look at them."""
    if not visit.may(Scope.SUBSCRIPTIONS_READ):
        return {}
    found = await reads.receivers(visit.tenant, frozenset(names))
    return {name: Known(receiver(each), each.is_deleted) for name, each in found.items()}


async def shut(reads: ReadStore, tenant: str, names: Iterable[str]) -> frozenset[str]:
    """Those of some subscriptions to which nothing can be sent: they are disabled, or deleted."""
    found = await reads.receivers(tenant, frozenset(names))
    return frozenset(name for name, each in found.items() if each.is_deleted or each.is_disabled)


def receiver(one: Subscription | ReceiverView) -> str:
    """Its description; its URL where it has none, without what looks secret in that."""
    return one.description or urls.told(one.url)


def is_able(one: Subscription | None) -> bool:
    """Whether anything can be sent to it; ``None``: it was deleted."""
    return one is not None and one.status is not SubscriptionStatus.DISABLED
