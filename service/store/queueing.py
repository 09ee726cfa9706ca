"""Into the delivery queue from elsewhere than accept: what was finished, or never made."""

from collections.abc import Sequence
from typing import Final

from service.domain.delivery import Trigger
from service.domain.times import HURRIED
from service.store.database import Tx
from service.store.schema import delivery_queue
from service.store.statements import Many, Row, one_of

QUEUE_COLUMNS: Final = tuple(column.name for column in delivery_queue.columns)
#: The columns that name a delivery.
PAIR: Final = (delivery_queue.c.event_key, delivery_queue.c.subscription_no)
IS_ONE_OF: Final = one_of([column.name for column in PAIR])

_UNFINISH: Final = Many(f"DELETE FROM deliveries WHERE {IS_ONE_OF}", *PAIR)
_REPLAYING: Final = Many(
    "UPDATE dead_letters SET state = 'replaying', replays = replays + 1 "
    f"WHERE {IS_ONE_OF} AND state = 'open'",
    *PAIR,
)


async def enqueue(tx: Tx, pairs: Sequence[Row], trigger: Trigger) -> None:
    """Make deliveries ``(event key, subscription no)`` that never were, due now.

    The transaction holds the events, ``FOR KEY SHARE`` at least: else retention may take one that
    it sees no delivery of yet.
    """
    rows = [(*pair, tx.now, 0, 0, trigger.value, None, None) for pair in pairs]
    await tx.insert(delivery_queue, QUEUE_COLUMNS, rows)


async def reopen(tx: Tx, rows: Sequence[Row], trigger: Trigger) -> None:
    """Put finished deliveries ``(event key, subscription no, attempts)`` back, due now.

    The attempts count on, the schedule starts anew. The transaction holds what is to be sent, the
    event or its dead letter, as for :func:`enqueue`.
    """
    pairs = [row[:2] for row in rows]
    await tx.each(_UNFINISH, pairs)
    due = HURRIED if trigger is Trigger.MANUAL else tx.now
    queued = [(*row[:2], due, row[2], 0, trigger.value, None, None) for row in rows]
    await tx.insert(delivery_queue, QUEUE_COLUMNS, queued)
    await tx.each(_REPLAYING, pairs)
