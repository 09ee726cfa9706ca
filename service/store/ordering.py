"""Ordered lanes: the events of one operation go to a subscription one after the other.

1. A row of an ordered lane has its operation's key. The rows of one subscription and one operation
   are a chain, in the order of their events.
2. Only the head of a chain is due at some time, or leased. The others are parked: their due times
   are ``NEVER`` later than they would be otherwise, so that no claim finds them.
3. Whoever takes a row out of the queue lets the next one go, in the same transaction.
4. What is sent out of turn because somebody wants it so (a replay, a parked delivery that is
   retried by hand) is in no chain: it neither waits nor keeps others waiting.
5. The sweep lets go what waits without need: in lanes no longer ordered, or behind nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, bindparam, exists, func, select

from service.domain.ids import KeyMaker
from service.domain.times import NEVER
from service.store.database import Database, Tx, alone
from service.store.moving import MovedError
from service.store.queueing import IS_ONE_OF, PAIR, QUEUE_COLUMNS
from service.store.schema import delivery_queue, subscriptions
from service.store.statements import CHUNK, Many, Row, Statement

#: (subscription no, operation key)
Chain = tuple[int, int]

_LANE: Final = QUEUE_COLUMNS.index("subscription_no")
_DUE: Final = QUEUE_COLUMNS.index("due_at")
_OPERATION: Final = QUEUE_COLUMNS.index("operation_key")

#: When what was parked is due: not before it would have been without the others.
_LET_GO: Final = f"due_at = CASE WHEN due_at > :now + {NEVER} THEN due_at - {NEVER} ELSE :now END"
_HAS_PARKED: Final = exists().where(
    delivery_queue.c.subscription_no == subscriptions.c.no, delivery_queue.c.due_at >= NEVER
)
#: A lane that is no longer ordered, and in which something waits as if it were.
_UNORDERED: Final = Statement(
    select(subscriptions.c.no).where(subscriptions.c.ordering != "operation", _HAS_PARKED).limit(1)
)


def _stuck() -> Statement:
    """Chains whose head is parked.

    It goes from chain to chain by the index: reading every parked row would take as long as there
    are many.
    """
    row, head = delivery_queue.alias("row"), delivery_queue.alias("head")

    def first(column: str, *more: ColumnElement[bool]) -> ColumnElement[int]:
        return select(func.min(row.c[column])).where(*more).scalar_subquery()

    lane = subscriptions.c.no
    begin = first("operation_key", row.c.subscription_no == lane, row.c.operation_key.is_not(None))
    chains = (
        select(lane.label("lane"), begin.label("operation"))
        .where(subscriptions.c.ordering == "operation", _HAS_PARKED)
        .cte("chains", recursive=True)
    )
    is_lane = row.c.subscription_no == chains.c.lane
    beyond = first("operation_key", is_lane, row.c.operation_key > chains.c.operation)
    chains = chains.union_all(select(chains.c.lane, beyond).where(chains.c.operation.is_not(None)))
    is_lane = row.c.subscription_no == chains.c.lane
    return Statement(
        select(chains.c.lane, chains.c.operation)
        .join(head, head.c.subscription_no == chains.c.lane)
        .where(
            head.c.event_key
            == first("event_key", is_lane, row.c.operation_key == chains.c.operation),
            head.c.due_at >= NEVER,
        )
        .limit(CHUNK)
    )


_STUCK: Final = _stuck()


_CHAIN: Final = (delivery_queue.c.subscription_no, delivery_queue.c.operation_key)
_OCCUPIED: Final = Many(
    "SELECT v.column1, v.column2, (SELECT max(q.event_key) FROM delivery_queue q "
    "WHERE q.subscription_no = v.column1 AND q.operation_key = v.column2) FROM {rows}",
    *_CHAIN,
)
_RELEASE: Final = Many(
    f"UPDATE delivery_queue SET {_LET_GO} WHERE (event_key, subscription_no) IN "
    "(SELECT (SELECT min(q.event_key) FROM delivery_queue q WHERE q.subscription_no = v.column1 "
    "AND q.operation_key = v.column2), v.column1 FROM {rows}) "
    f"AND due_at >= {NEVER} RETURNING subscription_no, due_at",
    *_CHAIN,
)
_PARKED: Final = Statement(
    select(*PAIR)
    .where(delivery_queue.c.subscription_no == bindparam("lane"), delivery_queue.c.due_at >= NEVER)
    .order_by(delivery_queue.c.due_at)
    .limit(CHUNK)
    .with_for_update(skip_locked=True)
)
_LOOSEN: Final = Many(
    f"UPDATE delivery_queue SET {_LET_GO}, operation_key = NULL WHERE {IS_ONE_OF}", *PAIR
)


async def park(tx: Tx, rows: list[Row], keys: KeyMaker) -> list[Row]:
    """New rows of the queue, oldest event first; parked where their chain has another before.

    Raises:
        MovedError: another process gave the event before a key that is larger than ours. ``keys``
        goes on from there.
    """
    chains = {(row[_LANE], row[_OPERATION]) for row in rows if row[_OPERATION] is not None}
    if not chains:
        return rows
    taken = await _occupied(tx, sorted(chains))
    kept: list[Row] = []
    for row in rows:
        chain = (row[_LANE], row[_OPERATION])
        if row[0] < taken.get(chain, 0):
            keys.go_past(taken[chain])
            raise MovedError
        if chain in taken:
            kept.append((*row[:_DUE], row[_DUE] + NEVER, *row[_DUE + 1 :]))
        else:
            kept.append(row)
        if chain in chains:
            taken[chain] = row[0]
    return kept


async def _occupied(tx: Tx, chains: Sequence[Chain]) -> dict[Chain, int]:
    """The newest event of each chain that has any."""
    found = await tx.each(_OCCUPIED, chains)
    return {(lane, operation): key for lane, operation, key in found if key is not None}


async def release_next(tx: Tx, left: Iterable[Sequence[int | None]]) -> dict[int, int]:
    """Let go what comes after rows ``(subscription no, operation key)`` that left the queue.

    Returns the lanes, with the earliest due time of what was let go in each.
    """
    chains = sorted({(lane, key) for lane, key in left if lane is not None and key is not None})
    due: dict[int, int] = {}
    for lane, at in await tx.each(_RELEASE, chains, now=tx.now):
        due[lane] = min(due.get(lane, at), at)
    return due


async def unpark(database: Database) -> list[int]:
    """Let go a batch of what waits without need; its lanes."""
    lanes = [row[0] for row in await database.look(_UNORDERED)]
    chains = [] if lanes else await database.look(_STUCK)
    if not lanes and not chains:
        return []  # the usual case, and one that needs no writer

    async def job(tx: Tx) -> list[int]:
        for lane in lanes:
            await tx.each(_LOOSEN, await tx.fetch(_PARKED, lane=lane), now=tx.now)
        return lanes or list(await release_next(tx, chains))

    return await database.write(alone(job, []))
