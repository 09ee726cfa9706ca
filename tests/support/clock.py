"""A clock that tests set."""

from dataclasses import dataclass


@dataclass(slots=True)
class FakeClock:
    """Stands still until it is told otherwise. ``at`` is in ms."""

    at: int = 1_750_000_000_000
    seconds: float = 1_000.0

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, ms: int) -> None:
        """Let time pass on both faces."""
        self.at += ms
        self.seconds += ms / 1000
