"""Subscriptions found and made, those of one operation only among them.

Of these a tenant may have a million, so no process keeps them: accept looks up those of the
operations it is about, and only where the tenant's row says that there are any. Making and
deleting one leaves the version of the configuration as it is.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import bindparam, insert, select, update

from service.domain.matching import Index
from service.domain.subscription import Secret, Subscription, changed
from service.ports import NewKey, NewSubscription, SealedKey
from service.store.database import Tx
from service.store.rows import (
    SECRET_COLUMNS,
    SUBSCRIPTION_COLUMNS,
    secret_of,
    subscription_of,
    subscription_row,
)
from service.store.schema import subscription_secrets, subscriptions, tenants
from service.store.statements import Statement, among

_BOUND: Final = Statement(
    select(*(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS)).where(
        subscriptions.c.tenant_id == bindparam("tenant"),
        among(subscriptions.c.operation_id, "names"),
        subscriptions.c.deleted_at.is_(None),
    )
)
_one = select(*(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS)).where(
    subscriptions.c.id == bindparam("name"),
    subscriptions.c.tenant_id == bindparam("tenant"),
    subscriptions.c.deleted_at.is_(None),
)
_FIND: Final = Statement(_one)
_LOCK: Final = Statement(_one.with_for_update())
_SECRETS: Final = Statement(
    select(*(subscription_secrets.c[name] for name in SECRET_COLUMNS))
    .where(subscription_secrets.c.subscription_no == bindparam("no"))
    .order_by(subscription_secrets.c.version.desc())
)


async def find_bound(tx: Tx, tenant_id: str, operation_ids: Iterable[str]) -> Index:
    """The subscriptions of these operations only, as they are now."""
    rows = await tx.fetch(_BOUND, tenant=tenant_id, names=sorted(operation_ids))
    return Index(map(subscription_of, rows))


async def find(tx: Tx, tenant_id: str, name: str) -> Subscription | None:
    """One subscription that is not deleted."""
    rows = await tx.fetch(_FIND, tenant=tenant_id, name=name)
    return subscription_of(rows[0]) if rows else None


async def lock(tx: Tx, tenant_id: str, name: str) -> Subscription | None:
    """One subscription that is not deleted, for a change of it: nobody else changes it now."""
    rows = await tx.fetch(_LOCK, tenant=tenant_id, name=name)
    return subscription_of(rows[0]) if rows else None


async def secrets(tx: Tx, subscription: Subscription) -> list[Secret]:
    """Its secrets, newest first."""
    return [secret_of(row) for row in await tx.fetch(_SECRETS, no=subscription.no)]


async def make(tx: Tx, new: NewSubscription) -> Subscription:
    """Number a subscription and write it down with its secret."""
    made = changed(new.subscription, version=1, created_at=tx.now, updated_at=tx.now)
    values = values_of(made) | {"public_key": None if new.key is None else new.key.public}
    del values["no"]
    rows = await tx.query(insert(subscriptions).values(values).returning(subscriptions.c.no))
    made = changed(made, no=rows[0]["no"], public_key=values["public_key"])
    await add_secret(tx, made, 1, new.secret, new.key)
    await count(tx, made.tenant_id, int(made.operation_id is not None))
    return made


async def add_secret(
    tx: Tx, subscription: Subscription, version: int, sealed: bytes, key: SealedKey | None
) -> None:
    """Add a secret that signs from now on, and a private key beside it."""
    pair = (None, None) if key is None else key
    row = (subscription.no, version, sealed, tx.now, None, *pair)
    columns = ("subscription_no", *SECRET_COLUMNS)
    await tx.insert(subscription_secrets, columns, [row])


async def with_key(tx: Tx, subscription: Subscription, key: NewKey) -> str | None:
    """The public key beside the newest secret; ``key(version)`` where there was none."""
    newest = (await secrets(tx, subscription))[0]
    if newest.sealed_key is not None:
        return newest.public_key
    new = key(newest.version)
    await tx.change(
        update(subscription_secrets)
        .where(
            subscription_secrets.c.subscription_no == subscription.no,
            subscription_secrets.c.version == newest.version,
        )
        .values(sealed_key=new.sealed, public_key=new.public)
    )
    return new.public


async def count(tx: Tx, tenant_id: str, change: int) -> None:
    """Count that many more subscriptions of one operation only."""
    if change:
        more = tenants.c.bound_subscriptions + change
        await tx.change(
            update(tenants).where(tenants.c.id == tenant_id).values(bound_subscriptions=more)
        )


def values_of(subscription: Subscription) -> dict[str, Any]:
    """The columns of a subscription by name."""
    return dict(zip(SUBSCRIPTION_COLUMNS, subscription_row(subscription), strict=True))
