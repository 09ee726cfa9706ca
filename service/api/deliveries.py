"""Deliveries: where each event is on its way to each subscription, and to try again by hand."""

from typing import Final

from service.api import delivery_shape
from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.domain import ids
from service.domain.api_keys import Scope
from service.domain.delivery import Trigger
from service.domain.errors import Refusal, not_found
from service.domain.ids import DeliveryRef
from service.ports import Once, Replayed
from service.web import answers
from service.web.answers import Answer
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.listings import DELIVERIES

_PATH: Final = "/v1/deliveries"
_ONE: Final = f"{_PATH}/{{id}}"


class NoBody(Body):
    """Nothing needs to be said."""


class Deliveries:
    """Handlers of deliveries."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._services = services
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """What is possible with deliveries."""
        read, replay = Scope.DELIVERIES_READ, Scope.DELIVERIES_REPLAY
        return [
            Action("GET", _PATH, read, self.list),
            Action("GET", _ONE, read, self.get),
            Action("POST", f"{_ONE}/retry", replay, self.retry),
            Action("POST", f"{_ONE}/cancel", replay, self.cancel),
        ]

    async def list(self, call: Call) -> Answer | Refusal:
        """Deliveries, newest event first."""
        asked = DELIVERIES.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._services.reads.deliveries(call.tenant, asked.which, asked.span)
        shown = delivery_shape.delivery_shown
        return DELIVERIES.answer(call.request, page, shown, self._links.base)

    async def get(self, call: Call) -> Answer | Refusal:
        """One delivery with every attempt."""
        ref = _ref(call)
        return ref if isinstance(ref, Refusal) else await self._one(call, ref)

    async def retry(self, call: Call) -> Answer | Refusal:
        """Try again now, whatever the schedule says."""
        ref = _ref(call)
        if isinstance(ref, Refusal):
            return ref
        given = await body_of(call, NoBody)
        if isinstance(given, Refusal):
            return given

        async def act(once: Once | None) -> DeliveryRef | Refusal | Replayed:
            return await self._services.replays.one(call.principal, ref, Trigger.MANUAL, once)

        return await self._idempotency.run(call, given[1], act, self._reopened, self._reopened)

    async def cancel(self, call: Call) -> Answer | Refusal:
        """Take it out of the queue."""
        ref = _ref(call)
        if isinstance(ref, Refusal):
            return ref
        given = await body_of(call, NoBody)
        if isinstance(given, Refusal):
            return given
        status = await self._services.replays.cancel_delivery(call.principal, ref)
        return status if isinstance(status, Refusal) else await self._one(call, ref)

    async def _one(self, call: Call, ref: DeliveryRef) -> Answer | Refusal:
        view = await self._services.reads.delivery(call.tenant, ref)
        if view is None:
            return not_found("delivery", call.name())
        attempts = await self._services.reads.attempts(ref)
        return answers.of(delivery_shape.delivery_shown(view, attempts))

    def _reopened(self, ref: DeliveryRef) -> Answer:
        return reopened(ref, self._links)


def reopened(ref: DeliveryRef, links: Links) -> Answer:
    """The answer to a delivery that goes out again."""
    name = ids.delivery_id(ref)
    return answers.of({"deliveryId": name}, 202, (("location", links.delivery(name)),))


def _ref(call: Call) -> DeliveryRef | Refusal:
    ref = ids.parse_ref("dlv", call.name())
    return not_found("delivery", call.name()) if ref is None else ref
