"""What only administrators see: tenants, the audit log, this process itself."""

from typing import Final

import msgspec

from service.console.services import Services
from service.console.sessions import Sessions
from service.console.visits import Action, Page, Visit
from service.domain import ids
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.subscription import Verification
from service.ports import Replayed
from service.web import queries
from service.web.answers import Answer
from service.web.listings import AUDIT_LOG, TENANTS

_TENANTS: Final = "/tenants"
_AUDIT_LOG: Final = "/audit-log"
_ALL: Final = TENANTS.also({"done": queries.text})


class Administration:
    """Handlers of what rules all tenants."""

    def __init__(self, services: Services, sessions: Sessions) -> None:
        self._services = services
        self._sessions = sessions

    def actions(self) -> list[Action]:
        """What administrators can do."""
        needed = Scope.ADMIN
        return [
            Action("GET", _TENANTS, needed, self.tenants),
            Action("POST", _TENANTS, needed, self.create),
            Action("POST", f"{_TENANTS}/leave", needed, self.leave),
            Action("POST", f"{_TENANTS}/{{id}}/act", needed, self.act),
            Action("GET", _AUDIT_LOG, needed, self.audit_log),
            Action("GET", "/system", needed, self.system),
        ]

    async def tenants(self, visit: Visit) -> Page | Refusal:
        """Tenants, newest first."""
        return await self._listed(visit, None)

    async def create(self, visit: Visit) -> Page | Answer | Refusal:
        """Make one."""
        names = ("id", "name", "verification")
        body = {name: visit.form.one(name) for name in names if visit.form.one(name)}
        given = self._services.bodies.tenant(msgspec.json.encode(body))
        if isinstance(given, Refusal):
            return await self._listed(visit, given)
        made = await self._services.tenants.create(visit.principal, given, None)
        if isinstance(made, Replayed):
            raise TypeError("A tenant without an Idempotency-Key was replayed.")
        if isinstance(made, Refusal):
            return await self._listed(visit, made)
        return visit.to(f"{_TENANTS}?done=created")

    async def act(self, visit: Visit) -> Answer | Refusal:
        """Go on as this tenant: what is shown and done from now on is its own."""
        name = visit.name()
        if not await self._services.tenant_reads.has_tenant(name):
            return not_found("tenant", name)
        session = msgspec.structs.replace(visit.session, tenant=name)
        return visit.to("", self._sessions.kept(session))

    async def leave(self, visit: Visit) -> Answer:
        """Act for the key's own tenant again, and see all of them."""
        session = msgspec.structs.replace(visit.session, tenant=None)
        return visit.to(_TENANTS, self._sessions.kept(session))

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
        """What this process is, and how it is set."""
        fault = await self._services.ready()
        return Page("system.html", "System", {"about": self._services.about, "fault": fault})

    async def _listed(self, visit: Visit, refusal: Refusal | None) -> Page | Refusal:
        asked = _ALL.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._services.tenant_reads.tenants(visit.principal, asked.span)
        shown = {
            "items": page.items,
            "form": visit.form,
            "verifications": list(Verification),
            "fault": None if refusal is None else refusal.detail,
            "faults": () if refusal is None else refusal.faults,
            "further": page.next and _ALL.address_of(visit.request, page.next),
        }
        return Page("tenants.html", "Tenants", shown, status=200 if refusal is None else 422)
