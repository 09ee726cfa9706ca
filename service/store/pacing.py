"""How fast lanes are sent to, where several workers do it: what each claims counts for all.

A worker keeps its own sends evenly spaced (:mod:`service.domain.pacing`). Here is only what all of
them may do together: as much as has come together since, a second's worth at most.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select

from service.store.database import Tx
from service.store.schema_processes import lane_paces
from service.store.statements import Many, Statement, among

_COLUMNS: Final = tuple(column.name for column in lane_paces.columns)
_READ: Final = Statement(
    select(*lane_paces.columns).where(among(lane_paces.c.subscription_no, "lanes"))
)
_WRITE: Final = (
    "ON CONFLICT (subscription_no) DO UPDATE SET tokens = excluded.tokens, "
    "filled_at = excluded.filled_at"
)
_SPEND: Final = Many(
    "UPDATE lane_paces SET tokens = tokens - v.column2 FROM {rows} "
    "WHERE subscription_no = v.column1",
    lane_paces.c.subscription_no,
    lane_paces.c.tokens,
)


async def allowances(tx: Tx, rates: Mapping[int, float]) -> dict[int, int]:
    """How many sends each lane's rate (a second) allows now; the lanes are held by this claim."""
    if not tx.is_shared or not rates:
        return {}
    known = {row[0]: row[1:] for row in await tx.fetch(_READ, lanes=sorted(rates))}
    rows = []
    for lane, rate in sorted(rates.items()):
        most = max(1.0, rate)
        tokens, filled_at = known.get(lane, (most, tx.now))
        grown = tokens + max(tx.now - filled_at, 0) / 1000 * rate
        rows.append((lane, min(grown, most), tx.now))
    await tx.insert(lane_paces, _COLUMNS, rows, _WRITE)
    return {lane: int(tokens) for lane, tokens, _ in rows}


async def spend(tx: Tx, taken: Mapping[int, int]) -> None:
    """Take what was claimed off the allowances of these lanes."""
    await tx.each(_SPEND, [(lane, float(count)) for lane, count in sorted(taken.items())])
