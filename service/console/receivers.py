"""What people know subscriptions by, beside the ids by which programs do."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from service.console.visits import Handler, Page, Visit
from service.domain import urls
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind, not_found
from service.domain.subscription import Subscription
from service.ports import ReadStore, ReceiverView
from service.web.answers import Answer
from service.web.calls import Streamed


class Known(NamedTuple):
    """What a subscription is known by, and whether anything can be sent to it."""

    #: ``None``: who looks may not look at subscriptions, or nothing is left of it.
    name: str | None
    is_deleted: bool
    is_disabled: bool

    @property
    def is_able(self) -> bool:
        """Whether anything can be sent to it."""
        return not (self.is_deleted or self.is_disabled)


_NOTHING_LEFT: Final = Known(None, is_deleted=True, is_disabled=False)


async def receivers(visit: Visit, reads: ReadStore, names: Iterable[str]) -> Mapping[str, Known]:
    """Of all subscriptions that a page names, by their ids."""
    asked = frozenset(names)
    found = await reads.receivers(visit.tenant, asked)
    may_look = visit.may(Scope.SUBSCRIPTIONS_READ)
    known = {
        name: Known(receiver(each) if may_look else None, each.is_deleted, each.is_disabled)
        for name, each in found.items()
    }
    return dict.fromkeys(asked, _NOTHING_LEFT) | known


async def of_address(visit: Visit, reads: ReadStore) -> Subscription | Refusal:
    """The subscription that the address names; of one that was deleted it is told that it was."""
    name = visit.name()
    found = await reads.subscription(visit.tenant, name)
    if found is not None:
        return found
    if name not in await reads.receivers(visit.tenant, [name]):
        return not_found("subscription", name)
    said = f"The subscription {name!r} was deleted, and nothing is sent to it any more."
    return Refusal(RefusalKind.GONE, said, extra={"deleted": name})


def of_one(reads: ReadStore, act: Handler) -> Handler:
    """What is done with the subscription that the address names, if it is there: see above."""

    async def acted(visit: Visit) -> Page | Answer | Refusal | Streamed:
        found = await of_address(visit, reads)
        return found if isinstance(found, Refusal) else await act(visit)

    return acted


def receiver(one: Subscription | ReceiverView) -> str:
    """Its description; its URL where it has none, without what looks secret in that."""
    return one.description or urls.told(one.url)
