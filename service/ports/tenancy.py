"""What the management of tenants and their keys asks of the store, and the audit log of it all.

A principal who named a tenant sees that one only; without a name an administrator sees all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from service.domain.api_keys import ApiKey
from service.domain.errors import Refusal
from service.domain.tenant import Tenant
from service.ports.accepting import Once, Replayed
from service.ports.managing import Principal
from service.ports.reading import Page, Span


@dataclass(frozen=True, slots=True)
class NewText:
    """A key's new text, as far as it is stored."""

    digest: bytes
    public: str | None


class KeyStore(Protocol):
    """API keys."""

    async def create_key(
        self, who: Principal, key: ApiKey, text: NewText, once: Once | None = None
    ) -> ApiKey | Refusal | Replayed:
        """Make a key of a tenant that is there."""

    async def rotate_key(
        self, who: Principal, name: str, text: NewText, overlap: int, once: Once | None = None
    ) -> ApiKey | Refusal | Replayed:
        """Give a key another text; the present one is good for ``overlap`` ms longer."""

    async def revoke_key(self, who: Principal, name: str) -> Refusal | None:
        """End a key for good; one that has ended stays as it is."""

    async def key(self, who: Principal, name: str) -> ApiKey | None:
        """One key, whether or not it is in force."""

    async def keys(self, who: Principal, tenant_id: str | None, span: Span) -> Page[ApiKey]:
        """Newest first; those of one tenant where it is named."""

    async def note_use(self, used: Mapping[str, int]) -> None:
        """Note when keys were used last (ms), by id."""


class TenantStore(Protocol):
    """Tenants."""

    async def create_tenant(
        self, who: Principal, tenant: Tenant, once: Once | None = None
    ) -> Tenant | Refusal | Replayed:
        """Make a tenant whose id no other has, or ever had."""

    async def change_tenant(
        self,
        who: Principal,
        tenant_id: str,
        members: Mapping[str, object],
        seen: Tenant | None = None,
    ) -> Tenant | Refusal:
        """Give members of it other values; a conflict where they are other than was ``seen``."""

    async def delete_tenant(self, who: Principal, tenant_id: str) -> Refusal | None:
        """End it: its keys and tickets are dead, its subscriptions deleted; the rest is purged."""

    async def tenant(self, who: Principal, tenant_id: str) -> Tenant | None:
        """One tenant."""

    async def tenants(self, who: Principal, span: Span) -> Page[Tenant]:
        """Newest first."""

    async def has_tenant(self, tenant_id: str) -> bool:
        """Whether it is there."""

    async def purge(self) -> int:
        """Delete a batch of what deleted tenants left; how many rows of the log and the tables."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which object. ``detail`` is JSON without secrets."""

    key: int
    tenant_id: str
    actor: str
    action: str
    target: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries; bounds are ms, inclusive below, exclusive above."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: int | None = None
    until: int | None = None


class AuditLog(Protocol):
    """The audit log."""

    async def entries(self, who: Principal, which: AuditFilter, span: Span) -> Page[AuditEntry]:
        """Newest first."""
