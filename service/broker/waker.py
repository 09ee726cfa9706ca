"""Wakes: one message names many lanes; those woken in one turn of the event loop share it."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from dramatiq import Message

from service.broker.on_loop import LoopBroker

#: The queue and the actor that wakes are for.
QUEUE: Final = "lanes"
ACTOR: Final = "deliver"

#: Lanes in one message.
_WIDTH: Final = 1000
#: Lanes that wait to be sent; the sweep finds the others.
_MOST: Final = 100_000
#: Seconds that the last message has at a stop.
_LAST: Final = 0.5


class BrokerWaker:
    """See :class:`service.ports.Waker`. Call it on the event loop of its broker.

    Lanes that are woken while a message is under way go together afterwards.
    """

    def __init__(self, broker: LoopBroker) -> None:
        self._broker = broker
        self._lanes: set[int] = set()
        self._sending: asyncio.Task[None] | None = None

    def wake(self, lanes: Iterable[int]) -> None:
        """Have these lanes looked at; returns at once, whatever state the broker is in."""
        if len(self._lanes) < _MOST:
            self._lanes.update(lanes)
        if self._lanes and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="wakes")

    async def close(self) -> None:
        """Send nothing more; the message under way is sent, or given up soon."""
        self._lanes.clear()
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=_LAST)
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _send(self) -> None:
        while self._lanes:
            lanes, self._lanes = self._lanes, set()
            for message in _messages(lanes):
                self._broker.enqueue(message)
            await self._broker.sent()


def _messages(lanes: Iterable[int]) -> Iterator[Message[None]]:
    ordered = sorted(lanes)
    for start in range(0, len(ordered), _WIDTH):
        chunk = ordered[start : start + _WIDTH]
        yield Message(queue_name=QUEUE, actor_name=ACTOR, args=(chunk,), kwargs={}, options={})
