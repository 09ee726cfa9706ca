"""What is sent: events, or what dead letters kept of them."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import select

from service.store.database import Tx
from service.store.schema import dead_letters, events
from service.store.statements import Row, Statement, among

_EVENTS: Final = Statement(
    select(
        events.c.key,
        events.c.id,
        events.c.type,
        events.c.operation_id,
        events.c.sequence,
        events.c.body,
    ).where(among(events.c.key, "keys"))
)
_SNAPSHOTS: Final = Statement(
    select(
        dead_letters.c.event_key,
        dead_letters.c.event_id,
        dead_letters.c.event_type,
        dead_letters.c.operation_id,
        dead_letters.c.sequence,
        dead_letters.c.body,
    ).where(among(dead_letters.c.event_key, "keys"))
)


async def what_is_sent(tx: Tx, keys: Iterable[int]) -> list[Row]:
    """The events by key; one that retention took lives on in its dead letter."""
    wanted = sorted(keys)
    if not wanted:
        return []
    found = await tx.fetch(_EVENTS, keys=wanted)
    there = {row[0] for row in found}
    missing = [key for key in wanted if key not in there]
    return [*found, *(await tx.fetch(_SNAPSHOTS, keys=missing) if missing else [])]
