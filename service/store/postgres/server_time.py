"""The server's time: all processes go by one clock."""

from typing import Final

from service.ports import Clock

#: Seconds for which nobody asks for the server's time again.
_FRESH: Final = 1.0


class ServerTime:
    """The server's clock, as last heard, plus what has passed here since.

    Where this machine's clock is set makes no difference.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind = 0.0
        self._heard_at = float("-inf")

    def heard(self, now: int, at: float) -> None:
        """Note what the server's clock showed, in ms, ``at`` this moment of ours (monotonic, s)."""
        self._behind = now - at * 1000
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
