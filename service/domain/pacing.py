"""A subscription's rate, its own or what its receiver agreed to: when may the next one go?

The generic cell rate algorithm: of a stream that keeps exactly to its rate only one moment is
remembered, that of the next send. What a timer cannot tell apart may go together: up to
``GRAIN`` seconds' worth, which is one at a time below 40 a second. Moments are monotonic seconds.
"""

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Final

#: Seconds of sends that may go together.
GRAIN: Final = 0.05
#: Far below a send's worth: what sums of fractions may be off.
_NOISE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Pacing:
    """A rate (sends per second), and when a stream at that rate would send next."""

    rate: float
    next_at: float = 0.0

    @property
    def burst(self) -> int:
        """How many may go at once after a pause."""
        return max(1, floor(self.rate * GRAIN))


def room(pacing: Pacing, now: float) -> int:
    """How many may go now; less than half a burst is not worth a look."""
    ahead = max(pacing.next_at - now, 0.0) * pacing.rate
    count = pacing.burst - ceil(ahead - _NOISE)
    return count if 2 * count >= pacing.burst else 0


def sent(pacing: Pacing, count: int, now: float) -> Pacing:
    """After ``count`` went."""
    return replace(pacing, next_at=max(pacing.next_at, now) + count / pacing.rate)


def opens_at(pacing: Pacing) -> float:
    """When to look again."""
    half = (pacing.burst + 1) // 2
    return pacing.next_at - (pacing.burst - half) / pacing.rate
