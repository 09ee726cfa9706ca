"""Tenants: made, changed, and acted for."""

from typing import Final

import msgspec

from service.console import forms
from service.console.forms import Filled, Texts
from service.console.services import Services
from service.console.sessions import Sessions
from service.console.visits import Action, Page, Visit
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind, conflict, not_found
from service.domain.subscription import Verification
from service.domain.tenant import Tenant
from service.ports import Replayed
from service.web import queries
from service.web.answers import Answer
from service.web.listings import TENANTS

_PATH: Final = "/tenants"
_ONE: Final = f"{_PATH}/{{id}}"
_ALL: Final = TENANTS.also({"done": queries.text})
#: Fields of a tenant's form; a new one has an id besides.
FIELDS: Final = ("name", "verification", "portalOrigins")
_NEW: Final = ("id", *FIELDS)
_NONE: Final[Texts] = {}
#: What an origin looks like.
_ORIGIN: Final = "https://app.example.com"
_MEANWHILE: Final = conflict(
    "Somebody changed this tenant meanwhile, so nothing was saved. What you had typed is as you "
    "typed it. Look it over and save again."
)


class Tenants:
    """Handlers of tenants."""

    def __init__(self, services: Services, sessions: Sessions) -> None:
        self._manage = services.tenants
        self._reads = services.tenant_reads
        self._bodies = services.bodies
        self._sessions = sessions

    def actions(self) -> list[Action]:
        """What administrators can do with tenants; paths with names of their own come first."""
        needed = Scope.ADMIN
        return [
            Action("GET", _PATH, needed, self.index),
            Action("POST", _PATH, needed, self.create),
            Action("POST", f"{_PATH}/leave", needed, self.leave),
            Action("POST", f"{_ONE}/act", needed, self.act),
            Action("GET", f"{_ONE}/edit", needed, self.edit),
            Action("POST", f"{_ONE}/edit", needed, self.change),
        ]

    async def index(self, visit: Visit) -> Page | Refusal:
        """Tenants, newest first."""
        return await self._listed(visit, Filled())

    async def create(self, visit: Visit) -> Page | Answer | Refusal:
        """Make one."""
        texts = forms.texts_of(visit.form, _NEW)
        given = self._bodies.tenant(_body(texts, [name for name in _NEW if texts[name]]))
        if isinstance(given, Refusal):
            return await self._listed(visit, Filled(texts, given))
        made = await self._manage.create(visit.principal, given, None)
        if isinstance(made, Replayed):
            raise TypeError("A tenant without an Idempotency-Key was replayed.")
        if isinstance(made, Refusal):
            return await self._listed(visit, Filled(texts, made))
        return visit.to(f"{_PATH}?done=created")

    async def edit(self, visit: Visit) -> Page | Refusal:
        """The form of one that is there."""
        found = await self._found(visit)
        return found if isinstance(found, Refusal) else _edited(found, _shown(found))

    async def change(self, visit: Visit) -> Page | Answer | Refusal:
        """Change what was changed in the form, unless somebody else changed the same meanwhile."""
        found = await self._found(visit)
        if isinstance(found, Refusal):
            return found
        typed, present = forms.texts_of(visit.form, FIELDS), _shown(found)
        merged, others = forms.merged(typed, visit.form.one("marks"), present)
        if others:
            return _edited(found, merged, _MEANWHILE, others)
        names = [name for name in FIELDS if merged[name] != present[name]]
        if not names:
            return visit.to(f"{_PATH}?done=unchanged")
        members = self._bodies.tenant_patch(_body(merged, names))
        if isinstance(members, Refusal):
            return _edited(found, merged, members)
        changed = await self._manage.change(visit.principal, visit.name(), members, found)
        if isinstance(changed, Refusal):
            # somebody was quicker since it was found: then that is what the form is compared with
            was_quicker = changed.kind is RefusalKind.CONFLICT
            return await self.change(visit) if was_quicker else changed
        return visit.to(f"{_PATH}?done=saved")

    async def act(self, visit: Visit) -> Answer | Refusal:
        """Go on as this tenant: what is shown and done from now on is its own."""
        name = visit.name()
        if not await self._reads.has_tenant(name):
            return not_found("tenant", name)
        session = msgspec.structs.replace(visit.session, tenant=name)
        return visit.to("", self._sessions.kept(session))

    async def leave(self, visit: Visit) -> Answer:
        """Act for the key's own tenant again, and see all of them."""
        session = msgspec.structs.replace(visit.session, tenant=None)
        return visit.to(_PATH, self._sessions.kept(session))

    async def _listed(self, visit: Visit, filled: Filled) -> Page | Refusal:
        asked = _ALL.read(visit.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._reads.tenants(visit.principal, asked.span)
        shown = {
            "items": page.items,
            "filled": filled,
            "verifications": list(Verification),
            "origin": _ORIGIN,
            "further": page.next and _ALL.address_of(visit.request, page.next),
        }
        return Page("tenants.html", "Tenants", shown, status=filled.status)

    async def _found(self, visit: Visit) -> Tenant | Refusal:
        found = await self._reads.tenant(visit.principal, visit.name())
        return not_found("tenant", visit.name()) if found is None else found


def _shown(tenant: Tenant) -> dict[str, str]:
    """The texts that stand for a tenant."""
    origins = "\n".join(tenant.portal_origins)
    texts = (tenant.name.strip(), tenant.verification.value, origins)
    return dict(zip(FIELDS, texts, strict=True))


def _body(texts: Texts, names: list[str]) -> bytes:
    """These fields as the API's body."""
    body: dict[str, object] = {name: texts[name] for name in names}
    if "portalOrigins" in body:
        body["portalOrigins"] = texts["portalOrigins"].replace(",", "\n").split()
    return msgspec.json.encode(body)


def _edited(
    tenant: Tenant, texts: Texts, refusal: Refusal | None = None, others: Texts = _NONE
) -> Page:
    filled = Filled(texts, refusal, others, forms.marks(_shown(tenant)))
    shown = {
        "tenant": tenant,
        "filled": filled,
        "verifications": list(Verification),
        "origin": _ORIGIN,
    }
    return Page("tenant_form.html", "Edit tenant", shown, status=filled.status)
