"""Gathering: a little patience before a group is cut, in turns of the event loop instead of time.

A turn hands over what has come from the network meanwhile. On a busy service it takes long and
brings the group most of what would have been the next group. One in which nobody else had anything
to do brings nothing, and neither would the next: so nobody waits for company that does not come.
"""

import asyncio
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
