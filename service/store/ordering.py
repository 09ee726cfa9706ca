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
from functools import lru_cache
from typing import Final

from sqlalchemy import ColumnElement, exists, func, select

from service.domain.times import NEVER
from service.store.database import Database, Tx
from service.store.queueing import QUEUE_COLUMNS
from service.store.schema import delivery_queue, subscriptions
from service.store.statements import CHUNK, Row, Statement, flat, placeholders

#: (subscription no, operation key)
Chain = tuple[int, int]

_LANE: Final = QUEUE_COLUMNS.index("subscription_no")
_DUE: Final = QUEUE_COLUMNS.index("due_at")
_OPERATION: Final = QUEUE_COLUMNS.index("operation_key")

#: When what was parked is due: not before it would have been without the others.
_LET_GO: Final = f"due_at = CASE WHEN due_at > ? + {NEVER} THEN due_at - {NEVER} ELSE ? END"
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


@lru_cache(maxsize=1024)
def _occupied_text(chains: int) -> str:
    return (
        f"SELECT v.column1, v.column2 FROM (VALUES {placeholders(2, chains)}) AS v WHERE EXISTS "
        "(SELECT 1 FROM delivery_queue q WHERE q.subscription_no = v.column1 "
        "AND q.operation_key = v.column2)"
    )


@lru_cache(maxsize=1024)
def _release_text(chains: int) -> str:
    head = (
        "(SELECT min(q.event_key) FROM delivery_queue q WHERE q.subscription_no = v.column1 "
        "AND q.operation_key = v.column2)"
    )
    return (
        f"UPDATE delivery_queue SET {_LET_GO} WHERE (event_key, subscription_no) IN "
        f"(SELECT {head}, v.column1 FROM (VALUES {placeholders(2, chains)}) AS v) "
        f"AND due_at >= {NEVER} RETURNING subscription_no, due_at"
    )


_LOOSEN: Final = (
    f"UPDATE delivery_queue SET {_LET_GO}, operation_key = NULL "
    "WHERE (event_key, subscription_no) IN (SELECT event_key, subscription_no FROM delivery_queue "
    f"WHERE subscription_no = ? AND due_at >= {NEVER} ORDER BY due_at LIMIT {CHUNK})"
)


async def park(tx: Tx, rows: list[Row]) -> list[Row]:
    """New rows of the queue, oldest event first; parked where their chain has another before."""
    chains = {(row[_LANE], row[_OPERATION]) for row in rows if row[_OPERATION] is not None}
    if not chains:
        return rows
    taken = await _occupied(tx, sorted(chains))
    kept: list[Row] = []
    for row in rows:
        chain = (row[_LANE], row[_OPERATION])
        if chain in taken:
            kept.append((*row[:_DUE], row[_DUE] + NEVER, *row[_DUE + 1 :]))
        else:
            kept.append(row)
        if chain in chains:
            taken.add(chain)
    return kept


async def _occupied(tx: Tx, chains: Sequence[Chain]) -> set[Row]:
    taken: set[Row] = set()
    for start in range(0, len(chains), CHUNK):
        chunk = chains[start : start + CHUNK]
        taken.update(await tx.sql(_occupied_text(len(chunk)), flat(chunk)))
    return taken


async def release_next(tx: Tx, left: Iterable[Sequence[int | None]]) -> dict[int, int]:
    """Let go what comes after rows ``(subscription no, operation key)`` that left the queue.

    Returns the lanes, with the earliest due time of what was let go in each.
    """
    chains = sorted({(lane, key) for lane, key in left if lane is not None and key is not None})
    due: dict[int, int] = {}
    for start in range(0, len(chains), CHUNK):
        chunk = chains[start : start + CHUNK]
        rows = await tx.sql(_release_text(len(chunk)), (tx.now, tx.now, *flat(chunk)))
        for lane, at in rows:
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
            await tx.sql(_LOOSEN, (tx.now, tx.now, lane))
        return lanes or list(await release_next(tx, chains))

    return await database.write(job)
