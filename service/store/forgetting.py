"""What is past its time is deleted in batches, the oldest first, never in the way of a delivery.

Where tables have parts that are dropped whole, the row of an event stays until then, and is taken
for gone (:mod:`service.store.forgotten`).
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from operator import itemgetter
from typing import Final

from sqlalchemy import bindparam, delete, exists, select

from service.domain.delivery import DeadLetterState
from service.store import forgotten, once, portals, tickets
from service.store.database import Stretch, Tx
from service.store.queueing import IS_ONE_OF, PAIR
from service.store.schema import (
    attempts,
    dead_letters,
    deliveries,
    delivery_queue,
    event_ids,
    events,
    tenants,
)
from service.store.statements import CHUNK, Many, Row, Statement, among, deletion

_OLD: Final = (
    select(events.c.key, events.c.tenant_id, events.c.id, events.c.feed_position)
    .where(events.c.key >= bindparam("low"), events.c.key < bindparam("high"))
    .order_by(events.c.key)
    .limit(CHUNK)
)
#: Those that nobody wants at the moment.
_LOCKED: Final = Statement(
    _OLD.where(~exists().where(delivery_queue.c.event_key == events.c.key)).with_for_update(
        skip_locked=True
    )
)
_OLDEST: Final = Statement(_OLD)
_LEFT: Final = Statement(
    select(events.c.key)
    .where(events.c.key >= bindparam("low"), events.c.key < bindparam("high"))
    .limit(1)
)

#: The tenants are named for the index that begins with them.
_RESOLVED: Final = Statement(
    select(dead_letters.c.event_key, dead_letters.c.subscription_no)
    .where(
        dead_letters.c.tenant_id.in_(select(tenants.c.id)),
        dead_letters.c.state == DeadLetterState.RESOLVED.value,
        dead_letters.c.event_key < bindparam("floor"),
        ~exists().where(events.c.key == dead_letters.c.event_key, events.c.key >= forgotten.FLOOR),
        ~exists().where(delivery_queue.c.event_key == dead_letters.c.event_key),
    )
    .limit(CHUNK)
    .with_for_update(of=dead_letters, skip_locked=True)
)

_REPLAYED: Final = Statement(
    select(delivery_queue.c.event_key).where(among(delivery_queue.c.event_key, "keys"))
)
_IS_OVER: Final = (
    "NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.event_key = {0}.event_key "
    "AND d.subscription_no = {0}.subscription_no AND d.state <> 'resolved')"
)
_ATTEMPTS, _DELIVERIES = (
    deletion(table.c.event_key, where=_IS_OVER.format(table.name))
    for table in (attempts, deliveries)
)
_LETTERS: Final = deletion(dead_letters.c.event_key, where="state = 'resolved'")
_IDS: Final = deletion(event_ids.c.tenant_id, event_ids.c.id)
_EVENTS: Final = Statement(delete(events).where(among(events.c.key, "keys")))
_OF_PAIRS: Final = tuple(
    Many(f"DELETE FROM {table.name} WHERE {IS_ONE_OF}", *PAIR)
    for table in (attempts, deliveries, dead_letters)
)


async def forget(tx: Tx, floor: int) -> int:
    """Delete a batch of what belongs to events before the key ``floor``; how many rows."""
    done = await _forget_events(tx, floor) or await _delete_resolved(tx, floor)
    done += await once.forget_answers(tx)
    done += await portals.forget_over(tx)
    return done + await tickets.forget_old(tx)


async def _forget_events(tx: Tx, floor: int) -> int:
    """Forget the oldest events past retention; how many.

    What is dropped whole is forgotten in the order of keys, and nothing before what came earlier.
    """
    start = await forgotten.take(tx)
    for stretch in await tx.stretches(events):
        low, high = max(stretch.low, start if stretch.is_whole else 0), min(stretch.high, floor)
        if low >= high:
            continue
        old = await _old(tx, stretch._replace(low=low, high=high))
        if old:
            await _delete_of(tx, old)
            if stretch.is_whole:
                await forgotten.move(tx, old[-1][0] + 1)
            else:
                await tx.fetch(_EVENTS, keys=[row[0] for row in old])
            return len(old)
        if high < floor and await tx.fetch(_LEFT, low=low, high=high):
            return 0  # somebody still wants one
    return 0


async def _old(tx: Tx, stretch: Stretch) -> list[Row]:
    """The oldest events of a stretch that nobody wants; their key, tenant, id and feed position."""
    statement = _OLDEST if stretch.is_whole else _LOCKED
    found = await tx.fetch(statement, low=stretch.low, high=stretch.high)
    # once more, now that they are locked: a replay may have come before
    replayed = await tx.fetch(_REPLAYED, keys=[row[0] for row in found]) if found else []
    wanted = {row[0] for row in replayed}
    picked = takewhile if stretch.is_whole else filter
    return list(picked(lambda row: row[0] not in wanted, found))


async def _delete_of(tx: Tx, old: Sequence[Row]) -> None:
    """Delete what hangs on events.

    What an open dead letter has of its event is its own copy; its attempts stay with it.
    """
    keys = [(row[0],) for row in old]
    whole = [each for each in await tx.stretches(attempts) if each.is_whole]
    loose = [key for key in keys if not any(each.low <= key[0] < each.high for each in whole)]
    await tx.each(_ATTEMPTS, loose)
    await tx.each(_DELIVERIES, keys)
    await tx.each(_LETTERS, keys)
    await tx.each(_IDS, [row[1:3] for row in old])
    await _raise_floors(tx, {row[1]: row[3] for row in sorted(old, key=itemgetter(3))})


async def _raise_floors(tx: Tx, floors: Mapping[str, int]) -> None:
    """Note up to which place of each tenant's feed events may be missing."""
    for tenant, floor in sorted(floors.items()):
        await tx.sql(
            "UPDATE tenants SET feed_floor = ? WHERE id = ? AND feed_floor < ?",
            (floor, tenant, floor),
        )


async def _delete_resolved(tx: Tx, floor: int) -> int:
    """Delete what was delivered only after its event had retired."""
    found = await tx.fetch(_RESOLVED, floor=floor)
    # once more, now that they are locked: a retry may have come before
    again = await tx.fetch(_REPLAYED, keys=[row[0] for row in found]) if found else []
    wanted = {row[0] for row in again}
    rows = [row for row in found if row[0] not in wanted]
    for statement in _OF_PAIRS:
        await tx.each(statement, rows)
    return len(rows)
