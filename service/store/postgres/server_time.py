"""The server's time: all processes go by one clock."""

from service.ports import Clock


class ServerTime:
    """The server's clock, as last heard, plus what has passed here since.

    Where this machine's clock is set makes no difference.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind = 0.0

    def heard(self, now: int) -> None:
        """Note what the server's clock shows, in ms."""
        self._behind = now - self._clock.monotonic() * 1000

    def now(self) -> int:
        """What the server's clock shows, in ms."""
        return round(self._clock.monotonic() * 1000 + self._behind)
