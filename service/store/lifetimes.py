"""Operations whose time has come: silent for too long, expired, gone for good.

An expired operation keeps its row, without what was in it, so that whoever asks for it learns
that it was there (a tombstone). When retention has taken its events too, the row goes, and its
own subscription with it.

The subscription with the highest number always stays: SQLite gives the next one the highest plus
one, so its number would come back, and with it whatever still goes by that number in memory.
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select

from service.domain.ids import LEAD
from service.ports import SilentOperation
from service.store import forgotten, subscribing
from service.store.database import Database, Tx, alone
from service.store.schema import (
    Big,
    dead_letters,
    delivery_queue,
    events,
    operations,
    replays,
    subscription_secrets,
    subscriptions,
)
from service.store.schema_health import subscription_health
from service.store.schema_processes import lane_paces
from service.store.statements import CHUNK, Many, Statement, deletion, one_of

#: Operations looked at in one step of a walk over all of them.
_STRIDE: Final = 5_000

_SILENT: Final = Statement(
    select(operations.c.tenant_id, operations.c.id, operations.c.type, operations.c.timeout_ms)
    .where(operations.c.silent_at <= bindparam("now"))
    .order_by(operations.c.silent_at)
    .limit(CHUNK)
)
_walked: Final = (
    select(operations.c.key)
    .where(operations.c.key > bindparam("after"))
    .order_by(operations.c.key)
    .limit(_STRIDE)
    .subquery()
)
_LAST: Final = Statement(select(func.max(_walked.c.key)))
_expired: Final = (
    select(operations.c.key)
    .where(
        operations.c.expires_at.is_not(None),
        operations.c.forgotten_at.is_(None),
        operations.c.expires_at <= bindparam("now"),
    )
    .order_by(operations.c.expires_at)
    .limit(CHUNK)
)
_EXPIRED: Final = Statement(_expired)
_TAKE_EXPIRED: Final = Statement(_expired.with_for_update(skip_locked=True))


def _has(column: ColumnElement[Any], *which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether there is such a row: the least ``column``, for which an index is taken.

    For EXISTS PostgreSQL may read all rows, to know it of many, or to come across one.
    """
    least = select(func.min(column)).where(*which).correlate(operations, subscriptions)
    return least.scalar_subquery().is_not(None)


_newest: Final = subscriptions.alias("newest")
#: A tombstone's own subscription may go when nothing of it is open or told of.
_IS_STILL_NEEDED: Final = or_(
    _has(delivery_queue.c.due_at, delivery_queue.c.subscription_no == subscriptions.c.no),
    _has(dead_letters.c.state, dead_letters.c.subscription_no == subscriptions.c.no),
    subscriptions.c.no == select(func.max(_newest.c.no)).scalar_subquery(),
)
_gone: Final = (
    select(
        operations.c.key,
        operations.c.tenant_id,
        subscriptions.c.no,
        subscriptions.c.deleted_at,
    )
    .select_from(operations)
    .outerjoin(
        subscriptions,
        and_(
            subscriptions.c.id == operations.c.webhook_id,
            subscriptions.c.operation_id == operations.c.id,
        ),
    )
    .where(
        operations.c.forgotten_at.is_not(None),
        operations.c.ended_at < bindparam("now", type_=Big) - bindparam("retention", type_=Big),
        ~_has(
            events.c.sequence,
            events.c.operation_key == operations.c.key,
            events.c.key >= operations.c.key - LEAD,
            events.c.key >= forgotten.FLOOR,
        ),
        or_(subscriptions.c.no.is_(None), ~_IS_STILL_NEEDED),
    )
    .order_by(operations.c.ended_at)
    .limit(CHUNK)
)
_GONE: Final = Statement(_gone)
_TAKE_GONE: Final = Statement(_gone.with_for_update(of=operations, skip_locked=True))
_STRIP: Final = Many(
    "UPDATE operations SET progress = NULL, result = NULL, error = NULL, "
    "warnings = NULL, metadata = NULL, client_job_id = NULL, forgotten_at = :now "
    f"WHERE {one_of(('key',))}",
    operations.c.key,
)
_OF_OPERATION: Final = (deletion(replays.c.operation_key), deletion(operations.c.key))
_OF_SUBSCRIPTION: Final = (
    deletion(subscription_secrets.c.subscription_no),
    deletion(subscription_health.c.subscription_no),
    deletion(lane_paces.c.subscription_no),
    deletion(subscriptions.c.no),
)


class LifetimeStore:
    """See :class:`service.ports.LifetimeStore`.

    ``ttl`` (ms) is for operations that have none of their own.
    """

    def __init__(self, database: Database, ttl: int) -> None:
        self._database = database
        self._ttl = ttl

    async def silent(self) -> list[SilentOperation]:
        """A batch of those that were silent for too long, the longest first."""
        return [SilentOperation(*row) for row in await self._database.look(_SILENT)]

    async def adopt(self, after: int) -> int | None:
        """Give operations that ended before there was an expiry the one they would have."""
        last: int | None = (await self._database.look(_LAST, after=after))[0][0]
        if last is None:
            return None

        async def job(tx: Tx) -> None:
            await tx.sql(
                "UPDATE operations SET expires_at = ended_at + COALESCE(ttl_ms, ?) "
                "WHERE key > ? AND key <= ? AND ended_at IS NOT NULL AND expires_at IS NULL",
                (self._ttl, after, last),
            )

        await self._database.write(job)
        return last

    async def strip(self) -> int:
        """Remove the bodies of a batch of expired operations."""

        async def job(tx: Tx) -> int:
            keys = await tx.fetch(_TAKE_EXPIRED, now=tx.now)
            await tx.each(_STRIP, keys, now=tx.now)
            return len(keys)

        if not await self._database.look(_EXPIRED):
            return 0  # the usual case, and one that needs no writer
        return await self._database.write(alone(job, 0))

    async def remove_tombstones(self, retention: int) -> int:
        """Delete a batch of tombstones of which no event is left, with their subscriptions."""

        async def job(tx: Tx) -> int:
            rows = await tx.fetch(_TAKE_GONE, now=tx.now, retention=retention)
            for statement in _OF_OPERATION:
                await tx.each(statement, [row[:1] for row in rows])
            numbers = [row[2:3] for row in rows if row[2] is not None]
            for statement in _OF_SUBSCRIPTION:
                await tx.each(statement, numbers)
            counted = [row[1] for row in rows if row[2] is not None and row[3] is None]
            for tenant in sorted(set(counted)):
                await subscribing.count(tx, tenant, -counted.count(tenant))
            return len(rows)

        if not await self._database.look(_GONE, retention=retention):
            return 0  # the usual case, and one that needs no writer
        return await self._database.write(alone(job, 0))
