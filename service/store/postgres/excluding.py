"""What the rest of a table in parts is proved to have nothing of, before a part is attached.

The server makes sure of it: while nobody may read or write the rest, it reads the whole of it,
unless a constraint says so that it has read the rest for before, in nobody's way. So a rest of some
size gets such a constraint for a moment, in three steps, each of which is committed: it is added,
it is validated, and it goes in the transaction in which the part is attached.

Until then rows of that time are refused (:data:`service.store.postgres.faults.PROOF`). What a crash
leaves behind, the next round goes on with or takes away.
"""

import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Final, NamedTuple

import asyncpg
from asyncpg import Connection

from service.ports import StoreUnavailableError
from service.store.database import Tx
from service.store.postgres import compiling, faults
from service.store.postgres.connections import LIMITS, Address, of_transaction

_logger = logging.getLogger(__name__)

#: Bytes of a rest that is read in a few milliseconds.
LIGHT: Final = 4 * 2**20
#: Seconds that the server may take to read a rest, and bytes for which it gets one more.
READING: Final = 600
_SPEED: Final = 16 * 2**20
#: Seconds that it may be late with saying so, before it is taken for gone.
LATE: Final = 30
#: Seconds.
_CLOSING: Final = 1.0
#: It had to wait for too long, or rows came just before the constraint.
_PUT_OFF: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.CheckViolationError,
    asyncpg.UndefinedObjectError,
)
_TOO_LONG: Final = (
    "%s_rest could not be read, as it has to be before the next part of %s: %s. It is tried again, "
    "ever later; parts are made days ahead. Where the time never suffices, let the owner run ALTER "
    "TABLE %s_rest VALIDATE CONSTRAINT %s with a statement_timeout of 0."
)

_PREFIX: Final = faults.PROOF
_SIZE: Final = "SELECT pg_relation_size(?::text::regclass)"
_THERE: Final = (
    "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = ?::text::regclass "
    f"AND contype = 'c' AND starts_with(conname, '{_PREFIX}')"
)
_ADD: Final = (
    "ALTER TABLE {table}_rest ADD CONSTRAINT {constraint} "
    "CHECK ({key} < {low} OR {key} >= {high}) NOT VALID"
)
_VALIDATE: Final = "ALTER TABLE {table}_rest VALIDATE CONSTRAINT {constraint}"
_REMOVE: Final = "ALTER TABLE {table}_rest DROP CONSTRAINT {constraint}"


class Parted(NamedTuple):
    """A table in parts."""

    table: str
    #: The column that says which part a row is in.
    key: str
    #: Whether rows are kept for the dead letters of their deliveries.
    is_kept: bool


class Part(NamedTuple):
    """A part of a table: event keys from ``low`` to before ``high``."""

    low: int
    high: int
    name: str

    @property
    def is_whole(self) -> bool:
        """Whether it is dropped as a whole, and no row of it deleted."""
        return self.name[-1].isdigit()


class Step(NamedTuple):
    """What was done of all that is to be done about the parts of a table."""

    done: int
    #: The constraint that the rest has to be read for next.
    unproved: str = ""
    #: Whether the next step is to follow at once.
    is_under_way: bool = False


NOTHING: Final = Step(0)
DONE: Final = Step(1)


async def is_light(tx: Tx, table: str) -> bool:
    """Whether the rest is so small that it may be read while nobody else may."""
    return bool((await tx.sql(_SIZE, (f"{table}_rest",)))[0][0] <= LIGHT)


async def proved(tx: Tx, parted: Parted, part: Part) -> Step | None:
    """The step to be taken before a part is attached; ``None``: it can be."""
    table, wanted = parted.table, _PREFIX + part.name
    if await is_light(tx, table):
        return None
    known = await there(tx, table)
    await clear(tx, table, but=[wanted])
    if wanted not in known:
        bounds = {"key": parted.key, "low": part.low, "high": part.high}
        await tx.sql(_ADD.format(table=table, constraint=wanted, **bounds))
    return None if known.get(wanted) else Step(1, wanted)


async def clear(tx: Tx, table: str, but: Collection[str] = ()) -> None:
    """Take away every constraint but these."""
    for constraint in await there(tx, table):
        if constraint not in but:
            await tx.sql(_REMOVE.format(table=table, constraint=constraint))


async def prove(address: Address, table: str, constraint: str) -> bool:
    """Let the server read the rest of a table for a constraint; whether it holds now.

    Whoever comes while another does this does not wait.

    Raises:
        StoreUnavailableError: the server could not be reached, was lost, or took too long.
    """
    connection = await address.connect()
    try:
        return await _validated(connection, table, constraint)
    except _PUT_OFF:
        return False
    except faults.RAISED as error:
        if faults.sort(error) is faults.Fault.OWN:
            raise
        _logger.warning(_TOO_LONG, table, table, _said(error), table, constraint)
        raise StoreUnavailableError(f"{table}_rest could not be read: {_said(error)}") from error
    finally:
        with suppress(*faults.RAISED):
            await connection.close(timeout=_CLOSING)


async def _validated(connection: Connection, table: str, constraint: str) -> bool:
    await connection.execute("BEGIN")
    await connection.execute(of_transaction(LIMITS))
    if await connection.fetch(compiling.HOLD, [f"{table}_rest"]):
        return False
    size = await connection.fetchval(compiling.numbered(_SIZE), f"{table}_rest")
    limit = READING + size // _SPEED
    await connection.execute(of_transaction({"statement_timeout": f"{limit * 1000}"}))
    statement = _VALIDATE.format(table=table, constraint=constraint)
    await connection.execute(statement, timeout=limit + LATE)
    await connection.execute("COMMIT")
    return True


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


async def there(tx: Tx, table: str) -> dict[str, bool]:
    """The constraints that there are, and whether the rest was read for them."""
    rows = await tx.sql(_THERE, (f"{table}_rest",))
    return {row[0]: row[1] for row in rows}
