"""Links into the consumer portal: a hash of each, what it opens, and until when.

A link and the session that it opens are one row: opening it once moves its end from the link's to
the session's. Who holds either has nothing as soon as the key, the tenant or the subscription that
it stands on is gone, since every look at it is a look at those.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, or_, select, update

from service.domain.errors import Refusal, not_found
from service.domain.ids import KeyMaker
from service.domain.times import render
from service.ports import (
    Once,
    OneSubscription,
    PortalGuest,
    PortalLink,
    Principal,
    Replayed,
)
from service.store import auditing, tenancy
from service.store.database import Database, Reads, Tx
from service.store.keeping import IN_FORCE
from service.store.once import once as do_once
from service.store.rows import scopes_of, scopes_text
from service.store.schema import Big, api_keys, subscriptions, tenants
from service.store.schema_portal import portal_links
from service.store.statements import CHUNK, Row, Statement, among

_AT: Final = bindparam("at", type_=Big)
_COLUMNS: Final = tuple(column.name for column in portal_links.columns)
_own_key: Final = and_(api_keys.c.id == portal_links.c.key_id, IN_FORCE)
_own_tenant: Final = and_(tenants.c.id == portal_links.c.tenant_id, tenants.c.deleted_at.is_(None))
_own_subscription: Final = and_(
    subscriptions.c.id == portal_links.c.subscription_id,
    subscriptions.c.tenant_id == portal_links.c.tenant_id,
    subscriptions.c.deleted_at.is_(None),
)
_stands: Final = and_(
    portal_links.c.ends_at > bindparam("now", type_=Big),
    or_(portal_links.c.subscription_id.is_(None), subscriptions.c.no.is_not(None)),
)
_OPENED: Final = portal_links.c.opened_at.is_not(None)
_UNOPENED: Final = portal_links.c.opened_at.is_(None)


def _standing(*columns: ColumnElement[Any], which: ColumnElement[bool] = _OPENED) -> Select[Any]:
    """A selection of sessions, or links, that last, with everything that they stand on."""
    return (
        select(*columns)
        .join(api_keys, _own_key)
        .join(tenants, _own_tenant)
        .outerjoin(subscriptions, _own_subscription)
        .where(which, _stands)
    )


_GUEST: Final = Statement(
    _standing(
        portal_links.c.id,
        portal_links.c.tenant_id,
        portal_links.c.scopes,
        portal_links.c.ends_at,
        portal_links.c.subscription_id,
        subscriptions.c.no,
        tenants.c.portal_origins,
    ).where(portal_links.c.hash == bindparam("hash"))
)
#: The same of a link that nobody has opened, though it could be.
_EMBEDDERS: Final = Statement(
    _standing(tenants.c.portal_origins, which=_UNOPENED).where(
        portal_links.c.hash == bindparam("hash")
    )
)
_IN_FORCE: Final = Statement(_standing(portal_links.c.id).where(among(portal_links.c.id, "names")))
_OPEN: Final = Statement(
    update(portal_links)
    .where(
        portal_links.c.hash == bindparam("digest"),
        _UNOPENED,
        portal_links.c.ends_at > _AT,
    )
    .values(opened_at=_AT, ends_at=_AT + portal_links.c.session_ms)
    .returning(portal_links.c.id)
)
_END: Final = Statement(delete(portal_links).where(portal_links.c.hash == bindparam("digest")))
_REVOKE: Final = Statement(
    delete(portal_links)
    .where(portal_links.c.id == bindparam("name"), portal_links.c.tenant_id == bindparam("tenant"))
    .returning(portal_links.c.id)
)
_SUBSCRIPTION: Final = Statement(
    select(subscriptions.c.no).where(
        subscriptions.c.id == bindparam("name"),
        subscriptions.c.tenant_id == bindparam("tenant"),
        subscriptions.c.deleted_at.is_(None),
    )
)
_PAST: Final = (
    select(portal_links.c.hash)
    .where(portal_links.c.ends_at <= bindparam("before"))
    .order_by(portal_links.c.ends_at)
    .limit(CHUNK)
)
_FORGET: Final = Statement(
    delete(portal_links).where(portal_links.c.hash.in_(_PAST)).returning(portal_links.c.id)
)


class PortalStore:
    """See :class:`service.ports.PortalStore`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database = database
        self._keys = keys

    async def issue(
        self, digest: bytes, link: PortalLink, once: Once | None = None
    ) -> PortalLink | Refusal | Replayed:
        """Write a link down, of a tenant and a subscription that are there."""

        async def body(tx: Tx) -> PortalLink | Refusal:
            refusal = await _refused(tx, link)
            if refusal is not None:
                return refusal
            values = {name: getattr(link, name) for name in _COLUMNS if hasattr(link, name)}
            values |= {"hash": digest, "scopes": scopes_text(link.scopes), "opened_at": None}
            await tx.insert(portal_links, _COLUMNS, [tuple(values[name] for name in _COLUMNS)])
            told = {
                "subscriptionId": link.subscription_id,
                "scopes": sorted(link.scopes),
                "expiresAt": render(link.ends_at),
            }
            actor = (link.tenant_id, link.key_id)
            detail = json.dumps(told)
            await auditing.note(tx, self._keys, actor, "portal_link.created", link.id, detail)
            return link

        async def job(tx: Tx) -> PortalLink | Refusal | Replayed:
            return await do_once(tx, link.tenant_id, once, body)

        return await self._database.write(job)

    async def embedders(self, digest: bytes) -> tuple[str, ...] | None:
        """The origins that may embed what a link would open; ``None`` when it opens nothing."""
        rows = await self._database.glance(_EMBEDDERS, hash=digest)
        return tuple(rows[0][0].split()) if rows else None

    async def open(self, digest: bytes) -> PortalGuest | None:
        """Begin the session of a link that nobody has opened; each link once."""

        async def job(tx: Tx) -> PortalGuest | None:
            if not await tx.fetch(_OPEN, digest=digest, at=tx.now):
                return None
            guest = _guest(await tx.fetch(_GUEST, hash=digest, now=tx.now))
            if guest is not None:
                who = guest.principal
                actor = (who.tenant_id, who.key_id)
                await auditing.note(tx, self._keys, actor, "portal_link.opened", who.key_id)
            return guest

        return await self._database.write(job)

    async def guest(self, digest: bytes) -> PortalGuest | None:
        """Whose session this is, while it lasts and key, tenant and subscription do."""
        return _guest(await self._database.glance(_GUEST, hash=digest))

    async def end(self, digest: bytes) -> None:
        """End a session."""

        async def job(tx: Tx) -> None:
            await tx.fetch(_END, digest=digest)

        await self._database.write(job)

    async def revoke(self, who: Principal, name: str) -> Refusal | None:
        """Let a link open nothing any more, and end the session that it opened."""

        async def job(tx: Tx) -> Refusal | None:
            if not await tx.fetch(_REVOKE, name=name, tenant=who.tenant_id):
                return not_found("portal link", name)
            actor = (who.tenant_id, who.key_id)
            await auditing.note(tx, self._keys, actor, "portal_link.revoked", name)
            return None

        return await self._database.write(job)


async def in_force(database: Reads, names: Sequence[str]) -> frozenset[str]:
    """Those of these links whose sessions last."""
    rows = await database.look(_IN_FORCE, names=names)
    return frozenset(row[0] for row in rows)


async def forget_over(tx: Tx) -> int:
    """Delete a batch of the links and sessions that are over; how many."""
    return len(await tx.fetch(_FORGET, before=tx.now))


async def _refused(tx: Tx, link: PortalLink) -> Refusal | None:
    if not await tenancy.is_there(tx, link.tenant_id):
        return not_found("tenant", link.tenant_id)
    name = link.subscription_id
    if name is None or await tx.fetch(_SUBSCRIPTION, name=name, tenant=link.tenant_id):
        return None
    return not_found("subscription", name)


def _guest(rows: Sequence[Row]) -> PortalGuest | None:
    if not rows:
        return None
    name, tenant_id, scopes, ends_at, subscription_id, no, origins = rows[0]
    principal = Principal(name, tenant_id, scopes_of(scopes), named=True)
    one = None if subscription_id is None else OneSubscription(no, subscription_id)
    return PortalGuest(principal, one, ends_at, tuple(origins.split()))
