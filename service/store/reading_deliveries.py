"""Reads of deliveries and their attempts.

Open deliveries are in the queue and finished ones in ``deliveries``. Each list asks both for its
newest rows and merges what comes: both are kept in the order of (event, subscription), so neither
is sorted. What belongs to a row (its subscription's id and tenant, its event's type) is looked up
row by row in scalar subqueries: as a join, SQLite may begin at the other table and sort everything
there is.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    case,
    false,
    func,
    literal,
    null,
    select,
    tuple_,
)

from service.domain.delivery import DeliveryStatus, Trigger, is_finished
from service.domain.ids import LEAD, DeliveryRef, key_floor
from service.ports import AttemptView, DeliveryFilter, DeliveryView, Page, Span
from service.store import waiting
from service.store.database import Database, Tx
from service.store.paging import Condition, Place, down_to, floor_of, page_of
from service.store.schema import (
    attempts,
    dead_letters,
    deliveries,
    delivery_queue,
    event_ids,
    events,
    operations,
    subscriptions,
    undelivered,
)


class _Walk(NamedTuple):
    """Which rows of a table a list goes along, and which of those it wants."""

    table: Table
    along: list[Condition]
    wanted: list[Condition]
    #: That a row is in a lane; first the same of the table's newest rows, which needs no sorting.
    lane: Sequence[Condition] = ()
    #: Whether what is in flight is left out.
    unleased: bool = False


_NOBODY: Final = -1
#: Subscriptions that are asked one by one, some ms each with their sorted backlogs.
_FEW_LANES: Final = 20
#: Rows among which a lane's newest are looked for before all that waits in the lane is sorted.
_NEAR: Final = 2_000
_TABLES: Final = (delivery_queue, deliveries)
_ATTEMPT_COLUMNS: Final = tuple(
    column for column in attempts.columns if column.name not in {"event_key", "subscription_no"}
)


class DeliveryReads:
    """See :class:`service.ports.ReadStore`. Without a ``breaker`` no circuit is open."""

    def __init__(self, database: Database, *, breaker: bool) -> None:
        self._database = database
        self._shown = {table: _columns(table, breaker=breaker) for table in _TABLES}

    async def delivery(self, tenant_id: str, ref: DeliveryRef) -> DeliveryView | None:
        """One delivery."""
        walks = [
            _Walk(table, pair_is(table, ref), [_tenant(table) == tenant_id]) for table in _TABLES
        ]
        async with self._database.read() as tx:
            found = await self._newest(tx, walks, None, 1)
        return found[0] if found else None

    async def attempts(self, ref: DeliveryRef) -> list[AttemptView]:
        """All attempts of a delivery, first one first."""
        statement = (
            select(*_ATTEMPT_COLUMNS).where(*pair_is(attempts, ref)).order_by(attempts.c.number)
        )
        async with self._database.read() as tx:
            rows = await tx.query(statement)
        return [AttemptView(**(row | {"trigger": Trigger(row["trigger"])})) for row in rows]

    async def deliveries(
        self, tenant_id: str, which: DeliveryFilter, span: Span
    ) -> Page[DeliveryView]:
        """Newest event first."""
        async with self._database.read() as tx:
            walks = await _walks(tx, tenant_id, which, span)
            floor = await _floor(tx, walks)
            found = await self._newest(tx, walks, floor, span.limit + 1)
            if floor is not None and len(found) <= span.limit and _is_of_all(which):
                lanes = await _lanes(tx, tenant_id)
                if len(lanes) <= _FEW_LANES:
                    found, floor = await self._of_lanes(tx, walks, lanes, span.limit + 1), None
        return page_of(found, span.limit, lambda delivery: tuple(delivery.ref), floor)

    async def _of_lanes(
        self, tx: Tx, walks: Sequence[_Walk], lanes: Sequence[int], limit: int
    ) -> list[DeliveryView]:
        """The newest of each lane, merged: a small tenant's are few among those of all."""
        found: list[DeliveryView] = []
        for number in lanes:
            own = [
                walk._replace(wanted=[], lane=_in_lane(walk.table, number, walk.along))
                for walk in walks
            ]
            found += await self._newest(tx, own, None, limit)
        return sorted(found, key=lambda view: view.ref, reverse=True)[:limit]

    async def _newest(
        self, tx: Tx, walks: Sequence[_Walk], floor: Place | None, limit: int
    ) -> list[DeliveryView]:
        """The newest deliveries of both tables, merged."""
        rows: list[dict[str, Any]] = []
        for walk in walks:
            rows += await self._picked(tx, walk, floor, limit)
        # the part of an event may be dropped meanwhile: its deliveries were gone before it
        views = (_view(row) for row in rows if row["event_id"] is not None)
        found = sorted(views, key=lambda view: view.ref, reverse=True)
        return found[:limit]

    async def _picked(
        self, tx: Tx, walk: _Walk, floor: Place | None, limit: int
    ) -> list[dict[str, Any]]:
        """The newest rows of one table, in any order."""
        table, along, wanted, lane, unleased = walk
        key = _key(table)
        # first which rows, then what they say: bare keys sort fast, and a backlog is sorted
        picked = (
            select(*key)
            .where(*along, *wanted, *down_to(key, floor))
            .order_by(*(column.desc() for column in key))
            .limit(limit)
        )
        few = picked.where(table.c.token.is_(None)) if unleased else picked
        if not lane:
            return await self._shown_of(tx, table, few)
        for near in lane[:-1]:
            rows = await self._shown_of(tx, table, few.where(near))
            if len(rows) == limit:
                return rows
        # an index has a lane's keys, and not who leased them: those are few, and left out by name
        whole = picked.where(tuple_(*key).not_in(_leased())) if unleased else picked
        return await self._shown_of(tx, table, whole.where(lane[-1]))

    async def _shown_of(self, tx: Tx, table: Table, picked: Select[Any]) -> list[dict[str, Any]]:
        which = picked.subquery()
        same = and_(*(column == which.c[column.name] for column in _key(table)))
        return await tx.query(select(*self._shown[table]).join_from(which, table, same))


