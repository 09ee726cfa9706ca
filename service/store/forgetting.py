"""What is past its time is deleted in batches, the oldest first, never in the way of a delivery."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Final

from sqlalchemy import bindparam, exists, select

from service.domain.delivery import DeadLetterState
from service.store import once, portals, tickets
from service.store.database import Tx
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
from service.store.statements import CHUNK, Many, Statement, among, deletion

_OLD_KEYS: Final = Statement(
    select(events.c.key, events.c.tenant_id, events.c.id, events.c.feed_position)
    .where(
        events.c.key < bindparam("floor"),
        ~exists().where(delivery_queue.c.event_key == events.c.key),
    )
    .order_by(events.c.key)
    .limit(CHUNK)
    .with_for_update(skip_locked=True)
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
_EVENTS: Final = deletion(events.c.key)
_OF_PAIRS: Final = tuple(
    Many(f"DELETE FROM {table.name} WHERE {IS_ONE_OF}", *PAIR)
    for table in (attempts, deliveries, dead_letters)
)


async def forget(tx: Tx, floor: int) -> int:
    """Delete a batch of what belongs to events before the key ``floor``; how many rows."""
    done = await _delete_events(tx, floor) or await _delete_resolved(tx, floor)
    done += await once.forget_answers(tx)
    done += await portals.forget_over(tx)
    return done + await tickets.forget_old(tx)


async def _delete_events(tx: Tx, floor: int) -> int:
    """Delete the oldest events past retention with their deliveries and attempts.

    What an open dead letter has of its event is its own copy; its attempts stay with it.
    """
    found = await tx.fetch(_OLD_KEYS, floor=floor)
    # once more, now that they are locked: a replay may have come before
    replayed = await tx.fetch(_REPLAYED, keys=[row[0] for row in found]) if found else []
    wanted = {row[0] for row in replayed}
    old = [row for row in found if row[0] not in wanted]
    keys = [(row[0],) for row in old]
    await tx.each(_ATTEMPTS, [(key,) for key in await tx.loose([row[0] for row in old])])
    await tx.each(_DELIVERIES, keys)
    await tx.each(_LETTERS, keys)
    await tx.each(_IDS, [row[1:3] for row in old])
    await tx.each(_EVENTS, keys)
    await _raise_floors(tx, {row[1]: row[3] for row in sorted(old, key=itemgetter(3))})
    return len(old)


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
