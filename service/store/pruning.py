"""Counts what is past its time: by the same conditions by which it is deleted."""

from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, exists, func, select

from service.domain import ids
from service.domain.delivery import DeadLetterState
from service.ports.pruning import Past
from service.store import forgotten
from service.store.database import Database
from service.store.schema import (
    Big,
    attempts,
    dead_letters,
    deliveries,
    delivery_queue,
    events,
    operations,
)
from service.store.statements import Statement

_is_resolved: Final = dead_letters.c.state == DeadLetterState.RESOLVED.value


def _finished(table: Any) -> Select[Any]:
    """Rows of past events, but for those of an open dead letter."""
    is_needed = exists().where(
        dead_letters.c.event_key == table.c.event_key,
        dead_letters.c.subscription_no == table.c.subscription_no,
        ~_is_resolved,
    )
    return _count(table).where(table.c.event_key < bindparam("floor"), ~is_needed)


def _count(table: Any) -> Select[Any]:
    return select(func.count()).select_from(table)


_EVENTS: Final = Statement(
    _count(events).where(events.c.key < bindparam("floor"), events.c.key >= forgotten.FLOOR)
)
_OPEN: Final = Statement(
    _count(delivery_queue.join(events, events.c.key == delivery_queue.c.event_key)).where(
        delivery_queue.c.event_key < bindparam("floor"),
        delivery_queue.c.event_key >= forgotten.FLOOR,
        delivery_queue.c.token.is_(None),
    )
)
_DELIVERIES, _ATTEMPTS = (Statement(_finished(table)) for table in (deliveries, attempts))
_LETTERS: Final = Statement(
    _count(dead_letters).where(
        _is_resolved,
        dead_letters.c.event_key < bindparam("floor"),
        ~exists().where(delivery_queue.c.event_key == dead_letters.c.event_key),
    )
)
_EXPIRED: Final = Statement(
    _count(operations).where(
        and_(operations.c.forgotten_at.is_(None), operations.c.expires_at <= bindparam("now"))
    )
)
_TOMBSTONES: Final = Statement(
    _count(operations).where(
        operations.c.forgotten_at.is_not(None),
        operations.c.ended_at < bindparam("now", type_=Big) - bindparam("retention", type_=Big),
    )
)


class PruneStore:
    """See :class:`service.ports.pruning.PruneStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def past(self, retention: int) -> Past:
        """How much is older than ``retention`` ms."""
        async with self._database.read() as tx:
            floor = ids.key_floor(tx.now - retention)

            async def count(statement: Statement, **given: int) -> int:
                return int((await tx.fetch(statement, **given))[0][0])

            return Past(
                events=await count(_EVENTS, floor=floor),
                open_deliveries=await count(_OPEN, floor=floor),
                deliveries=await count(_DELIVERIES, floor=floor),
                attempts=await count(_ATTEMPTS, floor=floor),
                dead_letters=await count(_LETTERS, floor=floor),
                operations=await count(_EXPIRED, now=tx.now),
                tombstones=await count(_TOMBSTONES, now=tx.now, retention=retention),
            )
