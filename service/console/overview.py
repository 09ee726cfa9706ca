"""The first page: how deliveries go, and what needs somebody."""

from typing import Any, Final

from service.console.grouping import grouped
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain.api_keys import Scope
from service.domain.delivery import DeliveryStatus
from service.ports import DeadLetterFilter, DeliveryFilter, Span

#: Lines of each table: what is more is behind a link.
_FEW: Final = 5


class Overview:
    """Handler of the first page."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._stats = services.stats

    def actions(self) -> list[Action]:
        """It is only read."""
        return [Action("GET", "", None, self.show), Action("GET", "/", None, self.show)]

    async def show(self, visit: Visit) -> Page:
        """What the visitor may see of it all."""
        values: dict[str, Any] = {"stats": None, "groups": None, "last": None}
        if visit.may(Scope.ADMIN):
            values["stats"], values["backlog"] = await self._stats.service()
        if visit.may(Scope.DELIVERIES_READ):
            opened = DeadLetterFilter(resolved=False)
            counts = await self._reads.dead_letter_summary(visit.tenant, opened)
            values["groups"] = grouped(counts)[:_FEW]
            dead = DeliveryFilter(status=DeliveryStatus.DEAD)
            page = await self._reads.deliveries(visit.tenant, dead, Span(_FEW))
            values["last"] = page.items
        return Page("overview.html", "Overview", values)
