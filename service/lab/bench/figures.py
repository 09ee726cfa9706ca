"""The figures: their units, and what they are to be.

The targets are those of a machine with 2 cores that carries everything at once: service, database,
generator and receiver.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: What a row gives: a value for each figure.
Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must be, and what it is aimed to be."""

    must: float
    aim: float
    #: Whether more is better.
    more: bool = False

    def verdict(self, value: float) -> str:
        """``aim``, ``must`` or ``missed``: the best that the value reaches."""
        for name, bound in (("aim", self.aim), ("must", self.must)):
            if value >= bound if self.more else value <= bound:
                return name
        return "missed"


_RATE: Final = {
    "embedded": Target(4_000, 7_000, more=True),
    "distributed": Target(5_000, 8_000, more=True),
}
_CPU: Final = {"embedded": Target(250, 140), "distributed": Target(250, 170)}
#: What is asked of the embedded service alone.
_IDLE: Final = {"embedded": Target(1.0, 0.3)}
_MEMORY: Final = {"embedded": Target(150, 100)}
_START: Final = {"embedded": Target(3, 1)}

#: By mode, row and figure.
_BY_MODE: Final = {
    ("deliveries", "rate"): _RATE,
    ("deliveries", "service cpu"): _CPU,
    ("deliveries-batch", "rate"): _RATE,
    ("deliveries-batch", "service cpu"): _CPU,
    ("idle", "cpu"): _IDLE,
    ("idle", "memory"): _MEMORY,
    ("start", "ready in"): _START,
}
_TARGETS: Final = {
    ("bare", "ratio"): Target(0.3, 0.6, more=True),
    ("fsync", "ratio"): Target(0.8, 1.0, more=True),
    ("naive", "ratio"): Target(12, 25, more=True),
    ("ingest", "rate"): Target(8_000, 15_000, more=True),
    ("ingest-batch", "rate"): Target(30_000, 60_000, more=True),
    ("latency-100", "p50"): Target(5, 2.5),
    ("latency-100", "p99"): Target(15, 6),
    ("latency-1000", "p50"): Target(5, 2.5),
    ("latency-1000", "p99"): Target(15, 6),
    ("latency-3000", "p99"): Target(40, 12),
    ("fan-out", "accepted in"): Target(50, 50),
    ("fan-out", "delivered in"): Target(1_000, 300),
    ("growth", "cpu ratio"): Target(1.3, 1.05),
    ("backlog", "ratio"): Target(0.8, 1.0, more=True),
    ("workers", "ratio"): Target(1.8, 1.95, more=True),
    ("watchers", "memory per 1,000"): Target(40, 25),
    ("lists", "slowest p95"): Target(200, 100),
}

_UNITS: Final = {
    "rate": "/s",
    "rate of one": "/s",
    "ratio": "x",
    "cpu ratio": "x",
    "cpu": "%",
    "memory": "MB",
    "memory per 1,000": "MB",
    "ready in": "s",
    "first start": "s",
    "prepared": "deliveries",
    "drained": "deliveries",
    "listed": "deliveries",
}
_ENDINGS: Final = {" cpu": "us each", " each": "", " memory": "MB", " share": "%"}


def target(mode: str, row: str, figure: str) -> Target | None:
    """What a figure of a row is to be; ``None`` where nothing is said of it."""
    by_mode = _BY_MODE.get((row, figure))
    return _TARGETS.get((row, figure)) if by_mode is None else by_mode.get(mode)


def unit(figure: str) -> str:
    """What a figure is in."""
    known = _UNITS.get(figure)
    if known is not None:
        return known
    by_ending = (unit for ending, unit in _ENDINGS.items() if figure.endswith(ending))
    return next(by_ending, "ms")
