"""Looks at a database without working with it: it takes no number and changes nothing."""

from dataclasses import replace
from typing import Any

from asyncpg import Connection

from service.ports import Clock
from service.store import keeping
from service.store.checkup import Server, State
from service.store.postgres import migrating, parting
from service.store.postgres.asking import asked
from service.store.postgres.connections import Address
from service.store.postgres.database import PostgresDatabase
from service.store.postgres.nodes import LIVING
from service.store.postgres.thinning import UNFINISHED
from service.store.postgres.tx import PostgresTx
from service.store.revisions import head
from service.store.statements import Row, Statement

_TIME = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8"
#: ``synchronous_commit`` is not among them: our own sessions say what it is.
_CARELESS = (
    "SELECT name FROM pg_settings WHERE setting = 'off' "
    "AND name IN ('fsync', 'full_page_writes') ORDER BY name"
)

_FACTS = (
    "SELECT current_setting('server_version_num')::int, pg_database_size(current_database()), "
    "current_user::text, pg_is_in_recovery()"
)
#: By the limits of the server, of the database and of the user: what is in use, what may be.
_CONNECTIONS = (
    "WITH busy AS (SELECT datid, usesysid FROM pg_stat_activity WHERE datid IS NOT NULL) "
    "SELECT (SELECT count(*) FROM busy), current_setting('max_connections')::int "
    "- current_setting('superuser_reserved_connections')::int "
    "- coalesce(current_setting('reserved_connections', true), '0')::int "
    "UNION ALL SELECT (SELECT count(*) FROM busy WHERE datid = d.oid), datconnlimit "
    "FROM pg_database AS d WHERE datname = current_database() AND datconnlimit >= 0 "
    "UNION ALL SELECT (SELECT count(*) FROM busy WHERE usesysid = r.oid), rolconnlimit "
    "FROM pg_roles AS r WHERE rolname = current_user AND rolconnlimit >= 0"
)
_ROLES = (
    "SELECT DISTINCT unnest(string_to_array(substr(application_name, 10), ',')) "
    "FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'ringback %'"
)
_MAY_PART = (
    "SELECT bool_and(pg_has_role(relowner, 'USAGE') "
    "AND has_schema_privilege(relnamespace, 'CREATE')) "
    "FROM pg_class WHERE oid IN (to_regclass('attempts'), to_regclass('events'))"
)
#: Parts of tables are reached through these, which is all that rights are asked for. What is to be
#: a part later is nobody's to work with.
_DENIED = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND NOT relispartition AND relname <> 'alembic_version' "
    f"AND NOT (relkind = 'r' AND right(relname, {len(UNFINISHED)}) = '{UNFINISHED}') AND CASE "
    "WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'USAGE') "
    "WHEN relkind IN ('r', 'p') THEN NOT (has_table_privilege(oid, 'SELECT') "
    "AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') "
    "AND has_table_privilege(oid, 'DELETE')) ELSE false END ORDER BY relname"
)
_HAS_NODES = "SELECT to_regclass('nodes') IS NOT NULL"


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
    async with asked(address) as connection:
        before = clock.now()
        there = await connection.fetchval(_TIME)
        ahead = there - (before + clock.now()) / 2
        careless = tuple(row[0] for row in await connection.fetch(_CARELESS))
        server = await _server(connection, is_pooled=address.is_pooled)
        if revision == head() and not server.denied:
            tx = PostgresTx(connection, clock.now())
            overdue, refusing = await parting.overdue(tx), await parting.refusing(tx)
            server = replace(server, overdue=overdue, refusing=refusing)
    return State(address.name, revision, head(), ahead, careless, server)


async def _server(connection: Connection, *, is_pooled: bool) -> Server:
    version, size, user, is_standby = await connection.fetchrow(_FACTS)
    limits = await connection.fetch(_CONNECTIONS)
    used, most = min(limits, key=lambda row: row[1] - row[0])
    processes = 0
    if await connection.fetchval(_HAS_NODES):
        processes = await connection.fetchval(LIVING)
    roles = await connection.fetch(_ROLES)
    return Server(
        version=version,
        size=size,
        used=used,
        most=most,
        each=PostgresDatabase.connections,
        processes=processes,
        roles=None if is_pooled else frozenset(row[0] for row in roles),
        is_standby=is_standby,
        user=user,
        may_part=await connection.fetchval(_MAY_PART),
        denied=tuple(row[0] for row in await connection.fetch(_DENIED)),
    )


async def careless(url: str) -> tuple[str, ...]:
    """The server's settings that let it lose what it called committed.

    Raises:
        StoreUnavailableError: it cannot be reached.
    """
    async with asked(Address.of(url)) as connection:
        return tuple(row[0] for row in await connection.fetch(_CARELESS))


async def sealed_samples(url: str, clock: Clock) -> list[tuple[bytes, str]]:
    """A few sealed values of a database at the wanted revision, with their contexts."""
    async with asked(Address.of(url)) as connection:
        return await keeping.sealed_samples(_Looking(connection, clock))
