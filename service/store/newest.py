"""The newest keys there are, which a process goes on from when it starts."""

from typing import Final

from sqlalchemy import bindparam, func, select

from service.domain import ids
from service.store.database import Database, Tx
from service.store.schema import audit_log, events, operations
from service.store.statements import Statement

_KEYED: Final = (events, operations, audit_log)
_NEWEST: Final = tuple(Statement(select(func.max(table.c.key))) for table in _KEYED)
_AHEAD: Final = tuple(
    Statement(
        select(table.c.key)
        .where(table.c.key > bindparam("floor"), table.c.key < bindparam("below"))
        .order_by(table.c.key.desc())
        .limit(bindparam("count"))
    )
    for table in _KEYED
)
#: Keys of each table that are looked at, at most, for one of this process: so many at a time.
_BATCH: Final = 10_000
_BATCHES: Final = 25


async def newest_key(database: Database) -> int:
    """What :class:`service.domain.ids.KeyMaker` is to go on from: no key of this node is larger.

    Where others are ahead of the time, whose clocks are wrong, this node is not to follow them: so
    its own keys are looked for among those that lie ahead. No index tells them apart, but in time
    there are none.
    """
    async with database.read() as tx:
        found = [(await tx.fetch(statement))[0][0] for statement in _NEWEST]
        newest: int = max((key for key in found if key is not None), default=0)
        if ids.key_time(newest) <= tx.now or ids.key_node(newest) == database.node:
            return newest
        floor = ids.key_floor(tx.now)
        return max([await _own_ahead(tx, each, database.node, floor) for each in _AHEAD])


async def _own_ahead(tx: Tx, ahead: Statement, node: int, floor: int) -> int:
    """The largest key of a node in a table, or ``floor``; one above it where that is far to go."""
    below = ids.MAX_KEY
    for _ in range(_BATCHES):
        rows = await tx.fetch(ahead, floor=floor, below=below, count=_BATCH)
        own = next((key for (key,) in rows if ids.key_node(key) == node), None)
        if own is not None:
            return int(own)
        if len(rows) < _BATCH:
            return floor
        below = rows[-1][0]
    return below
