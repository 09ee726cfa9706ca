"""What only administrators see: the audit log, this process itself."""

from typing import Final

from service.console.looking import MOST
from service.console.services import Services
from service.console.visits import Action, Page, Visit
from service.domain import ids
from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.web.listings import AUDIT_LOG

_AUDIT_LOG: Final = "/audit-log"


class Administration:
    """Handlers of what rules all tenants."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def actions(self) -> list[Action]:
        """What administrators can look at."""
        needed = Scope.ADMIN
        return [
            Action("GET", _AUDIT_LOG, needed, self.audit_log),
            Action("GET", "/system", needed, self.system),
        ]

    async def audit_log(self, visit: Visit) -> Page | Refusal:
        """Who did what, newest first."""
        asked = AUDIT_LOG.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        log = self._services.audit_log
        page = await log.entries(visit.principal, asked.which, asked.span)
        shown = {
            "items": [(each, ids.key_time(each.key)) for each in page.items],
            "given": visit.given,
            "further": page.next and AUDIT_LOG.address_of(visit.request, page.next),
        }
        return Page("audit_log.html", "Audit log", shown)

    async def system(self, _: Visit) -> Page:
        """What this process is, what it is at, and how it is set."""
        services = self._services
        shown = {
            "about": services.about,
            "work": await services.work(),
            "fault": await services.ready(),
            "most_lookers": MOST,
        }
        return Page("system.html", "System", shown)
