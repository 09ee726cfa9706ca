"""Which process has which number in its keys, so that no two make the same key.

The number that was given longest ago is given next: a process that slept through its time may go
on, since what it makes meets another's only after all other numbers were taken.
"""

from typing import Final

from sqlalchemy import bindparam, select, update

from service.ports import StoreUnavailableError
from service.store.database import Tx
from service.store.schema_processes import nodes
from service.store.statements import Statement

#: Milliseconds for which a process has its number without a word.
_LEASE: Final = 600_000

_FREE: Final = Statement(
    select(nodes.c.no)
    .where(nodes.c.taken_until <= bindparam("now"))
    .order_by(nodes.c.taken_until, nodes.c.no)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_TAKE: Final = Statement(
    update(nodes).where(nodes.c.no == bindparam("number")).values(taken_until=bindparam("until"))
)

#: How many processes said within half a minute that they have their number.
LIVING: Final = (
    "SELECT count(*) FROM nodes WHERE taken_until > "
    f"(extract(epoch FROM clock_timestamp()) * 1000)::bigint + {_LEASE - 30_000}"
)

#: The numbers of which a process said within so many milliseconds that it has them, and until when.
RENEWED: Final = (
    "SELECT no, taken_until FROM nodes WHERE taken_until > "
    f"(extract(epoch FROM clock_timestamp()) * 1000)::bigint + {_LEASE} - $1::bigint"
)


async def take_node(tx: Tx) -> int:
    """Take a number."""
    rows = await tx.fetch(_FREE, now=tx.now)
    if not rows:
        raise StoreUnavailableError("256 processes work with this database: as many as may.")
    number = int(rows[0][0])
    await renew_node(tx, number)
    return number


async def renew_node(tx: Tx, number: int) -> None:
    """Keep a number."""
    await tx.fetch(_TAKE, number=number, until=tx.now + _LEASE)


async def free_node(tx: Tx, number: int) -> None:
    """Give a number back."""
    await tx.fetch(_TAKE, number=number, until=tx.now)
