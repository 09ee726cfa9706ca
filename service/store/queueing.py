"""Into the delivery queue from elsewhere than accept: what was finished, or never made."""

from collections.abc import Sequence
from typing import Final

from service.domain.delivery import Trigger
from service.domain.times import HURRIED
from service.store.database import Tx
from service.store.schema import delivery_queue
from service.store.statements import Row, flat, is_one_of

QUEUE_COLUMNS: Final = tuple(column.name for column in delivery_queue.columns)


async def enqueue(tx: Tx, pairs: Sequence[Row], trigger: Trigger) -> None:
    """Make deliveries ``(event key, subscription no)`` that never were, due now."""
    rows = [(*pair, tx.now, 0, 0, trigger.value, None, None) for pair in pairs]
    await tx.insert(delivery_queue, QUEUE_COLUMNS, rows)


async def reopen(tx: Tx, rows: Sequence[Row], trigger: Trigger) -> None:
    """Put finished deliveries ``(event key, subscription no, attempts)`` back, due now.

    The attempts count on, the schedule starts anew.
    """
    if not rows:
        return
    pairs = flat(row[:2] for row in rows)
    which = is_one_of(("event_key", "subscription_no"), len(rows))
    await tx.sql(f"DELETE FROM deliveries WHERE {which}", pairs)
    due = HURRIED if trigger is Trigger.MANUAL else tx.now
    queued = [(*row[:2], due, row[2], 0, trigger.value, None, None) for row in rows]
    await tx.insert(delivery_queue, QUEUE_COLUMNS, queued)
    await tx.sql(
        "UPDATE dead_letters SET state = 'replaying', replays = replays + 1 "
        f"WHERE {which} AND state = 'open'",
        pairs,
    )
