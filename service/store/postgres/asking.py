"""A connection to ask the server a few things, for who does not work with it, or not yet.

What lends connections for a transaction takes or drops what a session says of itself: the limits
that are given when connecting, statements that are kept prepared, the locks of the session. So it
is made sure first that the URL says what stands before the server: else nothing begins.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
from asyncpg import Connection

from service.ports import StoreUnavailableError
from service.store.postgres import connections, faults
from service.store.postgres.connections import Address

_KEPT: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])"
_PROCESS: Final = "SELECT pg_backend_pid()"
#: How a pooler says that it lends connections for a single statement.
_SINGLE: Final = "statement pooling"
_DENIED: Final = asyncpg.InsufficientPrivilegeError
#: Seconds.
_CLOSING: Final = 5.0


@asynccontextmanager
async def asked(address: Address) -> AsyncIterator[Connection]:
    """A connection that is closed afterwards.

    Raises:
        StoreUnavailableError: there is none, it was lost, or a pooler is not as the URL says.
    """
    connection = await address.connect()
    try:
        if address.is_pooled:
            await _check_lending(connection)
        else:
            await _check_limits(address, connection)
        yield connection
    except faults.RAISED as error:
        if faults.sort(error) is faults.Fault.OWN and not isinstance(error, _DENIED):
            raise
        raise _unreadable(address, error) from error
    finally:
        with suppress(*faults.RAISED):
            await connection.close(timeout=_CLOSING)


async def check(url: str) -> None:
    """Make sure that a pooler is where the URL says so, and only there.

    Raises:
        StoreUnavailableError: it is otherwise, or nobody knows.
    """
    async with asked(Address.of(url)):
        pass


async def _check_lending(connection: Connection) -> None:
    for statement in ("BEGIN", "ROLLBACK"):
        await connection.execute(statement)


async def _check_limits(address: Address, connection: Connection) -> None:
    # without a name: where connections are lent, another's statement may have that one
    statement = await connection.prepare(_KEPT, name="")
    kept = dict(await statement.fetch(list(connections.LIMITS)))
    if kept != connections.LIMITS:
        raise StoreUnavailableError(
            f"{address.name} does not keep the limits that are given when connecting. "
            f"{connections.ADD_FLAG}"
        )
    # what became of a statement whose answer is lost is known by that; who lends connections
    # tells of none of the server's processes but of itself
    if await connection.fetchval(_PROCESS) != connection.get_server_pid():
        raise StoreUnavailableError(
            f"{address.name} tells of another process than the server has for it. "
            f"{connections.ADD_FLAG}"
        )


def _unreadable(address: Address, error: Exception) -> StoreUnavailableError:
    said = str(error) or type(error).__name__
    text = f"The database {address.name} cannot be read: {said}"
    if _SINGLE in said:
        text += ". Let that pooler lend connections for a transaction (pool_mode = transaction)."
    return StoreUnavailableError(text)
