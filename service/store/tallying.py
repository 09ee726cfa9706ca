"""Counts of attempts, added up in the store and read back.

Each attempt counts twice: for its subscription, by how long it took, and for the whole service (as
subscription 0), by how long its delivery took from the event on.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sqlalchemy import bindparam, select

from service.domain import ids, tallies
from service.domain.delivery import Trigger
from service.domain.retry import Delivered
from service.ports import Settlement
from service.store.database import Database, Tx
from service.store.schema import Big
from service.store.schema_health import attempt_tallies
from service.store.statements import CHUNK, Many, Statement, one_of

#: In the place of a subscription's number.
WHOLE: Final = 0

_COLUMNS: Final = tuple(column.name for column in attempt_tallies.columns)
_ADD: Final = (
    "ON CONFLICT (subscription_no, slice_at, bucket) DO UPDATE SET "
    "succeeded = attempt_tallies.succeeded + excluded.succeeded, "
    "failed = attempt_tallies.failed + excluded.failed"
)
_own = attempt_tallies.c
TALLIES: Final = Statement(
    select(_own.slice_at, _own.bucket, _own.succeeded, _own.failed).where(
        _own.subscription_no == bindparam("lane"), _own.slice_at > bindparam("after")
    )
)
_PAST: Final = Statement(
    select(_own.subscription_no, _own.slice_at, _own.bucket)
    .where(_own.slice_at < bindparam("now", type_=Big) - bindparam("kept", type_=Big))
    .limit(CHUNK)
)
_KEY: Final = tuple(attempt_tallies.primary_key.columns)
_DELETE: Final = Many(
    f"DELETE FROM attempt_tallies WHERE {one_of([column.name for column in _KEY])}", *_KEY
)


class Key(NamedTuple):
    """What is counted together."""

    subscription_no: int
    slice_at: int
    bucket: int
    succeeded: bool


Counts = Counter[Key]


def counts_of(kept: Iterable[Settlement], now: int) -> Counts:
    """What results that are settled ``now`` add to the counts."""
    counts = Counts()
    own, whole = (tallies.slice_of(now, each) for each in (tallies.OWN_SLICE, tallies.WHOLE_SLICE))
    for each in kept:
        ok = isinstance(each.verdict, Delivered)
        lane = each.claimed.ref.subscription_no
        counts[Key(lane, own, tallies.bucket_of(each.outcome.timing.total), ok)] += 1
        if not ok or each.claimed.trigger is Trigger.SCHEDULE:
            taken = now - ids.key_time(each.claimed.ref.event_key) if ok else 0
            counts[Key(WHOLE, whole, tallies.bucket_of(taken), ok)] += 1
    return counts


async def add(tx: Tx, counts: Mapping[Key, int]) -> None:
    """Add to what is counted already."""
    places = sorted({key[:3] for key in counts})
    rows = [
        (*place, *(counts.get(Key(*place, succeeded=is_good), 0) for is_good in (True, False)))
        for place in places
    ]
    await tx.insert(attempt_tallies, _COLUMNS, rows, _ADD)


async def is_due(database: Database) -> bool:
    """Whether anything is past its time."""
    return bool(await database.look(_PAST, kept=tallies.KEPT))


async def forget(tx: Tx) -> int:
    """Delete a batch of what is past its time; how much."""
    rows = await tx.fetch(_PAST, now=tx.now, kept=tallies.KEPT)
    await tx.each(_DELETE, rows)
    return len(rows)
