"""Counts of attempts by how long they took: small enough to keep, good enough for percentiles.

A bucket holds the durations up to a power of the square root of two, so that a percentile is
told to within a fifth of what it is. Counts belong to slices of time, and add up.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from service.domain.traffic import DAY, HOUR, MINUTE, Range, first_of

#: Milliseconds of a slice of one subscription's counts, and of those of the whole service.
OWN_SLICE: Final = 10 * MINUTE
WHOLE_SLICE: Final = MINUTE
#: Milliseconds that counts are kept by slices; and those of one subscription then by the hour.
KEPT: Final = DAY
HOURS_KEPT: Final = 31 * DAY

#: How far is looked back at one subscription: first what its slices are kept for.
RANGES: Final[Mapping[str, Range]] = {
    each.name: each
    for each in (
        Range("6h", 6 * HOUR, OWN_SLICE, OWN_SLICE, HOUR // 2),
        Range("24h", DAY, OWN_SLICE, OWN_SLICE, HOUR),
        Range("7d", 7 * DAY, HOUR, HOUR, DAY),
        Range("30d", 30 * DAY, HOUR, 3 * HOUR, DAY),
    )
}

_PER_OCTAVE: Final = 2
#: A duration of some 50 days; nothing takes longer than retention.
_LAST: Final = 64
#: The longest durations (ms) of the buckets before that.
_BOUNDS: Final = tuple(2 ** (bucket / _PER_OCTAVE) for bucket in range(_LAST))


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted from ``at`` (ms) on: attempts by what came of them, and by bucket."""

    at: int
    succeeded: int = 0
    failed: int = 0
    took: Mapping[int, int] = field(default_factory=dict)

    def percentile(self, share: float) -> float | None:
        """The duration (ms) that ``share`` of the attempts did not exceed; ``None``: no attempt."""
        return percentile(self.took, share)


def every(counted: Iterable[Tally], wanted: Range, now: int) -> list[Tally]:
    """One for each step of a range up to now, the one under way included.

    Those of the same step are added up; also a step in which nothing was counted has one.
    """
    of_each: dict[int, list[Tally]] = {
        at: [] for at in range(first_of(wanted, now), now + 1, wanted.step)
    }
    for tally in counted:
        if (at := slice_of(tally.at, wanted.step)) in of_each:
            of_each[at].append(tally)
    return [added(at, parts) for at, parts in of_each.items()]


def lines(points: Sequence[Tally], wanted: Range) -> list[Tally]:
    """The points of a range, put together to the lines of a table."""
    found = []
    for _, some in groupby(points, lambda each: slice_of(each.at, wanted.line)):
        parts = list(some)
        found.append(added(parts[0].at, parts))
    return found


def added(at: int, parts: Iterable[Tally]) -> Tally:
    """What was counted in all parts."""
    succeeded = failed = 0
    took: Counter[int] = Counter()
    for each in parts:
        succeeded, failed = succeeded + each.succeeded, failed + each.failed
        took.update(each.took)
    return Tally(at, succeeded, failed, took)


def slice_of(at: int, length: int) -> int:
    """When the slice of a moment begins."""
    return at - at % length


def bucket_of(ms: float) -> int:
    """The bucket of a duration: 0 for up to a millisecond."""
    return bisect_left(_BOUNDS, ms)


def longest(bucket: int) -> float:
    """The longest duration (ms) of a bucket; what is in the last one may have been longer."""
    return float(2 ** (bucket / _PER_OCTAVE))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The duration (ms) that ``share`` of what was counted does not exceed; ``None``: no counts."""
    wanted = sum(counts.values()) * share
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if counts[bucket] and seen >= wanted:
            return round(_middle(bucket), 1)
    return None


def per_minute(last: int, present: int, now: int) -> float:
    """Counts per minute: of the slice under way, and of as much of the last one as is missing."""
    gone = (now % WHOLE_SLICE) / WHOLE_SLICE
    return round(present + last * (1 - gone), 1)


def _middle(bucket: int) -> float:
    """What stands for the durations of a bucket: the geometric middle of its bounds."""
    return float(2 ** ((bucket - 0.5) / _PER_OCTAVE)) if bucket else 1.0
