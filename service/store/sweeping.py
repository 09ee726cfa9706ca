"""What keeps the queue moving: due lanes, leases that ran out, closed lanes, old rows."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, func, or_, select

from service.domain import ids
from service.domain.delivery import DeadLetterState, Trigger
from service.domain.ids import DeliveryRef
from service.domain.outcome import ErrorClass
from service.domain.retry import Dead, DeadReason, crashed
from service.domain.times import HURRIED
from service.ports import Backlog
from service.store import burying, once, ordering, tickets
from service.store.announcing import Announcer
from service.store.burying import Corpse
from service.store.database import Database, Tx
from service.store.rows import schedule_of
from service.store.schema import (
    attempts,
    audit_log,
    dead_letters,
    delivery_queue,
    events,
    operations,
    subscriptions,
    tenants,
)
from service.store.schema_health import subscription_health
from service.store.statements import CHUNK, Row, Statement, flat, is_one_of

#: Neither paused nor held, nor its circuit open: all that is due may go, not only what is hurried.
_IS_OPEN: Final = and_(
    subscriptions.c.status == "active",
    subscriptions.c.hold_until <= bindparam("now"),
    or_(
        bindparam("breaker") == 0,
        ~exists()
        .where(
            subscription_health.c.subscription_no == subscriptions.c.no,
            subscription_health.c.trips > 0,
            subscription_health.c.open_until > bindparam("now"),
        )
        .correlate(subscriptions),
    ),
)
#: The lanes that have anything queued, each found by one step along the index: there may be a
#: million subscriptions for every one of these.
_lanes = select(func.min(delivery_queue.c.subscription_no).label("no")).cte("lanes", recursive=True)
_QUEUED_LANES: Final = _lanes.union_all(
    select(
        select(func.min(delivery_queue.c.subscription_no))
        .where(delivery_queue.c.subscription_no > _lanes.c.no)
        .scalar_subquery()
    ).where(_lanes.c.no.is_not(None))
)
_DUE_LANES: Final = Statement(
    select(subscriptions.c.no)
    .join(_QUEUED_LANES, _QUEUED_LANES.c.no == subscriptions.c.no)
    .where(
        subscriptions.c.status != "disabled",
        subscriptions.c.deleted_at.is_(None),
        exists().where(
            delivery_queue.c.subscription_no == subscriptions.c.no,
            delivery_queue.c.due_at <= case((_IS_OPEN, bindparam("now")), else_=HURRIED),
            delivery_queue.c.token.is_(None),
        ),
    )
)
#: The event; for one that retention took, what its dead letter kept of it.
_EVENT: Final = (
    func.coalesce(events.c.id, dead_letters.c.event_id),
    func.coalesce(events.c.type, dead_letters.c.event_type),
    func.coalesce(events.c.operation_id, dead_letters.c.operation_id),
    func.coalesce(events.c.sequence, dead_letters.c.sequence),
    func.coalesce(events.c.body, dead_letters.c.body),
)
_QUEUED: Final = (
    delivery_queue.c.event_key,
    delivery_queue.c.subscription_no,
    delivery_queue.c.attempts,
    delivery_queue.c.step,
    delivery_queue.c.trigger,
    delivery_queue.c.token,
    subscriptions.c.tenant_id,
)


def _queued(*more: ColumnElement[Any]) -> Select[Any]:
    """Open deliveries with their subscription's columns ``more`` and their event."""
    return (
        select(*_QUEUED, *more, *_EVENT)
        .select_from(delivery_queue)
        .join(subscriptions, subscriptions.c.no == delivery_queue.c.subscription_no)
        .outerjoin(events, events.c.key == delivery_queue.c.event_key)
        .outerjoin(
            dead_letters,
            and_(
                dead_letters.c.event_key == delivery_queue.c.event_key,
                dead_letters.c.subscription_no == delivery_queue.c.subscription_no,
            ),
        )
        .limit(CHUNK)
    )


