"""A bound on what is told a second, so that nobody can fill a disk by what goes wrong for him."""

from typing import Final

#: A second, of a kind: nobody reads more.
MOST: Final = 50
#: The same of what anybody can bring about, known or not.
OF_STRANGERS: Final = 5


class Few:
    """Lets so many through in each second, and counts those that it keeps back."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = -1
        self._let = 0
        self._kept = 0

    def through(self, now: float) -> int | None:
        """How many were kept back since one went through last; ``None``: this one is, too.

        ``now`` is in seconds.
        """
        if int(now) != self._second:
            self._second, self._let = int(now), 0
        if self._let >= self._most:
            self._kept += 1
            return None
        self._let += 1
        kept, self._kept = self._kept, 0
        return kept
