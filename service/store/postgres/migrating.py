"""Brings a PostgreSQL database to the schema this version works with."""

from sqlalchemy.exc import DBAPIError

from service.ports import StoreUnavailableError
from service.store.postgres.asking import asked
from service.store.postgres.connections import Address, of_transaction
from service.store.revisions import check_known, head

#: A migration may take its time, but does not wait long for a lock that deliveries wait for too.
_LIMITS = {"lock_timeout": "30000", "jit": "off"}


async def revision(address: Address) -> str | None:
    """The revision of the schema; ``None`` when there is nothing in it."""
    async with asked(address) as connection:
        tables = {
            row[0]
            for row in await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            )
        }
        if "alembic_version" in tables:
            found = await connection.fetchval("SELECT version_num FROM alembic_version")
            return None if found is None else str(found)
        if "tenants" in tables or "events" in tables:
            raise StoreUnavailableError(
                f"{address.name} holds the tables of another program. "
                "Set RINGBACK_DATABASE_URL to a database of Ringback's own."
            )
    return None


def name_of(url: str) -> str:
    """How a database is shown to people."""
    return Address.of(url).name


async def check(url: str) -> None:
    """Make sure that this version can work with the database as it is.

    A newer schema will do: migrations let the version before them go on.

    Raises:
        StoreUnavailableError: it has no schema yet, or an older one.
    """
    address, wanted = Address.of(url), head()
    present = await revision(address)
    if present is None or present < wanted:
        state = "no schema yet" if present is None else f"the older schema {present}"
        raise StoreUnavailableError(
            f"{address.name} has {state}; this version works with {wanted}. "
            "Run `ringback migrate` first."
        )


async def migrate(url: str) -> str:
    """Bring the database to the newest revision, all or nothing. Its revision then.

    Raises:
        StoreUnavailableError: it could not be done; the database is as it was.
    """
    address, wanted = Address.of(url), head()
    present = await revision(address)
    if present == wanted:
        return wanted
    check_known(address.name, present)
    from service.store.migrations import upgrading  # noqa: PLC0415  heavy, and seldom needed

    try:
        limits = of_transaction(_LIMITS)
        await upgrading.upgrade_server(lambda: address.connect(_LIMITS), limits, wanted)
    except DBAPIError as error:
        raise StoreUnavailableError(
            f"{address.name} could not be brought to the schema {wanted} and is as it was: "
            f"{error.orig}."
        ) from error
    return wanted