_EXPIRED_LEASES: Final = Statement(
    _queued(subscriptions.c.retry_schedule).where(
        delivery_queue.c.token.is_not(None), delivery_queue.c.due_at <= bindparam("until")
    )
)
_LEASE_RAN_OUT: Final = Statement(
    select(delivery_queue.c.due_at)
    .where(delivery_queue.c.token.is_not(None), delivery_queue.c.due_at <= bindparam("now"))
    .limit(1)
)
_closed: Final = subscriptions.alias("closed")
_DUE: Final = and_(delivery_queue.c.due_at <= bindparam("now"), delivery_queue.c.token.is_(None))
_BACKLOG: Final = Statement(
    select(
        func.count(),
        func.count().filter(_DUE),
        func.coalesce(
            func.max(bindparam("now") - delivery_queue.c.due_at).filter(
                _DUE, delivery_queue.c.due_at > HURRIED
            ),
            0,
        ),
        select(func.count())
        .select_from(dead_letters)
        .where(dead_letters.c.state == DeadLetterState.OPEN.value)
        .scalar_subquery(),
    ).select_from(delivery_queue)
)
_CLOSED: Final = Statement(
    _queued(subscriptions.c.deleted_at).where(
        # a list of lanes, not a condition on the join: for that SQLite reads the whole queue
        delivery_queue.c.subscription_no.in_(
            select(_closed.c.no)
            .join(_QUEUED_LANES, _QUEUED_LANES.c.no == _closed.c.no)
            .where(or_(_closed.c.deleted_at.is_not(None), _closed.c.status == "disabled"))
        ),
        delivery_queue.c.token.is_(None),
    )
)
#: What was replayed after its event retired lives on its dead letter's copy and does not expire
#: again.
_OLD: Final = Statement(
    _queued(subscriptions.c.deleted_at).where(
        delivery_queue.c.event_key < bindparam("floor"),
        delivery_queue.c.token.is_(None),
        events.c.key.is_not(None),
    )
)
_OLD_KEYS: Final = Statement(
    select(events.c.key, events.c.tenant_id, events.c.id, events.c.feed_position)
    .where(
        events.c.key < bindparam("floor"),
        ~exists().where(delivery_queue.c.event_key == events.c.key),
    )
    .order_by(events.c.key)
    .limit(CHUNK)
)

#: The tenants are named for the index that begins with them.
_RESOLVED: Final = Statement(
    select(dead_letters.c.event_key, dead_letters.c.subscription_no)
    .where(
        dead_letters.c.tenant_id.in_(select(tenants.c.id)),
        dead_letters.c.state == DeadLetterState.RESOLVED.value,
        dead_letters.c.event_key < bindparam("floor"),
        ~exists().where(events.c.key == dead_letters.c.event_key),
        ~exists().where(delivery_queue.c.event_key == dead_letters.c.event_key),
    )
    .limit(CHUNK)
)

_NEWEST: Final = tuple(
    Statement(select(func.max(table.c.key))) for table in (events, operations, audit_log)
)

_PAIR: Final = ("event_key", "subscription_no")
#: What is known of an attempt whose worker died.
_UNKNOWN_COLUMNS: Final = (
    *_PAIR,
    "number",
    "trigger",
    "started_at",
    "error_class",
    "message",
)
_WORKER_DIED: Final = "The worker stopped before the outcome was known; the receiver may have it."


class SweepStore:
    """See :class:`service.ports.SweepStore`. Without a ``breaker`` no circuit is open."""

    def __init__(self, database: Database, announcer: Announcer, *, breaker: bool = True) -> None:
        self._database = database
        self._announcer = announcer
        self._breaker = breaker

    async def due_lanes(self) -> list[int]:
        """Lanes with something to claim now."""
        rows = await self._database.look(_DUE_LANES, breaker=int(self._breaker))
        return [row[0] for row in rows]

    async def reclaim(self, schedule: tuple[float, ...], *, everything: bool = False) -> list[int]:
        """Make due again what was leased by workers that are gone."""
        if not everything and not await self._database.look(_LEASE_RAN_OUT):
            return []  # the usual case, and one that needs no writer

        async def job(tx: Tx) -> list[int]:
            until = ids.MAX_KEY if everything else tx.now
            rows = await tx.fetch(_EXPIRED_LEASES, until=until)
            await self._write_off(tx, rows, schedule)
            return [row[1] for row in rows]

        return await self._database.write(job)

    async def unpark(self) -> list[int]:
        """Let go a batch of what waits in ordered lanes without need."""
        return await ordering.unpark(self._database)

    async def backlog(self) -> Backlog:
        """How much is open now."""
        queued, due, oldest, dead = (await self._database.look(_BACKLOG))[0]
        return Backlog(queued, due, oldest, dead)

    async def retire(self) -> int:
        """Dead-letter a batch of what waits for deleted and disabled subscriptions."""

        async def job(tx: Tx) -> int:
            rows = await tx.fetch(_CLOSED)
            await _remove(tx, rows)
            await self._bury(tx, [_corpse(row, _closed_reason(row)) for row in rows])
            return len(rows)

        return await self._database.write(job)

    async def forget(self, retention: int) -> int:
        """Delete a batch of what is past its time; open deliveries become dead letters first."""

        async def job(tx: Tx) -> int:
            floor = ids.key_floor(tx.now - retention)
            rows = await tx.fetch(_OLD, floor=floor)
            await _remove(tx, rows)
            await self._bury(tx, [_corpse(row, DeadReason.EXPIRED) for row in rows])
            done = len(rows) or await _delete_events(tx, floor) or await _delete_resolved(tx, floor)
            done += await once.forget_answers(tx)
            return done + await tickets.forget_old(tx)

        return await self._database.write(job)

    async def _bury(self, tx: Tx, corpses: Sequence[Corpse]) -> None:
        # the lanes of who is told of it are found by the next look at what is due
        await burying.bury(tx, corpses, self._announcer)

    async def _write_off(self, tx: Tx, rows: Sequence[Row], schedule: tuple[float, ...]) -> None:
        """Record an attempt of unknown outcome for each, and judge it as such."""
        unknown = ErrorClass.UNKNOWN.value
        await tx.insert(
            attempts,
            _UNKNOWN_COLUMNS,
            [(*row[:3], row[4], ids.key_time(row[5]), unknown, _WORKER_DIED) for row in rows],
            "ON CONFLICT (event_key, subscription_no, number) DO NOTHING",
        )
        looping = [row for row in rows if _verdict_is_dead(row, schedule)]
        again = [row for row in rows if not _verdict_is_dead(row, schedule)]
        await _remove(tx, looping)
        await self._bury(tx, [_corpse(row, DeadReason.CRASH_LOOP) for row in looping])
        await _release(tx, again)


