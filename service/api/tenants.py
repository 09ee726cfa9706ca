"""Tenants: made, listed, changed, deleted with all they have."""

from typing import Final

import msgspec
from pydantic import Field

from service.api.fields import Id, Name, Origins, VerificationChoice
from service.api.links import Links
from service.api.reading import Body, body_of
from service.api.routing import Action
from service.api.services import Services
from service.api.subscriptions import PATCH_TYPES
from service.domain import times
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, not_found
from service.domain.subscription import Verification
from service.domain.tenant import Tenant
from service.ports import Once, Replayed
from service.usecases.manage_tenants import TenantInput
from service.web import answers
from service.web.answers import Answer
from service.web.calls import Call
from service.web.idempotency import Idempotency
from service.web.listings import TENANTS

_PATH: Final = "/v1/tenants"
_ONE: Final = f"{_PATH}/{{id}}"


class TenantBody(Body):
    """A new tenant."""

    id: Id
    name: Name
    verification: VerificationChoice = None
    portal_origins: Origins | None = None

    def given(self) -> TenantInput:
        """The tenant in the domain's terms."""
        verification = self.verification or Verification.NONE
        return TenantInput(self.id, self.name, verification, tuple(self.portal_origins or ()))


class TenantPatch(Body):
    """What can be changed of a tenant; what is not given stays as it is."""

    #: No name is empty: this is none.
    name: Name = Field(default_factory=str)
    verification: VerificationChoice = None
    portal_origins: Origins | None = None

    def given(self) -> dict[str, object]:
        """The members that were given, in the domain's terms."""
        members = {
            "name": self.name,
            "verification": self.verification or Verification.NONE,
            "portal_origins": tuple(self.portal_origins or ()),
        }
        return {name: members[name] for name in members if name in self.model_fields_set}


class TenantOut(msgspec.Struct, frozen=True, rename="camel"):
    """A tenant."""

    id: str
    name: str
    verification: str
    portal_origins: list[str]
    created_at: str


class Tenants:
    """Handlers of tenants."""

    def __init__(self, services: Services, idempotency: Idempotency, links: Links) -> None:
        self._manage = services.tenants
        self._reads = services.tenant_reads
        self._idempotency = idempotency
        self._links = links

    def actions(self) -> list[Action]:
        """What administrators can do with tenants."""
        needed = Scope.ADMIN
        return [
            Action("POST", _PATH, needed, self.create),
            Action("GET", _PATH, needed, self.list),
            Action("GET", _ONE, needed, self.get),
            Action("PATCH", _ONE, needed, self.change),
            Action("DELETE", _ONE, needed, self.delete),
        ]

    async def create(self, call: Call) -> Answer | Refusal:
        """Make a tenant."""
        given = await body_of(call, TenantBody)
        if isinstance(given, Refusal):
            return given
        body = given[0]

        async def act(once: Once | None) -> Tenant | Refusal | Replayed:
            return await self._manage.create(call.principal, body.given(), once)

        return await self._idempotency.run(call, given[1], act, self._created, self._created)

    async def list(self, call: Call) -> Answer | Refusal:
        """Tenants, newest first."""
        asked = TENANTS.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._reads.tenants(call.principal, asked.span)
        return TENANTS.answer(call.request, page, _shown, self._links.base)

    async def get(self, call: Call) -> Answer | Refusal:
        """One tenant."""
        found = await self._reads.tenant(call.principal, call.name())
        return not_found("tenant", call.name()) if found is None else answers.of(_shown(found))

    async def change(self, call: Call) -> Answer | Refusal:
        """Change what is given, leave the rest."""
        given = await body_of(call, TenantPatch, PATCH_TYPES)
        if isinstance(given, Refusal):
            return given
        changed = await self._manage.change(call.principal, call.name(), given[0].given())
        return changed if isinstance(changed, Refusal) else answers.of(_shown(changed))

    async def delete(self, call: Call) -> Answer | Refusal:
        """Delete it with everything it has."""
        refusal = await self._manage.delete(call.principal, call.name())
        return Answer(204) if refusal is None else refusal

    def _created(self, made: Tenant) -> Answer:
        return answers.of(_shown(made), 201, (("location", self._links.tenant(made.id)),))


def _shown(tenant: Tenant) -> TenantOut:
    origins, made = list(tenant.portal_origins), times.render(tenant.created_at)
    return TenantOut(tenant.id, tenant.name, tenant.verification.value, origins, made)
