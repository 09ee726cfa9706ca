"""The first page: how deliveries go, and what needs somebody."""

from typing import Any, Final, NamedTuple

from service.console import bounds
from service.console.attempt_charts import AttemptCharts
from service.console.charts import Charts
from service.console.grouping import grouped
from service.console.receivers import receivers
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain.api_keys import Scope
from service.domain.delivery import DeliveryStatus
from service.domain.errors import Refusal
from service.domain.subscription import Subscription
from service.ports import DeadLetterFilter, DeliveryFilter, Span, SubscriptionStats

#: Lines of each table: what is more is behind a link.
_FEW: Final = 5


class Fare(NamedTuple):
    """A subscription, and how it does."""

    subscription: Subscription
    stats: SubscriptionStats
    circuit: str


class Overview:
    """Handler of the first page."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._stats = services.stats
        self._about = services.about
        self._charts = Charts(services)
        self._attempts = AttemptCharts(services)

    def actions(self) -> list[Action]:
        """It is only read."""
        own = [Action("GET", "", None, self.show), Action("GET", "/", None, self.show)]
        return [*own, *self._charts.actions()]

    async def show(self, visit: Visit) -> Page | Refusal:
        """What the visitor may see of it all."""
        over_time = await self._charts.shown(visit)
        if isinstance(over_time, Refusal):
            return over_time
        values: dict[str, Any] = {"stats": None, "fares": None, "groups": None, "last": None}
        values |= {"over_time": over_time, "attempts": None}
        if visit.may(Scope.ADMIN):
            values["stats"], values["backlog"] = await self._stats.service()
            values["breaker"] = self._about.breaker
        elif visit.may(Scope.SUBSCRIPTIONS_READ) and visit.may(Scope.DELIVERIES_READ):
            fares = values["fares"] = await self._fares(visit)
            if fares and not visit.sees_all:
                attempts = await self._attempts.shown(fares[0].subscription, visit)
                if isinstance(attempts, Refusal):
                    return attempts
                values["attempts"] = attempts
        if visit.may(Scope.DELIVERIES_READ):
            opened = visit.bounds.narrowed(DeadLetterFilter(resolved=False))
            counts = await self._reads.dead_letter_summary(visit.tenant, opened)
            groups = values["groups"] = grouped(counts)[:_FEW]
            dead = visit.bounds.narrowed(DeliveryFilter(status=DeliveryStatus.DEAD))
            page = await self._reads.deliveries(visit.tenant, dead, Span(_FEW))
            values["last"] = page.items
            named = {each.subscription_id for each in groups}
            named |= {each.subscription_id for each in page.items}
            values["receivers"] = await receivers(visit, self._reads, named)
        return Page("overview.html", "Overview", values)

    async def _fares(self, visit: Visit) -> list[Fare]:
        """How the newest subscriptions do."""
        every = bounds.SubscriptionFilter()
        page = await bounds.subscriptions(
            self._reads, visit.tenant, visit.bounds, every, Span(_FEW)
        )
        numbers = [(each, (await self._stats.subscription(each.no))[0]) for each in page.items]
        return [Fare(each, stats, self._about.circuit_of(stats)) for each, stats in numbers]