def pair_is(table: Table, ref: DeliveryRef) -> list[Condition]:
    """That a row is of this (event, subscription) pair."""
    return [table.c.event_key == ref.event_key, table.c.subscription_no == ref.subscription_no]


def behind(table: Table, span: Span) -> list[Condition]:
    """That a row comes after the place a page begins at, newest event first."""
    if span.after is None:
        return []
    event_key, subscription_no = span.after
    pair = tuple_(table.c.event_key, table.c.subscription_no)
    return [pair < tuple_(literal(event_key), literal(subscription_no))]


def subscription_id_of(table: Table) -> ColumnElement[str]:
    """The id of a row's subscription, deleted ones included."""
    return _of_subscription(table, subscriptions.c.id)


async def subscription_no(tx: Tx, tenant_id: str, name: str) -> int:
    """The number of a tenant's subscription, deleted or not; if unknown, one that nobody has."""
    rows = await tx.query(
        select(subscriptions.c.no).where(
            subscriptions.c.id == name, subscriptions.c.tenant_id == tenant_id
        )
    )
    return int(rows[0]["no"]) if rows else _NOBODY


def _of_subscription(table: Table, column: ColumnElement[Any]) -> ColumnElement[Any]:
    number = table.c.subscription_no
    return select(column).where(subscriptions.c.no == number).scalar_subquery()


def _tenant(table: Table) -> ColumnElement[str]:
    return _of_subscription(table, subscriptions.c.tenant_id)


