"""The server's time: all processes go by one clock."""

from typing import Final

from service.ports import Clock
from service.store.postgres import compiling

#: Seconds for which nobody asks for the server's time again.
_FRESH: Final = 1.0
#: Milliseconds by which two clocks may come to differ within a second, at most.
_DRIFT: Final = 1.0


class ServerTime:
    """The server's clock, as last heard, plus what has passed here since.

    Where this machine's clock is set makes no difference. What is heard has aged on its way here,
    by as much as this process was busy meanwhile: so of all that is heard what puts the clock
    furthest ahead counts, and is a little behind at most. A time too early would be a retry too
    soon.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind = 0.0
        #: When that was heard, and when anything was (monotonic).
        self._since = self._heard_at = float("-inf")

    def heard(self, now: int, at: float) -> None:
        """Note what the server's clock showed, in ms, ``at`` this moment of ours or before it."""
        behind = now - at * 1000
        worth = self._behind - (at - self._since) * _DRIFT
        if behind > worth or abs(behind - self._behind) > compiling.OFF:
            self._behind, self._since = behind, at
        self._heard_at = at

    @property
    def is_fresh(self) -> bool:
        """Whether it was heard a moment ago."""
        return self._clock.monotonic() - self._heard_at < _FRESH

    def monotonic(self) -> float:
        """Seconds that never jump, of this machine."""
        return self._clock.monotonic()

    def now(self) -> int:
        """What the server's clock shows, in ms."""
        return round(self._clock.monotonic() * 1000 + self._behind)
