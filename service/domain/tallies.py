"""Counts of attempts by how long they took: small enough to keep, good enough for percentiles.

A bucket holds the durations up to a power of the square root of two, so that a percentile is
told to within a fifth of what it is. Counts belong to slices of time, and add up.
"""

from collections.abc import Mapping
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