async def newest_key(database: Database) -> int:
    """The largest key in the store, for :class:`service.domain.ids.KeyMaker` to go on from."""
    async with database.read() as tx:
        newest = [(await tx.fetch(statement))[0][0] for statement in _NEWEST]
    return max((key for key in newest if key is not None), default=0)


def _verdict_is_dead(row: Row, schedule: tuple[float, ...]) -> bool:
    own = schedule_of(row[7])
    return isinstance(crashed(row[3], own or schedule), Dead)


async def _release(tx: Tx, rows: Sequence[Row]) -> None:
    if rows:
        await tx.sql(
            "UPDATE delivery_queue SET due_at = ?, token = NULL, trigger = ? "
            f"WHERE {is_one_of(_PAIR, len(rows))}",
            (tx.now, Trigger.SCHEDULE.value, *_refs(rows)),
        )


async def _remove(tx: Tx, rows: Sequence[Row]) -> None:
    if rows:
        left = await tx.sql(
            f"DELETE FROM delivery_queue WHERE {is_one_of(_PAIR, len(rows))} "
            "RETURNING subscription_no, operation_key",
            _refs(rows),
        )
        await ordering.release_next(tx, left)


def _refs(rows: Iterable[Row]) -> tuple[int, ...]:
    return flat(row[:2] for row in rows)


def _closed_reason(row: Row) -> DeadReason:
    deleted = row[7] is not None
    return DeadReason.SUBSCRIPTION_DELETED if deleted else DeadReason.SUBSCRIPTION_DISABLED


def _corpse(row: Row, reason: DeadReason) -> Corpse:
    crash = reason is DeadReason.CRASH_LOOP
    return Corpse(
        ref=DeliveryRef(row[0], row[1]),
        tenant_id=row[6],
        reason=reason,
        attempts=row[2],
        status_code=None,
        error_class=ErrorClass.UNKNOWN.value if crash else None,
        message=_WORKER_DIED if crash else None,
        event=tuple(row[8:13]),
    )


async def _delete_events(tx: Tx, floor: int) -> int:
    """Delete the oldest events past retention with their deliveries and attempts.

    What an open dead letter has of its event is its own copy; its attempts stay with it.
    """
    old = await tx.fetch(_OLD_KEYS, floor=floor)
    if not old:
        return 0
    keys = [row[0] for row in old]
    marks = f"({', '.join('?' * len(keys))})"
    unresolved = (
        "AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.event_key = {0}.event_key "
        "AND d.subscription_no = {0}.subscription_no AND d.state <> 'resolved')"
    )
    for table in ("attempts", "deliveries"):
        await tx.sql(
            f"DELETE FROM {table} WHERE event_key IN {marks} {unresolved.format(table)}", keys
        )
    await tx.sql(
        f"DELETE FROM dead_letters WHERE event_key IN {marks} AND state = 'resolved'", keys
    )
    await tx.sql(
        f"DELETE FROM event_ids WHERE {is_one_of(('tenant_id', 'id'), len(old))}",
        flat(row[1:3] for row in old),
    )
    await tx.sql(f"DELETE FROM events WHERE key IN {marks}", keys)
    await _raise_floors(tx, {row[1]: row[3] for row in sorted(old, key=itemgetter(3))})
    return len(keys)


async def _raise_floors(tx: Tx, floors: Mapping[str, int]) -> None:
    """Note up to which place of each tenant's feed events may be missing."""
    for tenant, floor in sorted(floors.items()):
        await tx.sql(
            "UPDATE tenants SET feed_floor = ? WHERE id = ? AND feed_floor < ?",
            (floor, tenant, floor),
        )


async def _delete_resolved(tx: Tx, floor: int) -> int:
    """Delete what was delivered only after its event had retired."""
    rows = await tx.fetch(_RESOLVED, floor=floor)
    if rows:
        for table in ("attempts", "deliveries", "dead_letters"):
            await tx.sql(f"DELETE FROM {table} WHERE {is_one_of(_PAIR, len(rows))}", _refs(rows))
    return len(rows)
