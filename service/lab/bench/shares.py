"""Shares of many measurements: the median, the slowest hundredth, the slowest thousandth."""

from collections.abc import Sequence
from typing import Final

_SHARES: Final = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
#: Measurements beyond a share, fewer of which say nothing about it.
_ENOUGH: Final = 2


def shares(micros: Sequence[int]) -> dict[str, float]:
    """Milliseconds that each share stays within; only those for which there are enough."""
    ordered = sorted(micros)
    return {
        name: ordered[round(len(ordered) * share) - 1] / 1000
        for name, share in _SHARES.items()
        if len(ordered) * (1 - share) >= _ENOUGH
    }
