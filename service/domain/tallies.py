"""Counts of attempts by how long they took: small enough to keep, good enough for percentiles.

A bucket holds the durations up to a power of the square root of two, so that a percentile is
told to within a fifth of what it is. Counts belong to slices of time, and add up.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Final

#: Milliseconds of a slice of one subscription's counts, and of those of the whole service.
OWN_SLICE: Final = 600_000
WHOLE_SLICE: Final = 60_000
#: Milliseconds that counts are kept.
KEPT: Final = 86_400_000

_PER_OCTAVE: Final = 2
#: A duration of some 50 days; nothing takes longer than retention.
_LAST: Final = 64


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


def every(counted: Iterable[Tally], length: int, now: int) -> list[Tally]:
    """One for each ``length`` ms of the time that counts are kept, the one under way included.

    Those of the same time are added up; also a time of which nothing was counted has one.
    """
    first = slice_of(now - KEPT, length) + length
    of_each: dict[int, list[Tally]] = {at: [] for at in range(first, now + 1, length)}
    for tally in counted:
        if (at := slice_of(tally.at, length)) in of_each:
            of_each[at].append(tally)
    return [_added(at, parts) for at, parts in of_each.items()]


def _added(at: int, parts: Iterable[Tally]) -> Tally:
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
    return min(max(ceil(log2(max(ms, 1.0)) * _PER_OCTAVE), 0), _LAST)


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
