"""A Dramatiq broker whose queues are this process's memory.

Losing what is in it costs nothing: the store is the truth, and the sweep wakes again what is due.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from dramatiq import Message, Middleware

from service.broker.on_loop import LoopBroker


class InProcessBroker(LoopBroker):
    """See the top of the file."""

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        super().__init__(middleware)
        self._news = asyncio.Event()

    async def sent(self) -> None:
        """Have those look who take; nothing is sent anywhere."""
        self._news.set()

    async def disconnect(self) -> None:
        """Do nothing: nothing is open."""

    async def taken(self, queue_name: str) -> AsyncIterator[Message[None]]:
        """See :meth:`LoopBroker.taken`."""
        waiting = self.queues[queue_name]
        while True:
            while waiting:
                yield waiting.popleft()
            self._news.clear()
            await self._news.wait()
