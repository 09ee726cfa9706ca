"""Reads of how deliveries go. None of them reads more than a bounded number of rows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import bindparam, case, func, select

from service.domain import tallies
from service.domain.delivery import DeliveryStatus
from service.domain.health import Health, without_circuit
from service.domain.tallies import Tally
from service.domain.traffic import Range, first_of
from service.ports import Attempts, Percentiles, ServiceStats, SubscriptionStats
from service.store import health, hours
from service.store.database import Database, Tx
from service.store.schema import (
    dead_letters,
    deliveries,
    delivery_queue,
    subscriptions,
)
from service.store.schema_health import subscription_health
from service.store.statements import Row, Statement
from service.store.tallying import TALLIES, WHOLE, tally

#: Rows of a kind that are counted: some 10 ms of reading.
COUNTED: Final = 10_000
_HOUR: Final = 3_600_000
#: Milliseconds over which the service's delivery times are told.
_MINUTES: Final = 300_000

_open = (
    select(
        case(
            (delivery_queue.c.token.is_(None), DeliveryStatus.PENDING.value),
            else_=DeliveryStatus.DELIVERING.value,
        ).label("status")
    )
    .where(delivery_queue.c.subscription_no == bindparam("lane"))
    .limit(bindparam("most"))
    .subquery()
)
_finished = (
    select(deliveries.c.status)
    .where(deliveries.c.subscription_no == bindparam("lane"))
    .order_by(deliveries.c.event_key.desc())
    .limit(bindparam("most"))
    .subquery()
)
_letters = (
    select(dead_letters.c.event_key)
    .where(dead_letters.c.subscription_no == bindparam("lane"), dead_letters.c.state == "open")
    .limit(bindparam("most"))
    .subquery()
)
_BY_STATUS: Final = tuple(
    Statement(select(rows.c.status, func.count()).group_by(rows.c.status))
    for rows in (_open, _finished)
)
_OPEN_LETTERS: Final = Statement(select(func.count()).select_from(_letters))
_IN_FLIGHT: Final = Statement(
    select(func.count()).select_from(delivery_queue).where(delivery_queue.c.token.is_not(None))
)
_ANY: Final = Statement(select(delivery_queue.c.due_at).limit(1))
_CIRCUITS: Final = Statement(
    select(
        func.count().filter(subscription_health.c.open_until > bindparam("now")),
        func.count().filter(subscription_health.c.open_until <= bindparam("now")),
    )
    .join(subscriptions, subscriptions.c.no == subscription_health.c.subscription_no)
    .where(
        subscription_health.c.trips > 0,
        subscriptions.c.deleted_at.is_(None),
        subscriptions.c.status != "disabled",
    )
)


class StatsReads:
    """See :class:`service.ports.StatsStore`. Without a ``breaker`` no circuit is open."""

    def __init__(self, database: Database, *, breaker: bool) -> None:
        self._database = database
        self._breaker = breaker

    async def subscription_stats(self, subscription_no: int) -> SubscriptionStats:
        """How one subscription's deliveries go."""
        counts: Counter[str] = Counter({status.value: 0 for status in DeliveryStatus})
        capped = False
        given = {"lane": subscription_no, "most": COUNTED + 1}
        async with self._database.read() as tx:
            for statement in _BY_STATUS:
                rows = await tx.fetch(statement, **given)
                counts.update(dict(rows))
                capped |= sum(count for _, count in rows) > COUNTED
            letters = (await tx.fetch(_OPEN_LETTERS, **given))[0][0]
            known = (await self._healths(tx, [subscription_no]))[subscription_no]
            day = await _since(tx, subscription_no, tallies.KEPT)
        return SubscriptionStats(
            deliveries=counts,
            dead_letters_open=letters,
            is_capped=capped or letters > COUNTED,
            last_hour=_attempts(row for row in day if row[0] > tx.now - _HOUR),
            last_day=_attempts(day),
            durations=_percentiles((bucket, good + bad) for _, bucket, good, bad in day),
            health=known,
            at=tx.now,
        )

    async def subscription_attempts(self, subscription_no: int, wanted: Range) -> list[Tally]:
        """One subscription's attempts over a range up to now, by its steps, oldest first.

        Those of slices are read however old they are: what is past its day may not be by the hour
        yet.
        """
        async with self._database.read() as tx:
            first = first_of(wanted, tx.now)
            rows = await tx.fetch(TALLIES, lane=subscription_no, after=first - 1)
            counted = [tally(row) for row in rows]
            if wanted.slices > tallies.OWN_SLICE:
                counted += await hours.since(tx, subscription_no, first)
            return tallies.every(counted, wanted, tx.now)

    async def healths(self, subscription_nos: Sequence[int]) -> tuple[dict[int, Health], int]:
        """What is remembered of these receivers, and the moment of that."""
        async with self._database.read() as tx:
            return await self._healths(tx, subscription_nos), tx.now

    async def _healths(self, tx: Tx, numbers: Sequence[int]) -> dict[int, Health]:
        """What is remembered, less a circuit that does not count here."""
        known = await health.read(tx, numbers) if numbers else {}
        found = {each: known.get(each, Health()) for each in numbers}
        if self._breaker:
            return found
        return {number: without_circuit(each) for number, each in found.items()}

    async def check(self) -> None:
        """Read what is next to nothing, and write as much if a change was not taken before.

        Raises:
            StoreUnavailableError: the store cannot be read, or takes no changes.
        """
        await self._database.look(_ANY)
        await self._database.recheck()

    async def service_stats(self) -> ServiceStats:
        """How all deliveries go."""
        async with self._database.read() as tx:
            in_flight = (await tx.fetch(_IN_FLIGHT))[0][0]
            circuits = await tx.fetch(_CIRCUITS, now=tx.now) if self._breaker else [(0, 0)]
            recent = await _since(tx, WHOLE, _MINUTES)
        present = tallies.slice_of(tx.now, tallies.WHOLE_SLICE)
        new, last = (
            _attempts(row for row in recent if row[0] == present - back)
            for back in (0, tallies.WHOLE_SLICE)
        )
        return ServiceStats(
            in_flight=in_flight,
            delivered_per_minute=tallies.per_minute(last.succeeded, new.succeeded, tx.now),
            failed_per_minute=tallies.per_minute(last.failed, new.failed, tx.now),
            delivery_times=_percentiles((bucket, good) for _, bucket, good, _ in recent),
            circuits_open=circuits[0][0],
            circuits_half_open=circuits[0][1],
        )


async def _since(tx: Tx, lane: int, ms: int) -> list[Row]:
    """The counts (slice, bucket, succeeded, failed) of slices that began less than ``ms`` ago."""
    return await tx.fetch(TALLIES, lane=lane, after=tx.now - ms)


def _attempts(rows: Iterable[Row]) -> Attempts:
    counted = [row[2:] for row in rows]
    return Attempts(sum(good for good, _ in counted), sum(bad for _, bad in counted))


def _percentiles(buckets: Iterable[tuple[int, int]]) -> Percentiles:
    counts: Counter[int] = Counter()
    for bucket, count in buckets:
        counts[bucket] += count
    return Percentiles(tallies.percentile(counts, 0.5), tallies.percentile(counts, 0.95))
