"""Wakes: one message names many lanes; those woken in one turn of the event loop share it."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from dramatiq import Broker, Message

#: The queue and the actor that wakes are for.
QUEUE: Final = "lanes"
ACTOR: Final = "deliver"

#: Lanes in one message.
_WIDTH: Final = 1000


class BrokerWaker:
    """See :class:`service.ports.Waker`. Call it on the event loop it was made for.

    It enqueues on the loop, which a broker in memory does not hold up.
    """

    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop) -> None:
        self._broker = broker
        self._loop = loop
        self._lanes: set[int] = set()

    def wake(self, lanes: Iterable[int]) -> None:
        """Have these lanes looked at; returns at once."""
        if not self._lanes:
            self._loop.call_soon(self._flush)
        self._lanes.update(lanes)

    async def close(self) -> None:
        """Do nothing: nothing is open."""

    def _flush(self) -> None:
        lanes, self._lanes = self._lanes, set()
        for message in messages(lanes):
            self._broker.enqueue(message)


def messages(lanes: Iterable[int]) -> Iterator[Message[None]]:
    """The messages that wake these lanes."""
    ordered = sorted(lanes)
    for start in range(0, len(ordered), _WIDTH):
        chunk = ordered[start : start + _WIDTH]
        yield Message(queue_name=QUEUE, actor_name=ACTOR, args=(chunk,), kwargs={}, options={})
