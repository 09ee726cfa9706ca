"""Counts of attempts, added up in the store and read back.

Each attempt counts twice: for its subscription, by how long it took, and for its tenant, by how
long its delivery took from the event on. What is counted for tenants adds up to the whole service
(as subscription 0), and is also kept over time (:mod:`service.store.traffic`); what is counted for
subscriptions is so once its day is over (:mod:`service.store.hours`). All processes add to the same
rows: see :mod:`service.store.counting`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam, select

from service.domain import ids, tallies
from service.domain.delivery import Trigger
from service.domain.retry import Delivered
from service.domain.tallies import Tally
from service.ports import Settlement
from service.store import hours, traffic
from service.store.burying import Corpse
from service.store.database import Database, Tx
from service.store.schema import Big
from service.store.schema_health import attempt_tallies
from service.store.statements import CHUNK, Many, Statement, one_of

#: In the place of a subscription's number.
WHOLE: Final = 0
#: In the place of a bucket: a success that did not come on schedule, whose way is no measure; a
#: dead letter; an accepted event.
_UNTIMED, _DEAD, _ACCEPTED = -1, -2, -3
#: The counts over time of what is no attempt.
_NO_ATTEMPTS: Final = {_DEAD: "dead", _ACCEPTED: "accepted"}

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
    f"DELETE FROM attempt_tallies WHERE {one_of([column.name for column in _KEY])} "
    f"RETURNING {', '.join(_COLUMNS)}",
    *_KEY,
)


class Key(NamedTuple):
    """What is counted together."""

    #: The number of a subscription, or a tenant.
    owner: int | str
    slice_at: int
    bucket: int
    succeeded: bool


Counts = Counter[Key]


def counts_of(kept: Iterable[Settlement], dead: Iterable[Corpse], now: int) -> Counts:
    """What results that are settled ``now``, and what died of them, add to the counts."""
    own, whole = (tallies.slice_of(now, each) for each in (tallies.OWN_SLICE, tallies.WHOLE_SLICE))
    made = [(each, isinstance(each.verdict, Delivered)) for each in kept]
    # plain tuples, which many results have in common, before they are keys
    of_lanes = Counter(
        (each.claimed.ref.subscription_no, tallies.bucket_of(each.outcome.timing.total), ok)
        for each, ok in made
    )
    of_tenants = Counter((each.claimed.tenant_id, _way(each, now, ok=ok), ok) for each, ok in made)
    of_tenants.update((corpse.tenant_id, _DEAD, False) for corpse in dead)
    slices = ((own, of_lanes), (whole, of_tenants))
    return Counts(
        {
            Key(owner, at, bucket, ok): count
            for at, counted in slices
            for (owner, bucket, ok), count in counted.items()
        }
    )


def accepted(tenants: Iterable[str], now: int) -> Counts:
    """What events add to the counts that were accepted ``now``, one of each of these tenants."""
    minute = tallies.slice_of(now, tallies.WHOLE_SLICE)
    each = Counter(tenants)
    return Counts({Key(who, minute, _ACCEPTED, succeeded=True): n for who, n in each.items()})


async def add(tx: Tx, counts: Mapping[Key, int]) -> None:
    """Add to what is counted already."""
    tallied = Counts()
    over_time: Counter[traffic.Count] = Counter()
    for key, count in counts.items():
        tenant = key.owner
        if not isinstance(tenant, str):
            tallied[key] += count
            continue
        if key.bucket >= 0:
            tallied[key._replace(owner=WHOLE)] += count
        for column in _columns(key):
            over_time[traffic.Count(tenant, key.slice_at, column)] += count
    places = sorted({key[:3] for key in tallied})
    rows = [
        (*place, *(tallied[Key(*place, succeeded=is_good)] for is_good in (True, False)))
        for place in places
    ]
    await tx.insert(attempt_tallies, _COLUMNS, rows, _ADD)
    await traffic.add(tx, over_time)


async def is_due(database: Database) -> bool:
    """Whether anything is past its time."""
    return bool(await database.look(_PAST, kept=tallies.KEPT))


async def forget(tx: Tx) -> int:
    """Delete a batch of what is past its time; how much. Subscriptions keep it by the hour."""
    rows = await tx.each(_DELETE, await tx.fetch(_PAST, now=tx.now, kept=tallies.KEPT))
    await hours.add(tx, ((lane, tally(row)) for lane, *row in rows if lane != WHOLE))
    return len(rows)


def _way(each: Settlement, now: int, *, ok: bool) -> int:
    """The bucket of how long a delivery took from its event on."""
    if not ok:
        return tallies.bucket_of(0)
    claimed = each.claimed
    if claimed.trigger is not Trigger.SCHEDULE:
        return _UNTIMED
    return tallies.bucket_of(now - ids.key_time(claimed.ref.event_key))


def tally(row: Sequence[int]) -> Tally:
    """What a row (slice, bucket, succeeded, failed) has counted."""
    at, bucket, succeeded, failed = row
    return Tally(at, succeeded, failed, {bucket: succeeded + failed})


def _columns(key: Key) -> Iterator[str]:
    """The counts over time to which a tenant's belong."""
    if key.bucket in _NO_ATTEMPTS:
        yield _NO_ATTEMPTS[key.bucket]
        return
    yield "delivered" if key.succeeded else "failed"
    if key.succeeded and key.bucket != _UNTIMED:
        yield traffic.took(tallies.longest(key.bucket))
