"""Events: who got each one, and why not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.console import bounds
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import ids
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.matching import wants
from service.domain.operation import REPLAY_TYPE
from service.domain.operational import is_operational
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import DeliveryFilter, DeliveryView, EventView, Span
from service.web import queries

_PATH: Final = "/events"
#: Rows of a page of events; parts of the feed, of as many events, that are read for it.
_MANY: Final = 50
_LOOKS: Final = 10
#: Subscriptions and deliveries of one event that are looked at.
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Missed:
    """A subscription that an event did not go to, and why."""

    subscription: Subscription
    why: str


class Events:
    """Handlers of events."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads

    def actions(self) -> list[Action]:
        """What is possible with events."""
        read = Scope.OPERATIONS_READ
        return [
            Action("GET", _PATH, read, self.index),
            Action("GET", f"{_PATH}/{{id}}", read, self.show),
        ]

    async def index(self, visit: Visit) -> Page | Refusal:
        """Events, newest first; of one name where that is asked for."""
        values = queries.read(visit.request, {"before": queries.number, "id": queries.text})
        if isinstance(values, Refusal):
            return values
        if "id" in values:
            event = await self._named(visit, values["id"])
            return self._listed(visit, [] if event is None else [event], None)
        ends = await self._reads.feed_ends([visit.tenant])
        before = min(values.get("before", queries.LARGEST), ends.get(visit.tenant, 0) + 1)
        return self._listed(visit, *await self._before(visit, before))

    async def show(self, visit: Visit) -> Page | Refusal:
        """One event, where it went, and where it did not."""
        event = await self._reads.event(visit.tenant, visit.name())
        if event is None:
            return not_found("event", visit.name())
        got: list[DeliveryView] | None = None
        missed: list[Missed] | None = None
        if visit.may(Scope.DELIVERIES_READ):
            which = visit.bounds.narrowed(DeliveryFilter(event_id=event.id))
            got = list((await self._reads.deliveries(visit.tenant, which, Span(_MOST))).items)
        if got is not None and visit.may(Scope.SUBSCRIPTIONS_READ):
            missed = await self._missed(visit, event, got)
        shown = {"event": event, "got": got, "missed": missed}
        return Page("event.html", "Event", shown)

    async def _named(self, visit: Visit, name: str) -> EventView | None:
        """The event of this name, if the visitor may see it."""
        one = visit.bounds.subscription
        if one is None or await bounds.holds(self._reads, visit.tenant, one, _PATH, name):
            return await self._reads.event(visit.tenant, name)
        return None

    async def _before(self, visit: Visit, before: int) -> tuple[list[EventView], int | None]:
        """Events before a place of the feed, newest first, and before which to go on.

        Where most are not the visitor's, many are looked at for a page, but never all of them.
        """
        wanted = await self._wanted(visit)
        found: list[EventView] = []
        for _ in range(_LOOKS):
            after = max(before - 1 - _MANY, 0)
            part = await self._reads.feed(visit.tenant, after, _MANY)
            here = [each for each in reversed(part.events) if each.feed_position < before]
            found += [each for each in here if wanted(each)]
            before = after + 1
            if after <= max(part.floor, 0):
                return found, None
            if len(found) >= _MANY:
                break
        return found, before

    async def _wanted(self, visit: Visit) -> Callable[[EventView], bool]:
        """Which events the visitor may see."""
        one = visit.bounds.subscription
        if one is None:
            return lambda _: True
        found = await self._reads.subscription(visit.tenant, one.id)
        return lambda event: (
            found is not None and wants(found, event.type, event.operation_type, event.operation_id)
        )

    async def _missed(
        self, visit: Visit, event: EventView, got: list[DeliveryView]
    ) -> list[Missed]:
        reached = {each.subscription_id for each in got}
        every = bounds.SubscriptionFilter()
        page = await bounds.subscriptions(
            self._reads, visit.tenant, visit.bounds, every, Span(_MOST)
        )
        others = [each for each in page.items if each.id not in reached]
        return [Missed(each, why_not(each, event)) for each in others]

    def _listed(self, visit: Visit, found: list[EventView], before: int | None) -> Page:
        further = None if before is None else f"{visit.request.url.path}?before={before}"
        shown = {"items": found, "given": visit.given, "further": further}
        return Page("events.html", "Events", shown)


def why_not(subscription: Subscription, event: EventView) -> str:
    """Why an event has no delivery to a subscription, as far as that can be said now."""
    if not wants(subscription, event.type, event.operation_type, event.operation_id):
        return _unwanted(subscription, event)
    if subscription.created_at > ids.key_time(event.key):
        return "It was made later than the event. A replay of what is missing sends it."
    if subscription.status is SubscriptionStatus.DISABLED:
        return f"It is disabled ({subscription.disabled_reason}) and takes no events."
    return "It took no events then, or wanted others. A replay of what is missing sends it."


def _unwanted(subscription: Subscription, event: EventView) -> str:
    kinds, types = subscription.operation_types, subscription.event_types
    if is_operational(event.type, event.operation_id):
        return (
            f"It does not name {event.type}: what the service itself has to say goes only to those "
            f"who name it, and * does not. It wants {', '.join(types)}."
        )
    if event.operation_type == REPLAY_TYPE and REPLAY_TYPE not in kinds:
        return f"It does not name the operation type {REPLAY_TYPE}, as it would have to."
    if subscription.operation_id not in (None, event.operation_id):
        return f"It wants the events of operation {subscription.operation_id} only."
    if kinds and event.operation_type is not None:
        return f"It wants {', '.join(types)} of operations of the type {', '.join(kinds)}."
    if kinds:
        return f"It wants operations of the type {', '.join(kinds)}; this event's has none."
    return f"It wants other types: {', '.join(types)}."
