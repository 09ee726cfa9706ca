"""Counts over time: added to a slice's rows while it runs, read back for charts, deleted in time.

Counts are added to the minute and to the hour alike, so nothing has to be summed up later. Rows are
written in the order of their keys. All processes write those of all tenants together: see
:mod:`service.store.counting`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from sqlalchemy import bindparam, func, select

from service.domain import tallies
from service.domain.traffic import (
    EVERYBODY,
    KEPT,
    Gauges,
    Point,
    Range,
    bucket_of,
    filled,
    first_of,
)
from service.ports import StoreBusyError
from service.store.database import Database, Job, Tx, alone
from service.store.schema import Big
from service.store.schema_traffic import COUNTS, GAUGES, TOOK, traffic
from service.store.statements import CHUNK, Many, Row, Statement, one_of

_own = traffic.c
_KEY: Final = tuple(traffic.primary_key.columns)
_KEYS: Final = tuple(column.name for column in _KEY)
_SUMMED: Final = (*COUNTS, *TOOK)
_ADD: Final = f"ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET " + ", ".join(
    f"{name} = traffic.{name} + excluded.{name}" for name in _SUMMED
)
_LOOK: Final = f"ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET " + ", ".join(
    f"{name} = CASE WHEN traffic.{name} > excluded.{name} THEN traffic.{name} "
    f"ELSE excluded.{name} END"
    for name in GAUGES
)
_POINTS: Final = Statement(
    select(
        (_own.slice_at - _own.slice_at % bindparam("step", type_=Big)).label("at"),
        *(func.sum(_own[name]) for name in COUNTS),
        *(func.max(_own[name]) for name in GAUGES),
        *(func.sum(_own[name]) for name in TOOK),
    )
    .where(
        _own.tenant_id == bindparam("tenant"),
        _own.length == bindparam("length"),
        _own.slice_at >= bindparam("since"),
    )
    .group_by("at")
    .order_by("at")
)
_PAST: Final = Statement(
    select(*_KEY)
    .where(
        _own.length == bindparam("length"),
        _own.slice_at < bindparam("now", type_=Big) - bindparam("kept", type_=Big),
    )
    .limit(CHUNK)
)
_OF_TENANT: Final = Statement(
    select(*_KEY).where(_own.tenant_id == bindparam("tenant")).limit(CHUNK)
)
_DELETE: Final = Many(f"DELETE FROM traffic WHERE {one_of(_KEYS)}", *_KEY)


class Count(NamedTuple):
    """What is counted together: a column of a tenant's row of a minute."""

    tenant_id: str
    minute: int
    column: str


def took(ms: float) -> str:
    """The column in which a delivery counts that took so long."""
    return TOOK[bucket_of(ms)]


async def add(tx: Tx, counts: Mapping[Count, int]) -> None:
    """Add to what is counted already: of each tenant, and of all together."""
    rows: dict[Row, Counter[str]] = {}
    for (tenant, minute, column), count in counts.items():
        for owner in (tenant, EVERYBODY):
            for length in KEPT:
                key = (owner, length, tallies.slice_of(minute, length))
                rows.setdefault(key, Counter())[column] += count
    values = [(*key, *(rows[key][name] for name in _SUMMED)) for key in sorted(rows)]
    await tx.insert(traffic, (*_KEYS, *_SUMMED), values, _ADD)


async def purge(tx: Tx, tenant_id: str) -> int:
    """Delete a batch of what was counted of a tenant; how many rows."""
    return await _delete(tx, await tx.fetch(_OF_TENANT, tenant=tenant_id))


class TrafficStore:
    """See :class:`service.ports.TrafficStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def points(self, tenant_id: str | None, wanted: Range) -> list[Point]:
        """What was counted of a tenant, or of all, over a range up to now."""
        async with self._database.read() as tx:
            rows = await tx.fetch(
                _POINTS,
                tenant=EVERYBODY if tenant_id is None else tenant_id,
                length=wanted.slices,
                since=first_of(wanted, tx.now),
                step=wanted.step,
            )
            return filled(map(_point, rows), wanted, tx.now)

    async def sample(self, gauges: Gauges) -> None:
        """Keep how the queue stands, where it did not stand fuller in the same slice.

        A look is lost when somebody else holds the rows for long.
        """

        async def job(tx: Tx) -> None:
            await tx.limit_waits()
            values = tuple(getattr(gauges, name) for name in GAUGES)
            keys = [(EVERYBODY, length, tallies.slice_of(tx.now, length)) for length in KEPT]
            rows = [(*key, *values) for key in sorted(keys)]
            await tx.insert(traffic, (*_KEYS, *GAUGES), rows, _LOOK)

        with suppress(StoreBusyError):
            await self._database.write(job)

    async def forget(self) -> int:
        """Delete a batch of what is past its time; how many rows."""
        for length, kept in KEPT.items():
            given = {"length": length, "kept": kept}
            if await self._database.look(_PAST, **given):
                return await self._database.write(alone(_deletion(given), 0))
        return 0


def _deletion(given: Mapping[str, int]) -> Job[int]:
    async def job(tx: Tx) -> int:
        return await _delete(tx, await tx.fetch(_PAST, now=tx.now, **given))

    return job


async def _delete(tx: Tx, keys: Sequence[Row]) -> int:
    await tx.each(_DELETE, keys)
    return len(keys)


def _point(row: Row) -> Point:
    at, accepted, delivered, failed, dead, *rest = row
    gauges, times = Gauges(*rest[: len(GAUGES)]), rest[len(GAUGES) :]
    return Point(at, 0, accepted, delivered, failed, dead, times, gauges)
