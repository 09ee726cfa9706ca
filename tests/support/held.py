"""Transactions that meet: one is stopped in the middle while another runs into it."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, Self

from service.store.database import Tx, Use
from tests.support.world import World

#: Seconds after which it is said that work neither ends nor waits.
_PATIENCE: Final = 30.0
_POLL: Final = 0.005
#: Sessions of this database that somebody keeps from going on.
_WAITING: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'
"""


async def started(world: World, work: Awaitable[Any]) -> asyncio.Task[Any]:
    """Work under way, as far as it comes by itself: it is done, or waits for a lock.

    ``world`` is one on the same database of PostgreSQL, to look from.
    """
    before = await _waiting(world)
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(_PATIENCE):
        while not task.done() and await _waiting(world) <= before:
            await asyncio.wait([task], timeout=_POLL)
    return task


async def _waiting(world: World) -> set[int]:
    async with world.database.read() as tx:
        return {pid for (pid,) in await tx.sql(_WAITING)}


class Held:
    """A write of a process that holds what it has locked until it is let go."""

    def __init__(self, world: World, *statements: str, use: Use = Use.REST) -> None:
        self._locked = asyncio.Event()
        self._let_go = asyncio.Event()
        self._task = asyncio.ensure_future(world.database.write(self._job, use))
        self._statements = statements

    async def _job(self, tx: Tx) -> None:
        for statement in self._statements:
            await tx.sql(statement)
        self._locked.set()
        await self._let_go.wait()

    async def __aenter__(self) -> Self:
        await self._locked.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._let_go.set()
        await self._task
