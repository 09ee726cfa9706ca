"""The version of a tenant's configuration: what was derived from another version is stale."""

from sqlalchemy import update

from service.domain.ids import KeyMaker
from service.store.database import Tx
from service.store.schema import tenants


async def renew(tx: Tx, keys: KeyMaker, tenant_id: str) -> None:
    """Give the configuration a version it never had.

    A key, not the last version plus one: a change that is rolled back with its transaction would
    leave its number to the next one, and whoever saw the first would take the second for it.
    """
    await tx.change(
        update(tenants).where(tenants.c.id == tenant_id).values(config_version=keys.next(tx.now))
    )
