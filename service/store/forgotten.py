"""How far retention has come: events before a key are forgotten, even while their rows are there.

On PostgreSQL the rows of a day go all at once, when their part is dropped; what hangs on an event
goes before, in batches. So that nobody finds half of it, reads of events begin at that key, and who
sends an event again holds retention where it is until that is committed.
"""

from typing import Final

from sqlalchemy import literal_column, select

from service.store.database import Tx
from service.store.schema_retention import retention
from service.store.statements import Statement

_PLACE: Final = select(retention.c.forgotten_before).where(retention.c.no == literal_column("1"))
#: The first key whose event is not forgotten.
FLOOR: Final = _PLACE.scalar_subquery()

_SEEN: Final = Statement(_PLACE)
_HELD: Final = Statement(_PLACE.with_for_update(read=True, key_share=True))
_TAKEN: Final = Statement(_PLACE.with_for_update())


async def see(tx: Tx) -> int:
    """The first key whose event is not forgotten as the transaction sees it."""
    return int((await tx.fetch(_SEEN))[0][0])


async def hold(tx: Tx) -> int:
    """The first key whose event is not forgotten, for as long as this is not committed."""
    return int((await tx.fetch(_HELD))[0][0])


async def take(tx: Tx) -> int:
    """The same, for retention itself: nobody holds it meanwhile."""
    return int((await tx.fetch(_TAKEN))[0][0])


async def move(tx: Tx, floor: int) -> None:
    """Forget every event with a smaller key than ``floor``."""
    await tx.sql("UPDATE retention SET forgotten_before = ? WHERE no = 1", (floor,))
