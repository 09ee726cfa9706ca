"""The audit log: who did what, and when."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.api.routing import Action
from service.api.services import Services
from service.domain import ids, times
from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.ports import AuditEntry
from service.web.answers import Answer
from service.web.calls import Call
from service.web.listings import AUDIT_LOG


class AuditEntryOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An entry of the audit log."""

    id: str
    created_at: str
    tenant_id: str
    actor: str
    action: str
    target: str
    detail: Raw | UnsetType = UNSET


class AuditTrail:
    """Handler of the audit log."""

    def __init__(self, services: Services) -> None:
        self._log = services.audit_log
        self._base = services.settings.public_url

    def actions(self) -> list[Action]:
        """It is only read."""
        return [Action("GET", "/v1/audit-log", Scope.ADMIN, self.list)]

    async def list(self, call: Call) -> Answer | Refusal:
        """Entries, newest first."""
        asked = AUDIT_LOG.read(call.request)
        if isinstance(asked, Refusal):
            return asked
        page = await self._log.entries(call.principal, asked.which, asked.span)
        return AUDIT_LOG.answer(call.request, page, _shown, self._base)


def _shown(entry: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut(
        id=f"aud_{entry.key:016x}",
        created_at=times.render(ids.key_time(entry.key)),
        tenant_id=entry.tenant_id,
        actor=entry.actor,
        action=entry.action,
        target=entry.target,
        detail=UNSET if entry.detail is None else Raw(entry.detail.encode()),
    )
