"""Counts of values by bucket: plain numbers that grow, and are read when somebody asks."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

#: Milliseconds of a delivery or an attempt: from a call on the same machine to the longest attempt.
DURATIONS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
#: Milliseconds that grow to the hours in which a delivery may be tried again.
WAITS: Final = (5, 10, 25, 50, 100, 250, 1_000, 5_000, 30_000, 300_000, 3_600_000, 86_400_000)
#: Things that are done together.
BATCHES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Histogram:
    """How many values were at most each of ``bounds``, which ascend, and how many were above."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        #: By bucket, each for itself; the last is for what is above every bound.
        self.counts = [0] * (len(self.bounds) + 1)
        #: The sum of the values.
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
