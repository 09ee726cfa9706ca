"""Gathering: a little patience before a group is cut.

Where somebody waits for it, that is turns of the event loop instead of time. A turn hands over what
has come from the network meanwhile. On a busy service it takes long and brings the group most of
what would have been the next group. One in which nobody else had anything to do brings nothing, and
neither would the next: so nobody waits for company that does not come.
"""

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import Final

#: Seconds that a turn takes in which somebody else did something. An empty one takes 2 us, and 17
#: where the processor has just been idle.
_BUSY: Final = 30e-6


async def turns(most: int) -> None:
    """Let the event loop go round so many times, or until it has nothing else to do."""
    for _ in range(most):
        begun = perf_counter()
        await asyncio.sleep(0)
        if perf_counter() - begun < _BUSY:
            return


class Lull:
    """A while in which more may come to a group that nobody waits for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = asyncio.Event()
        #: Whether somebody waits for its end.
        self.lasts = False

    async def wait(self) -> None:
        """Wait until it is over, by itself or by :meth:`end`."""
        self._over.clear()
        self.lasts = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._over.wait()
        self.lasts = False

    def end(self) -> None:
        """End it, if it lasts."""
        self._over.set()
