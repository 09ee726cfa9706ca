"""Events: who got each one, and why not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from service.console import bounds
from service.console.event_search import Feed, Log, Search, Source, newest
from service.console.receivers import receivers
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import ids
from service.domain.api_keys import Scope
from service.domain.delivery import is_finished
from service.domain.errors import Refusal, not_found
from service.domain.ids import MAX_KEY
from service.domain.matching import wants
from service.domain.operation import REPLAY_TYPE
from service.domain.operational import is_operational
from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import DeliveryFilter, DeliveryView, EventLine, EventView, Span
from service.web import queries
from service.web.wanted import Wanted

_PATH: Final = "/events"
_ASKED: Final = {
    "id": queries.text,
    "operationId": queries.text,
    "types": queries.patterns,
    "operationType": queries.patterns,
    "since": queries.moment,
    "until": queries.moment,
    "before": queries.number,
}
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
        """Events, newest first; those that are asked for."""
        values = queries.read(visit.request, _ASKED)
        if isinstance(values, Refusal):
            return values
        if "id" in values:
            event = await self._named(visit, values["id"])
            is_it = event is not None and _search(values, _anything).has(event)
            return _listed(visit, [event] if event and is_it else [], None)
        source = await self._source(visit, values.get("operationId"))
        if source is None:
            return _listed(visit, [], None)
        search = _search(values, await self._visible(visit))
        found, further = await newest(source, search, values.get("before"))
        return _listed(visit, found, further)

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
        is_open = any(not is_finished(each.status) for each in got or ())
        named = {each.subscription_id for each in got or ()}
        named |= {each.subscription.id for each in missed or ()}
        shown = {
            "event": event,
            "got": got,
            "missed": missed,
            "is_open": is_open,
            "receivers": await receivers(visit, self._reads, named),
        }
        return Page("event.html", "Event", shown)

    async def _named(self, visit: Visit, name: str) -> EventView | None:
        """The event of this name, if the visitor may see it."""
        one = visit.bounds.subscription
        if one is None or await bounds.holds(self._reads, visit.tenant, one, _PATH, name):
            return await self._reads.event(visit.tenant, name)
        return None

    async def _source(self, visit: Visit, operation_id: str | None) -> Source | None:
        """The events among which is looked; ``None``: there is no such operation."""
        if operation_id is None:
            return Feed(self._reads, visit.tenant)
        operation = await self._reads.operation(visit.tenant, operation_id)
        return None if operation is None else Log(self._reads, operation)

    async def _visible(self, visit: Visit) -> Callable[[EventLine | EventView], bool]:
        """Which events the visitor may see."""
        one = visit.bounds.subscription
        if one is None:
            return _anything
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


def _search(values: Mapping[str, Any], may_see: Callable[[EventLine | EventView], bool]) -> Search:
    """What is asked for, of what the visitor may see."""
    wanted = Wanted(values.get("types", ()), values.get("operationType", ()))
    operation = values.get("operationId")

    def takes(event: EventLine | EventView) -> bool:
        return operation in (None, event.operation_id) and wanted(event) and may_see(event)

    return Search(takes, values.get("since", 0), values.get("until", MAX_KEY))


def _anything(_: EventLine | EventView) -> bool:
    return True


def _listed(visit: Visit, found: Sequence[EventLine | EventView], before: int | None) -> Page:
    others = {name: text for name, text in visit.given.items() if name != "before"}
    query = urlencode({**others, "before": before}, safe=queries.UNQUOTED)
    further = None if before is None else f"{visit.request.url.path}?{query}"
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
