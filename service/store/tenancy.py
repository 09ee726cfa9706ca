"""Tenants: made, changed, ended, listed. An id is never given twice.

To end one is one transaction, after which nobody can act for it and nothing is sent for it; what
it leaves is purged in batches (:mod:`service.store.purging`).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, insert, select, update

from service.domain.errors import Refusal, conflict, not_found
from service.domain.ids import KeyMaker
from service.domain.subscription import Verification
from service.domain.tenant import DEFAULT_TENANT, Tenant
from service.ports import Once, Page, Principal, Replayed, Span
from service.store import auditing, purging, versions
from service.store.database import Database, Tx
from service.store.once import once as do_once
from service.store.paging import page_of
from service.store.schema import api_keys, replays, stream_tickets, subscriptions, tenants
from service.store.schema_portal import portal_links
from service.store.statements import Statement

_COLUMNS: Final = (
    tenants.c.no,
    tenants.c.id,
    tenants.c.name,
    tenants.c.created_at,
    tenants.c.verification,
    tenants.c.portal_origins,
)
#: Members that the audit log calls as the API does.
_WORDS: Final = {"portal_origins": "portalOrigins"}
_one = select(tenants.c.id).where(
    tenants.c.id == bindparam("tenant"), tenants.c.deleted_at.is_(None)
)
_IS_THERE: Final = Statement(_one)
_LOCK: Final = Statement(_one.with_for_update())


class TenantStore:
    """See :class:`service.ports.TenantStore`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database = database
        self._keys = keys

    async def create_tenant(
        self, who: Principal, tenant: Tenant, once: Once | None = None
    ) -> Tenant | Refusal | Replayed:
        """Make a tenant whose id no other has, or ever had."""

        async def body(tx: Tx) -> Tenant | Refusal:
            known = await tx.query(select(tenants.c.deleted_at).where(tenants.c.id == tenant.id))
            if known:
                is_so = "exists already" if known[0]["deleted_at"] is None else "was deleted"
                return conflict(
                    f"Tenant {tenant.id!r} {is_so}, and no id is given twice. Choose another one.",
                    tenantId=tenant.id,
                )
            new = {"feed_position": 0, "config_version": self._keys.next(tx.now)}
            await tx.change(insert(tenants).values(**_values(tenant), **new))
            await self._note(tx, who, tenant.id, "created", {"name": tenant.name, **_told(tenant)})
            return tenant

        async def job(tx: Tx) -> Tenant | Refusal | Replayed:
            return await do_once(tx, who.tenant_id, once, body)

        return await self._database.write(job)

    async def change_tenant(
        self,
        who: Principal,
        tenant_id: str,
        members: Mapping[str, object],
        seen: Tenant | None = None,
    ) -> Tenant | Refusal:
        """Give members of it other values, unless they are other than was ``seen``."""

        async def job(tx: Tx) -> Tenant | Refusal:
            rows = await tx.query(_named(who, tenant_id).with_for_update())
            if not rows:
                return not_found("tenant", tenant_id)
            known = _tenant(rows[0])
            if seen is not None and any(getattr(known, n) != getattr(seen, n) for n in members):
                return conflict(f"Somebody changed tenant {tenant_id!r} meanwhile.")
            after = replace(known, **members)  # type: ignore[arg-type]  # members of many types
            row = tenants.c.id == tenant_id
            await tx.change(update(tenants).where(row).values(**_values(after)))
            told = {_WORDS.get(name, name): value for name, value in members.items()}
            await self._note(tx, who, tenant_id, "changed", told)
            return after

        return await self._database.write(job)

    async def delete_tenant(self, who: Principal, tenant_id: str) -> Refusal | None:
        """End it: its keys and tickets are dead, its subscriptions deleted; the rest is purged."""

        async def job(tx: Tx) -> Refusal | None:
            if await _found(tx, who, tenant_id) is None:
                return not_found("tenant", tenant_id)
            if tenant_id == DEFAULT_TENANT:
                return conflict(f"Tenant {tenant_id!r} always exists and cannot be deleted.")
            ended = await _end(tx, tenant_id)
            if ended is None:
                return not_found("tenant", tenant_id)
            await versions.renew(tx, self._keys, tenant_id)
            await self._note(tx, who, tenant_id, "deleted", ended)
            return None

        return await self._database.write(job)

    async def tenant(self, who: Principal, tenant_id: str) -> Tenant | None:
        """One tenant."""
        async with self._database.read() as tx:
            return await _found(tx, who, tenant_id)

    async def tenants(self, who: Principal, span: Span) -> Page[Tenant]:
        """Newest first."""
        statement = _visible(who).order_by(tenants.c.no.desc()).limit(span.limit + 1)
        if span.after is not None:
            statement = statement.where(tenants.c.no < span.after[0])
        async with self._database.read() as tx:
            found = [_tenant(row) for row in await tx.query(statement)]
        return page_of(found, span.limit, lambda tenant: (tenant.no,))

    async def has_tenant(self, tenant_id: str) -> bool:
        """Whether it is there."""
        return bool(await self._database.look(_IS_THERE, tenant=tenant_id))

    async def purge(self) -> int:
        """Delete a batch of what deleted tenants left."""
        return await purging.purge(self._database)

    async def _note(
        self, tx: Tx, who: Principal, tenant_id: str, what: str, told: Mapping[str, object]
    ) -> None:
        actor = (tenant_id, who.key_id)
        detail = json.dumps(told)
        await auditing.note(tx, self._keys, actor, f"tenant.{what}", tenant_id, detail)


