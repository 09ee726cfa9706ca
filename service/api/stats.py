"""Statistics: how the deliveries of one subscription go, and those of the whole service."""

from service.api import stats_shape
from service.api.routing import Action
from service.api.services import Services
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.web import answers
from service.web.answers import Answer
from service.web.calls import Call


class Statistics:
    """Handlers of statistics."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._stats = services.stats

    def actions(self) -> list[Action]:
        """What can be asked."""
        one = "/v1/subscriptions/{id}/stats"
        return [
            Action("GET", one, Scope.DELIVERIES_READ, self.subscription),
            Action("GET", "/v1/stats", Scope.ADMIN, self.service),
        ]

    async def subscription(self, call: Call) -> Answer | Refusal:
        """How one subscription's deliveries go."""
        found = await self._reads.subscription(call.tenant, call.name())
        if found is None:
            return not_found("subscription", call.name())
        stats, limit = await self._stats.subscription(found.no)
        return answers.of(stats_shape.subscription_shown(found, stats, limit))

    async def service(self, _: Call) -> Answer | Refusal:
        """How all deliveries go."""
        return answers.of(stats_shape.service_shown(*await self._stats.service()))
