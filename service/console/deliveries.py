"""Deliveries: where each event is on its way to each subscription, and every attempt in full."""

from typing import Final

from service.console.attempts import Seen, curl, seen
from service.console.delivery_replays import but_dead, unfit
from service.console.receivers import receivers
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.console.waiting import Wait, wait_of
from service.domain import ids
from service.domain.api_keys import Scope
from service.domain.delivery import DeliveryStatus, Trigger, is_finished
from service.domain.errors import Refusal, not_found
from service.domain.ids import DeliveryRef
from service.domain.request import thin
from service.domain.subscription import Subscription
from service.ports import DeliveryView, EventView
from service.web import queries
from service.web.answers import Answer
from service.web.listings import DELIVERIES

_PATH: Final = "/deliveries"
_ONE: Final = f"{_PATH}/{{id}}"
_ALL: Final = DELIVERIES.also({"live": queries.flag, "done": queries.text})


class Deliveries:
    """Handlers of deliveries."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._replays = services.replays
        self._stats = services.stats
        self._clock = services.clock
        self._public_url = services.about.public_url

    def actions(self) -> list[Action]:
        """What is possible with deliveries."""
        read, replay = Scope.DELIVERIES_READ, Scope.DELIVERIES_REPLAY
        return [
            Action("GET", _PATH, read, self.index),
            Action("GET", _ONE, read, self.show),
            Action("POST", f"{_ONE}/retry", replay, self.retry),
            Action("POST", f"{_ONE}/cancel", replay, self.cancel),
        ]

    async def index(self, visit: Visit) -> Page | Refusal:
        """Deliveries, newest event first."""
        asked = _ALL.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        which = visit.bounds.narrowed(asked.which)
        page = await self._reads.deliveries(visit.tenant, which, asked.span)
        shown = {
            "items": page.items,
            "receivers": await receivers(
                visit, self._reads, [each.subscription_id for each in page.items]
            ),
            "given": visit.given,
            "statuses": list(DeliveryStatus),
            "unfit": unfit(which),
            "but_dead": but_dead(which),
            "is_live": asked.others.get("live", False),
            "further": page.next and _ALL.address_of(visit.request, page.next),
        }
        return Page("deliveries.html", "Deliveries", shown)

    async def show(self, visit: Visit) -> Page | Refusal:
        """One delivery with everything that is known of it."""
        ref = _ref(visit)
        view = None if isinstance(ref, Refusal) else await self._reads.delivery(visit.tenant, ref)
        if view is None:
            return not_found("delivery", visit.name())
        attempts = [seen(each) for each in await self._reads.attempts(view.ref)]
        event = await self._reads.event(visit.tenant, view.event_id)
        letter = await self._reads.dead_letter(visit.tenant, view.ref)
        subscription = await self._reads.subscription(visit.tenant, view.subscription_id)
        shown = {
            "delivery": view,
            "receivers": await receivers(visit, self._reads, [view.subscription_id]),
            "wait": await self._wait(view, subscription),
            "attempts": attempts,
            "event": event,
            "letter": letter,
            "is_open": not is_finished(view.status),
            "curl": self._curl(subscription, attempts, event),
        }
        return Page("delivery.html", "Delivery", shown)

    async def retry(self, visit: Visit) -> Answer | Refusal:
        """Send it now, whatever the schedule says."""
        ref = _ref(visit)
        if isinstance(ref, Refusal):
            return ref
        result = await self._replays.one(visit.principal, ref, Trigger.MANUAL)
        return result if isinstance(result, Refusal) else _back(visit, "retried")

    async def cancel(self, visit: Visit) -> Answer | Refusal:
        """Take it out of the queue."""
        ref = _ref(visit)
        if isinstance(ref, Refusal):
            return ref
        status = await self._replays.cancel_delivery(visit.principal, ref)
        return status if isinstance(status, Refusal) else _back(visit, "cancelled")

    async def _wait(self, view: DeliveryView, subscription: Subscription | None) -> Wait:
        """What it waits for."""
        if subscription is None:  # it was deleted: nothing goes to it any more
            return Wait(None)
        healths = await self._stats.healths([subscription.no])
        return wait_of(view, subscription, healths.get(subscription.no), self._clock.now())

    def _curl(
        self, subscription: Subscription | None, attempts: list[Seen], event: EventView | None
    ) -> str | None:
        """The last request as a command, where all of it is known."""
        detail = next((each.detail for each in reversed(attempts) if each.detail), None)
        if detail is None or event is None:
            return None
        body = event.body
        if subscription is not None and subscription.payload == "thin":
            body = thin(body, f"{self._public_url}/v1/events/{event.id}")
        return curl(detail, body)


def _ref(visit: Visit) -> DeliveryRef | Refusal:
    ref = ids.parse_ref("dlv", visit.name())
    return not_found("delivery", visit.name()) if ref is None else ref


def _back(visit: Visit, done: str) -> Answer:
    return visit.to(f"{_PATH}/{visit.name()}?done={done}")