def _of_event(
    table: Table, event: ColumnElement[Any], kept: ColumnElement[Any]
) -> ColumnElement[Any]:
    """A column of a row's event: of its dead letter when retention took the event."""
    present = select(event).where(events.c.key == table.c.event_key).scalar_subquery()
    past = select(kept).where(
        dead_letters.c.event_key == table.c.event_key,
        dead_letters.c.subscription_no == table.c.subscription_no,
    )
    return func.coalesce(present, past.scalar_subquery())


def _type_of(table: Table) -> ColumnElement[str]:
    return _of_event(table, events.c.type, dead_letters.c.event_type)


async def _walks(tx: Tx, tenant_id: str, which: DeliveryFilter, span: Span) -> list[_Walk]:
    """What a filter names is looked up first, so that the lists can use their indexes."""
    named = await _named(tx, tenant_id, which)
    walks = []
    number = await _lane(tx, tenant_id, which)
    for table in _TABLES:
        below = [*behind(table, span), *_in_time(table, which)]
        along = [*below, *(make(table) for make in named)]
        lane = () if number is None else _in_lane(table, number, below)
        lane = lane[-1:] if named else lane  # which is few by itself
        wanted: list[Condition] = []
        if which.subscription_id is None:  # few are others', where an event or operation is named
            (along if named else wanted).append(_tenant(table) == tenant_id)
        if which.event_type is not None:
            wanted.append(_type_of(table) == which.event_type)
        walk = _of_status(_Walk(table, along, wanted, lane), which)
        if walk is not None:
            walks.append(walk)
    return walks


async def _named(
    tx: Tx, tenant_id: str, which: DeliveryFilter
) -> list[Callable[[Table], Condition]]:
    named: list[Callable[[Table], Condition]] = []
    if which.event_id is not None:
        keys = await _event_keys(tx, tenant_id, which.event_id)
        named.append(lambda table: table.c.event_key.in_(keys))
    if which.operation_id is not None:
        family = await _events_of_operation(tx, tenant_id, which.operation_id)
        named.append(lambda table: table.c.event_key.in_(family))
    return named


async def _lane(tx: Tx, tenant_id: str, which: DeliveryFilter) -> int | None:
    name = which.subscription_id
    return None if name is None else await subscription_no(tx, tenant_id, name)


def _in_lane(table: Table, number: int, below: Sequence[Condition]) -> tuple[Condition, ...]:
    """That a row is in a lane; of the queue, before that, that one of the newest is ``below``."""
    key, whole = _key(table), table.c.subscription_no == number
    if table is not delivery_queue:
        return (whole,)  # kept in the order of its events
    newest = select(*key).where(*below).order_by(*(column.desc() for column in key)).limit(_NEAR)
    near = newest.subquery()
    own = select(*_key(near)).where(near.c.subscription_no == number)
    return tuple_(*key).in_(own), whole


def _of_status(walk: _Walk, which: DeliveryFilter) -> _Walk | None:
    """The walk along rows of the status asked for; ``None`` when the table has none such."""
    status = which.status
    if status is None:
        return walk
    if is_finished(status) is (walk.table is delivery_queue):
        return None
    if status is DeliveryStatus.PENDING:
        return walk._replace(unleased=True)
    if status is DeliveryStatus.DELIVERING:  # few, in no order of ours
        return _Walk(walk.table, [*walk.along, *walk.wanted, *walk.lane[-1:], *_in_flight()], [])
    is_it = deliveries.c.status == status.value
    if status is DeliveryStatus.DELIVERED or which.subscription_id is not None:
        return walk._replace(wanted=[*walk.wanted, is_it])
    return walk._replace(along=[*walk.along, is_it, undelivered])


def _in_flight() -> list[Condition]:
    # found by their own index first: by itself SQLite would go along all of the queue
    return [delivery_queue.c.token.is_not(None), tuple_(*_key(delivery_queue)).in_(_leased())]


def _leased() -> Select[Any]:
    leased = delivery_queue.alias()
    return select(*_key(leased)).where(leased.c.token.is_not(None), leased.c.due_at > 0)


