"""What stands in the service's database, read beside the service."""

import asyncio
import time
from typing import Final

from service.domain.ids import key_floor
from service.lab.bench.databases import Store
from service.lab.bench.faults import BenchError

_COUNTS: Final = {
    "delivered": "SELECT count(*) FROM deliveries WHERE event_key >= {} AND status = 'delivered'",
    "attempts": "SELECT count(*) FROM attempts WHERE event_key >= {}",
    "open": "SELECT count(*) FROM delivery_queue WHERE event_key >= {}",
}
#: Seconds for what was received last to be written down.
_PATIENCE: Final = 10.0


def recorded(store: Store, since: int) -> dict[str, int]:
    """Of events since a time (ms): deliveries made, attempts made, deliveries that are open."""
    floor = key_floor(since)
    return {name: store.number(text.format(floor)) for name, text in _COUNTS.items()}


async def check_recorded(store: Store, since: int, count: int) -> None:
    """Make sure that so many deliveries stand there, each with its attempt, and none is open.

    Raises:
        BenchError: they do not.
    """
    wanted = {"delivered": count, "attempts": count, "open": 0}
    end = time.monotonic() + _PATIENCE
    while (found := await asyncio.to_thread(recorded, store, since)) != wanted:
        if time.monotonic() > end:
            raise BenchError(f"The store has {found}, and should have {wanted}.")
        await asyncio.sleep(0.1)
