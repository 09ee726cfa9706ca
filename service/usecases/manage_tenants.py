"""Tenants as administrators handle them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.errors import Refusal
from service.domain.subscription import Verification
from service.domain.tenant import Tenant
from service.ports import Once, Principal, Replayed, TenantStore
from service.usecases.making import Maker
from service.usecases.sweep import Chore

#: Seconds between two looks at what deleted tenants left.
_PURGE_EVERY: Final = 2.0
#: Batches at one look, so that what is left is not left for long.
_BATCHES: Final = 20


@dataclass(frozen=True, slots=True)
class TenantInput:
    """A tenant as it is asked for."""

    id: str
    name: str
    verification: Verification = Verification.NONE
    portal_origins: tuple[str, ...] = ()


class ManageTenants:
    """Makes, changes and deletes tenants; ``keys_changed`` is told when keys went with one."""

    def __init__(self, store: TenantStore, maker: Maker, keys_changed: Callable[[], None]) -> None:
        self._store = store
        self._maker = maker
        self._keys_changed = keys_changed

    async def create(
        self, who: Principal, given: TenantInput, once: Once | None
    ) -> Tenant | Refusal | Replayed:
        """Make a tenant."""
        now = self._maker.clock.now()
        key = self._maker.keys.next(now)
        told = (given.verification, given.portal_origins)
        tenant = Tenant(key, given.id, given.name, now, *told)
        return await self._store.create_tenant(who, tenant, once)

    async def change(
        self,
        who: Principal,
        tenant_id: str,
        members: Mapping[str, object],
        seen: Tenant | None = None,
    ) -> Tenant | Refusal:
        """Give members of it other values, unless they are other than was ``seen``: a conflict."""
        return await self._store.change_tenant(who, tenant_id, members, seen)

    async def delete(self, who: Principal, tenant_id: str) -> Refusal | None:
        """Delete it with everything it has."""
        refusal = await self._store.delete_tenant(who, tenant_id)
        self._keys_changed()
        return refusal

    async def purge(self) -> int:
        """Delete some of what deleted tenants left; how much that was."""
        for _ in range(_BATCHES):
            done = await self._store.purge()
            if not done:
                return 0
        return _BATCHES

    def chores(self) -> tuple[Chore, ...]:
        """What the sweep is to do."""
        return (Chore("purge", _PURGE_EVERY, self.purge),)