def _in_time(table: Table, which: DeliveryFilter) -> list[Condition]:
    conditions = []
    if which.since is not None:
        conditions.append(table.c.event_key >= key_floor(which.since))
    if which.until is not None:
        conditions.append(table.c.event_key < key_floor(which.until))
    return conditions


async def _event_keys(tx: Tx, tenant_id: str, name: str) -> list[int]:
    rows = await tx.query(
        select(event_ids.c.event_key).where(
            event_ids.c.tenant_id == tenant_id, event_ids.c.id == name
        )
    )
    if not rows:
        rows = await tx.query(
            select(dead_letters.c.event_key)
            .where(dead_letters.c.tenant_id == tenant_id, dead_letters.c.event_id == name)
            .distinct()
        )
    return [row["event_key"] for row in rows]


async def _events_of_operation(tx: Tx, tenant_id: str, name: str) -> Select[Any]:
    rows = await tx.query(
        select(operations.c.key).where(operations.c.tenant_id == tenant_id, operations.c.id == name)
    )
    if rows:
        key = rows[0]["key"]
        first = key - LEAD
        return select(events.c.key).where(events.c.operation_key == key, events.c.key >= first)
    return select(dead_letters.c.event_key).where(
        dead_letters.c.tenant_id == tenant_id, dead_letters.c.operation_id == name
    )


async def _floor(tx: Tx, walks: Sequence[_Walk]) -> Place | None:
    """How far down a page may look: in either table at so many rows, all of them merged."""
    floors = [
        await floor_of(tx, _key(walk.table), [*walk.along, *walk.lane[-1:]])
        for walk in walks
        if walk.wanted
    ]
    return max((floor for floor in floors if floor is not None), default=None)


def _is_of_all(which: DeliveryFilter) -> bool:
    """Whether only its tenant keeps a row out, so that a lane by itself is read without looking."""
    by_lane = which.status in (None, DeliveryStatus.PENDING)
    return by_lane and which.subscription_id is None and which.event_type is None


async def _lanes(tx: Tx, tenant_id: str) -> list[int]:
    """A tenant's subscriptions, deleted ones included; one more than few at most."""
    rows = await tx.query(
        select(subscriptions.c.no)
        .where(subscriptions.c.tenant_id == tenant_id)
        .limit(_FEW_LANES + 1)
    )
    return [row["no"] for row in rows]


def _key(table: FromClause) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return table.c.event_key, table.c.subscription_no


def _columns(table: Table, *, breaker: bool) -> list[ColumnElement[Any]]:
    own = table.c
    if table is delivery_queue:
        state = [
            case(
                (own.token.is_(None), DeliveryStatus.PENDING.value),
                else_=DeliveryStatus.DELIVERING.value,
            ),
            waiting.next_attempt(breaker=breaker),
            null(),
            waiting.IS_HURRIED,
            waiting.BEHIND,
        ]
    else:
        state = [own.status, null(), own.finished_at, false(), null()]
    return [
        own.event_key,
        own.subscription_no,
        own.attempts,
        *(each.label(name) for each, name in zip(state, _STATE, strict=True)),
        subscription_id_of(table).label("subscription_id"),
        _of_event(table, events.c.id, dead_letters.c.event_id).label("event_id"),
        _type_of(table).label("event_type"),
        _of_event(table, events.c.operation_id, dead_letters.c.operation_id).label("operation_id"),
    ]


_STATE: Final = ("status", "due_at", "finished_at", "is_hurried", "behind")


def _view(row: dict[str, Any]) -> DeliveryView:
    values = dict(row)
    ref = DeliveryRef(values.pop("event_key"), values.pop("subscription_no"))
    values["status"] = DeliveryStatus(values["status"])
    if values["behind"] is not None:
        values["behind"] = ref._replace(event_key=values["behind"])
    return DeliveryView(ref=ref, **values)
