"""Looks at a database without working with it: it takes no number and changes nothing."""

from typing import Any

from asyncpg import Connection

from service.ports import Clock
from service.store import keeping
from service.store.checkup import State
from service.store.postgres import migrating
from service.store.postgres.connections import Address
from service.store.postgres.tx import PostgresTx
from service.store.revisions import head
from service.store.statements import Row, Statement

_TIME = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8"
#: ``synchronous_commit`` is not among them: our own sessions say what it is.
_CARELESS = (
    "SELECT name FROM pg_settings WHERE setting = 'off' "
    "AND name IN ('fsync', 'full_page_writes') ORDER BY name"
)


class _Looking:
    """See :class:`service.store.database.Reads`."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._tx = PostgresTx(connection, clock.now())

    async def look(self, statement: Statement, **given: Any) -> list[Row]:
        return await self._tx.fetch(statement, **{"now": self._tx.now, **given})


async def look(url: str, clock: Clock) -> State:
    """What state the database is in; half a round trip may be wrong with ``ahead``.

    Raises:
        StoreUnavailableError: it cannot be reached, or is another program's.
    """
    address = Address.of(url)
    revision = await migrating.revision(address)
    connection = await address.connect()
    try:
        before = clock.now()
        there = await connection.fetchval(_TIME)
        ahead = there - (before + clock.now()) / 2
        careless = tuple(row[0] for row in await connection.fetch(_CARELESS))
    finally:
        await connection.close()
    return State(address.name, revision, head(), ahead, careless)


async def careless(url: str) -> tuple[str, ...]:
    """The server's settings that let it lose what it called committed.

    Raises:
        StoreUnavailableError: it cannot be reached.
    """
    connection = await Address.of(url).connect()
    try:
        return tuple(row[0] for row in await connection.fetch(_CARELESS))
    finally:
        await connection.close()


async def sealed_samples(url: str, clock: Clock) -> list[tuple[bytes, str]]:
    """A few sealed values of a database at the wanted revision, with their contexts."""
    connection = await Address.of(url).connect()
    try:
        return await keeping.sealed_samples(_Looking(connection, clock))
    finally:
        await connection.close()
