"""The two adapters that read time and chance."""

import os
import random
import time


class SystemClock:
    """The machine's clock. See :class:`service.ports.Clock`."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    #: Seconds that never jump. It is asked for ten times a delivery: a call of our own is left out.
    monotonic = staticmethod(time.monotonic)


class SystemDice:
    """The machine's chance. See :class:`service.ports.Dice`."""

    def random(self) -> float:
        """A number in [0, 1), good for jitter."""
        return random.random()  # noqa: S311  jitter is no secret

    def bytes(self, count: int) -> bytes:
        """``count`` bytes nobody can guess."""
        return os.urandom(count)
