"""Transactions that meet: one is stopped in the middle while another runs into it."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Self

from service.store.database import Tx, Use
from tests.support.world import World


async def started(work: Awaitable[Any]) -> asyncio.Task[Any]:
    """Work under way, as far as it comes by itself."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=0.2)
    return task


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
