"""Gathering: a little patience before a group is cut, in turns of the event loop instead of time.

A turn hands over what has come from the network meanwhile. On an idle service a turn takes
microseconds, so nobody waits for company that does not come; on a busy one it takes milliseconds
and brings the group most of what would have been the next group.
"""

import asyncio


async def turns(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
