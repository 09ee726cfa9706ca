"""What people know subscriptions by, beside the ids by which programs do."""

from collections.abc import Iterable, Mapping

from service.console.visits import Visit
from service.domain import urls
from service.domain.api_keys import Scope
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import ReadStore, ReceiverView


async def receivers(visit: Visit, reads: ReadStore, names: Iterable[str]) -> Mapping[str, str]:
    """Of all subscriptions that a page names, by their ids, for who may look at them."""
    if not visit.may(Scope.SUBSCRIPTIONS_READ):
        return {}
    found = await reads.receivers(visit.tenant, frozenset(names))
    return {
        name: f"{receiver(each)} (deleted)" if each.is_deleted else receiver(each)
        for name, each in found.items()
    }


def receiver(one: Subscription | ReceiverView) -> str:
    """Its description; its URL without what may be secret, where it has none."""
    return one.description or urls.told(one.url)


def is_able(one: Subscription | None) -> bool:
    """Whether anything can be sent to it; ``None``: it was deleted."""
    return one is not None and one.status is not SubscriptionStatus.DISABLED