async def is_there(tx: Tx, tenant_id: str) -> bool:
    """Whether there is such a tenant."""
    return bool(await tx.fetch(_IS_THERE, tenant=tenant_id))


async def lock(tx: Tx, tenant_id: str) -> bool:
    """Whether there is such a tenant; nobody else changes it, or a key of it, now."""
    return bool(await tx.fetch(_LOCK, tenant=tenant_id))


async def _end(tx: Tx, tenant_id: str) -> dict[str, object] | None:
    """Let nothing be done by it or for it any more; what that ended, for the audit log.

    ``None``: somebody else ended it first. Keys go last, under the lock of its row: one that was
    made meanwhile goes with them.
    """
    ended = {
        table: update(table).where(table.c.tenant_id == tenant_id)
        for table in (subscriptions, replays, api_keys)
    }
    deleted = ended[subscriptions].where(subscriptions.c.deleted_at.is_(None))
    hooks = await tx.change(deleted.values(deleted_at=tx.now))
    running = ended[replays].where(replays.c.finished_at.is_(None))
    await tx.change(running.values(finished_at=tx.now))
    gone = update(tenants).where(tenants.c.id == tenant_id, tenants.c.deleted_at.is_(None))
    gone = gone.values(deleted_at=tx.now, bound_subscriptions=0)
    rows = await tx.query(gone.returning(tenants.c.name))
    if not rows:
        return None
    revoked = ended[api_keys].where(api_keys.c.revoked_at.is_(None))
    keys = await tx.change(revoked.values(revoked_at=tx.now))
    for table in (stream_tickets, portal_links):
        await tx.change(delete(table).where(table.c.tenant_id == tenant_id))
    return {"name": rows[0]["name"], "keysRevoked": keys, "subscriptionsDeleted": hooks}


async def _found(tx: Tx, who: Principal, tenant_id: str) -> Tenant | None:
    rows = await tx.query(_named(who, tenant_id))
    return _tenant(rows[0]) if rows else None


def _told(tenant: Tenant) -> dict[str, object]:
    """What the audit log keeps of a new one besides its name: what is not as usual."""
    told: dict[str, object] = {}
    if tenant.verification is not Verification.NONE:
        told["verification"] = tenant.verification
    if tenant.portal_origins:
        told["portalOrigins"] = tenant.portal_origins
    return told


def _tenant(row: Mapping[str, Any]) -> Tenant:
    verification = Verification(row["verification"])
    origins = tuple(row["portal_origins"].split())
    return Tenant(**{**row, "verification": verification, "portal_origins": origins})


def _values(tenant: Tenant) -> dict[str, Any]:
    values = {column.name: getattr(tenant, column.name) for column in _COLUMNS}
    origins = " ".join(tenant.portal_origins)
    return values | {"verification": tenant.verification.value, "portal_origins": origins}


def _named(who: Principal, tenant_id: str) -> Select[Any]:
    return _visible(who).where(tenants.c.id == tenant_id)


def _visible(who: Principal) -> Select[Any]:
    statement = select(*_COLUMNS).where(tenants.c.deleted_at.is_(None))
    return statement.where(tenants.c.id == who.tenant_id) if who.named else statement
