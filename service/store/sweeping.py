"""What keeps the queue moving: due lanes, leases that ran out, closed lanes, old rows."""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, func, or_, select

from service.domain import ids
from service.domain.delivery import DeadLetterState, Trigger
from service.domain.ids import DeliveryRef
from service.domain.outcome import ErrorClass
from service.domain.retry import Dead, DeadReason, crashed
from service.domain.times import HURRIED
from service.ports import Backlog
from service.store import burying, forgetting, forgotten, ordering, tallying
from service.store.announcing import Announcer, lock_tenants
from service.store.burying import Corpse
from service.store.counting import WaitingCounts
from service.store.database import Database, Job, Tx, alone
from service.store.queueing import IS_ONE_OF, PAIR
from service.store.rows import schedule_of
from service.store.schema import (
    attempts,
    dead_letters,
    delivery_queue,
    events,
    subscriptions,
)
from service.store.schema_health import subscription_health
from service.store.statements import CHUNK, Many, Row, Statement
from service.store.tallying import Counts

T = TypeVar("T")
#: What came of a job, and what it adds to the counts.
_Done = tuple[T, Counts]

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
#: Where the event begins in such a row, after one column more of the subscription.
_EVENT_ID: Final = len(_QUEUED) + 1


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
        .with_for_update(of=delivery_queue, skip_locked=True)
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
_oldest = (
    select(delivery_queue.c.due_at)
    .where(
        delivery_queue.c.subscription_no == subscriptions.c.no,
        delivery_queue.c.due_at > HURRIED,
        delivery_queue.c.token.is_(None),
    )
    .order_by(delivery_queue.c.due_at)
    .limit(1)
    .scalar_subquery()
)
#: A step along the index for each lane that has anything queued, like the look for what is due.
_QUEUE_AGE: Final = Statement(
    select(func.coalesce(func.max(bindparam("now") - _oldest), 0))
    .select_from(subscriptions)
    .join(_QUEUED_LANES, _QUEUED_LANES.c.no == subscriptions.c.no)
    .where(subscriptions.c.deleted_at.is_(None), _IS_OPEN)
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
#: again. What has neither the one nor the other is not left either.
_OLD: Final = Statement(
    _queued(subscriptions.c.deleted_at).where(
        delivery_queue.c.event_key < bindparam("floor"),
        delivery_queue.c.token.is_(None),
        or_(events.c.key >= forgotten.FLOOR, dead_letters.c.event_key.is_(None)),
    )
)
_RELEASE: Final = Many(
    "UPDATE delivery_queue SET due_at = :now, token = NULL, "
    f"trigger = '{Trigger.SCHEDULE.value}' WHERE {IS_ONE_OF}",
    *PAIR,
)
_REMOVE: Final = Many(
    f"DELETE FROM delivery_queue WHERE {IS_ONE_OF} RETURNING subscription_no, operation_key", *PAIR
)
_ATTEMPTS: Final = Many(f"DELETE FROM attempts WHERE {IS_ONE_OF}", *PAIR)
#: What is known of an attempt whose worker died.
_UNKNOWN_COLUMNS: Final = (
    "event_key",
    "subscription_no",
    "number",
    "trigger",
    "started_at",
    "error_class",
    "message",
)
_WORKER_DIED: Final = "The worker stopped before the outcome was known; the receiver may have it."


class SweepStore:
    """See :class:`service.ports.SweepStore`. Without a ``breaker`` no circuit is open."""

    def __init__(
        self,
        database: Database,
        announcer: Announcer,
        counts: WaitingCounts,
        *,
        breaker: bool = True,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._counts = counts
        self._breaker = breaker

    async def due_lanes(self) -> list[int]:
        """Lanes with something to claim now."""
        rows = await self._database.look(_DUE_LANES, breaker=int(self._breaker))
        return [row[0] for row in rows]

    async def reclaim(self, schedule: tuple[float, ...], *, everything: bool = False) -> list[int]:
        """Make due again what was leased by workers that are gone."""
        everything = everything and not self._database.is_shared  # else others hold leases too
        if not everything and not await self._database.look(_LEASE_RAN_OUT):
            return []  # the usual case, and one that needs no writer

        async def job(tx: Tx) -> _Done[list[int]]:
            until = ids.MAX_KEY if everything else tx.now
            rows = await tx.fetch(_EXPIRED_LEASES, until=until)
            counts = await self._write_off(tx, await _with_events(tx, rows), schedule)
            return [row[1] for row in rows], counts

        return await self._counted(job, [])

    async def unpark(self) -> list[int]:
        """Let go a batch of what waits in ordered lanes without need."""
        return await ordering.unpark(self._database)

    async def backlog(self) -> Backlog:
        """How much is open now."""
        queued, due, oldest, dead = (await self._database.look(_BACKLOG))[0]
        return Backlog(queued, due, oldest, dead)

    async def queue_age(self) -> int:
        """How long what nothing holds back has been due. See :class:`service.ports.QueueStore`."""
        rows = await self._database.look(_QUEUE_AGE, breaker=int(self._breaker))
        return max(int(rows[0][0]), 0)  # what is due next is ahead

    async def retire(self) -> int:
        """Dead-letter a batch of what waits for deleted and disabled subscriptions."""

        async def job(tx: Tx) -> _Done[int]:
            rows = await tx.fetch(_CLOSED)
            return len(rows), await self._retire(tx, rows, _closed_reason)

        return await self._counted(job, 0)

    async def forget(self, retention: int) -> int:
        """Delete a batch of what is past its time; open deliveries become dead letters first."""

        async def job(tx: Tx) -> _Done[int]:
            floor = ids.key_floor(tx.now - retention)
            rows = await tx.fetch(_OLD, floor=floor)
            counts = await self._retire(tx, rows, lambda _: DeadReason.EXPIRED)
            return len(rows) + (0 if rows else await forgetting.forget(tx, floor)), counts

        return await self._counted(job, 0)

    async def renew_parts(self, retention: int) -> int:
        """Make parts of tables for the time to come, or drop one older than ``retention`` ms."""
        return await self._database.renew_parts(retention)

    async def _counted(self, job: Job[_Done[T]], otherwise: T) -> T:
        """What comes of the job of one process at a time, whose counts wait to be written."""
        done, counts = await self._database.write(alone(job, (otherwise, Counts())))
        self._counts.add(counts)
        return done

    async def _retire(
        self, tx: Tx, rows: Sequence[Row], reason: Callable[[Row], DeadReason]
    ) -> Counts:
        """Take open deliveries out of the queue undelivered, each for a reason."""
        buried = await _with_events(tx, rows)
        await _remove(tx, buried)
        return await self._bury(tx, [_corpse(row, reason(row)) for row in buried])

    async def _bury(self, tx: Tx, corpses: Sequence[Corpse]) -> Counts:
        # the lanes of who is told of it are found by the next look at what is due
        await burying.bury(tx, corpses)
        await lock_tenants(tx, [each.tenant_id for each in corpses])
        await burying.tell(tx, corpses, self._announcer)
        return tallying.counts_of((), corpses, tx.now)

    async def _write_off(self, tx: Tx, rows: Sequence[Row], schedule: tuple[float, ...]) -> Counts:
        """Record an attempt of unknown outcome for each, and judge it as such."""
        unknown = ErrorClass.UNKNOWN.value
        await tx.insert(
            attempts,
            _UNKNOWN_COLUMNS,
            [
                (*row[:3], row[4], ids.key_time(row[5]), unknown, _WORKER_DIED)
                for row in sorted(rows, key=itemgetter(0, 1))  # as a late settle writes them
            ],
            "ON CONFLICT (event_key, subscription_no, number) DO NOTHING",
        )
        looping = [row for row in rows if _verdict_is_dead(row, schedule)]
        again = [row for row in rows if not _verdict_is_dead(row, schedule)]
        await _remove(tx, looping)
        counts = await self._bury(tx, [_corpse(row, DeadReason.CRASH_LOOP) for row in looping])
        await _release(tx, again)
        return counts


def _verdict_is_dead(row: Row, schedule: tuple[float, ...]) -> bool:
    own = schedule_of(row[7])
    return isinstance(crashed(row[3], own or schedule), Dead)


async def _with_events(tx: Tx, rows: Sequence[Row]) -> list[Row]:
    """Those that can be sent or buried; the others, of which nothing is left, are deleted.

    Whoever makes a delivery holds its event meanwhile, so there should be no others. But one would
    be claimed in vain for ever, and could not even become a dead letter.
    """
    lost = [row for row in rows if row[_EVENT_ID] is None]
    await _remove(tx, lost)
    await tx.each(_ATTEMPTS, _refs(lost))
    return [row for row in rows if row[_EVENT_ID] is not None]


async def _release(tx: Tx, rows: Sequence[Row]) -> None:
    await tx.each(_RELEASE, _refs(rows), now=tx.now)


async def _remove(tx: Tx, rows: Sequence[Row]) -> None:
    await ordering.release_next(tx, await tx.each(_REMOVE, _refs(rows)))


def _refs(rows: Iterable[Row]) -> list[Row]:
    return sorted(row[:2] for row in rows)


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
        event=tuple(row[_EVENT_ID:]),
    )
