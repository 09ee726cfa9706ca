"""The dead-letter table: what could not be delivered, why, and how to send it after all."""

from typing import Final

from service.api import delivery_shape
from service.api.deliveries import NoBody, reopened
from service.api.links import Links
from service.api.reading import body_of
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
from service.web.listings import DEAD_LETTERS

_PATH: Final = "/v1/dead-letters"
_ONE: Final = f"{_PATH}/{{id}}"


class DeadLetters:
    """Handlers of dead letters."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._services = services
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """What is possible with dead letters; the summary's path comes before the ids."""
        read, replay = Scope.DELIVERIES_READ, Scope.DELIVERIES_REPLAY
        return [
            Action("GET", _PATH, read, self.list),
            Action("GET", f"{_PATH}/summary", read, self.summary),
            Action("GET", _ONE, read, self.get),
            Action("DELETE", _ONE, replay, self.discard),
            Action("POST", f"{_ONE}/replay", replay, self.replay),
        ]

    async def list(self, call: Call) -> Answer | Refusal:
        """Dead letters, newest event first."""
        asked = DEAD_LETTERS.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._services.reads.dead_letters(call.tenant, asked.which, asked.span)
        shown = delivery_shape.dead_letter_shown
        return DEAD_LETTERS.answer(call.request, page, shown, self._links.base)

    async def summary(self, call: Call) -> Answer | Refusal:
        """Counts by subscription, reason and error, the largest first."""
        which = DEAD_LETTERS.filter(call.request)
        if isinstance(which, Refusal):
            return which
        counts = await self._services.reads.dead_letter_summary(call.tenant, which)
        return answers.of({"data": [delivery_shape.count_shown(each) for each in counts]})

    async def get(self, call: Call) -> Answer | Refusal:
        """One dead letter."""
        ref = ids.parse_ref("dl", call.name())
        view = await self._services.reads.dead_letter(call.tenant, ref) if ref else None
        if view is None:
            return not_found("dead letter", call.name())
        return answers.of(delivery_shape.dead_letter_shown(view))

    async def replay(self, call: Call) -> Answer | Refusal:
        """Send it again: the same delivery, its schedule anew."""
        ref = ids.parse_ref("dl", call.name())
        if ref is None:
            return not_found("dead letter", call.name())
        given = await body_of(call, NoBody)
        if isinstance(given, Refusal):
            return given

        async def act(once: Once | None) -> DeliveryRef | Refusal | Replayed:
            return await self._services.replays.one(call.principal, ref, Trigger.REPLAY, once)

        return await self._idempotency.run(call, given[1], act, self._reopened, self._reopened)

    async def discard(self, call: Call) -> Answer | Refusal:
        """Delete it; the audit log keeps that it was there."""
        ref = ids.parse_ref("dl", call.name())
        if ref is None:
            return not_found("dead letter", call.name())
        refusal = await self._services.replays.discard(call.principal, ref)
        return Answer(204) if refusal is None else refusal

    def _reopened(self, ref: DeliveryRef) -> Answer:
        return reopened(ref, self._links)
