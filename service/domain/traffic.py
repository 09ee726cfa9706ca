"""How things went over time: small counts by the minute and by the hour, and what is drawn of them.

A slice of time has one row for each tenant and one for all of them together. It holds how much
came in, went out and failed, and a histogram of how long deliveries took, so rows add up to rows of
longer slices.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

MINUTE: Final = 60_000
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
#: The lengths of slices, and how long (ms) those of each are kept: as far as is looked back in
#: them, and a little.
KEPT: Final[Mapping[int, int]] = {MINUTE: DAY + HOUR, HOUR: 31 * DAY}

#: In the place of a tenant: all of them together.
EVERYBODY: Final = ""

#: Milliseconds up to which the buckets of delivery times go; what takes longer is in one more.
BOUNDS: Final = (
    *(2**power for power in range(17)),
    *(5 * MINUTE, 30 * MINUTE, 2 * HOUR, 10 * HOUR, DAY, 3 * DAY),
)
BUCKETS: Final = len(BOUNDS) + 1


@dataclass(frozen=True, slots=True)
class Range:
    """A time to look back over. All are ms."""

    name: str
    span: int
    #: The length of the slices that are read for it.
    slices: int
    #: Between two points of a chart, and between two lines of a table.
    step: int
    line: int


RANGES: Final[Mapping[str, Range]] = {
    each.name: each
    for each in (
        Range("1h", HOUR, MINUTE, MINUTE, 5 * MINUTE),
        Range("6h", 6 * HOUR, MINUTE, 2 * MINUTE, 30 * MINUTE),
        Range("24h", DAY, MINUTE, 5 * MINUTE, 2 * HOUR),
        Range("7d", 7 * DAY, HOUR, HOUR, DAY),
        Range("30d", 30 * DAY, HOUR, 3 * HOUR, DAY),
    )
}


@dataclass(frozen=True, slots=True)
class Gauges:
    """How the queue stood at its fullest; ``None`` where nobody looked."""

    in_flight: int | None = None
    due: int | None = None
    #: ms.
    oldest_due_age: int | None = None
    dead_letters_open: int | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """What was counted from ``at`` (ms) on, over ``length`` ms."""

    at: int
    length: int
    accepted: int = 0
    delivered: int = 0
    #: Attempts.
    failed: int = 0
    #: Dead letters that were made.
    dead: int = 0
    #: How many deliveries took how long, from their events on: a count for each bucket.
    took: Sequence[int] = (0,) * BUCKETS
    gauges: Gauges = Gauges()

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not any((self.accepted, self.delivered, self.failed, self.dead))

    def per_minute(self, count: int) -> float:
        """A count of this point as a rate."""
        return round(count * MINUTE / self.length, 2)

    def percentile(self, share: float) -> float | None:
        """Milliseconds that ``share`` of the deliveries did not exceed; ``None``: there are none.

        It is read off between the bounds of a bucket, so it may be wrong by a third of itself.
        """
        wanted, seen = sum(self.took) * share, 0
        for bucket, count in enumerate(self.took):
            if count and seen + count >= wanted:
                low, high = _bounds(bucket)
                return round(float(low * (high / low) ** ((wanted - seen) / count)), 1)
            seen += count
        return None


_NOTHING: Final = Point(0, 0)


def bucket_of(ms: float) -> int:
    """The bucket of a delivery time."""
    return bisect_left(BOUNDS, ms)


def first_of(wanted: Range, now: int) -> int:
    """When the first point of a range begins: points begin at whole steps."""
    return _floor(now - wanted.span, wanted.step) + wanted.step


def filled(counted: Iterable[Point], wanted: Range, now: int) -> list[Point]:
    """One point a step up to ``now``, also where nothing was counted.

    The last one is there as soon as it is a minute long.
    """
    known = {each.at: each for each in counted}
    points = []
    for at in range(first_of(wanted, now), now - MINUTE + 1, wanted.step):
        length = min(wanted.step, now - at)
        points.append(replace(known.get(at, _NOTHING), at=at, length=length))
    return points


def lines(points: Sequence[Point], wanted: Range) -> list[Point]:
    """The points of a range, put together to the lines of a table."""
    found = []
    for _, some in groupby(points, lambda each: _floor(each.at, wanted.line)):
        parts = list(some)
        found.append(added(parts[0].at, sum(each.length for each in parts), parts))
    return found


def added(at: int, length: int, parts: Sequence[Point]) -> Point:
    """What was counted in all parts, and the most that was seen in any."""
    return Point(
        at=at,
        length=length,
        accepted=sum(each.accepted for each in parts),
        delivered=sum(each.delivered for each in parts),
        failed=sum(each.failed for each in parts),
        dead=sum(each.dead for each in parts),
        took=[sum(each.took[bucket] for each in parts) for bucket in range(BUCKETS)],
        gauges=_fullest([each.gauges for each in parts]),
    )


def _fullest(gauges: Sequence[Gauges]) -> Gauges:
    return Gauges(
        in_flight=_most(each.in_flight for each in gauges),
        due=_most(each.due for each in gauges),
        oldest_due_age=_most(each.oldest_due_age for each in gauges),
        dead_letters_open=_most(each.dead_letters_open for each in gauges),
    )


def _most(values: Iterable[int | None]) -> int | None:
    return max((each for each in values if each is not None), default=None)


def _bounds(bucket: int) -> tuple[float, float]:
    low = BOUNDS[bucket - 1] if bucket else BOUNDS[0] / 2
    return low, BOUNDS[bucket] if bucket < len(BOUNDS) else 2 * low


def _floor(at: int, length: int) -> int:
    return at - at % length
