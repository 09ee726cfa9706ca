"""Wakes: one message names many lanes; those woken together share it."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from dramatiq import Broker, Message

from service.broker.link import Link

#: The queue and the actor that wakes are for.
QUEUE: Final = "lanes"
ACTOR: Final = "deliver"

#: Lanes in one message.
_WIDTH: Final = 1000
#: Lanes that wait for Redis; the sweep finds the others.
_MOST: Final = 100_000
#: Seconds between two tries while Redis is away.
_PAUSE: Final = 0.25


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
        for message in _messages(lanes):
            self._broker.enqueue(message)


class RemoteWaker:
    """See :class:`service.ports.Waker`. Call it on the event loop it was made for.

    It enqueues in a thread of its own, one call at a time; lanes woken meanwhile go together
    afterwards. What cannot be enqueued is dropped: the sweep finds it.
    """

    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop) -> None:
        self._broker = broker
        self._loop = loop
        self._lanes: set[int] = set()
        self._busy = False
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "wakes")
        self._link = Link("Wakes are not sent")

    def wake(self, lanes: Iterable[int]) -> None:
        """Have these lanes looked at; returns at once, whatever state Redis is in."""
        if len(self._lanes) < _MOST:
            self._lanes.update(lanes)
        if self._lanes and not self._busy:
            self._busy = True
            self._loop.call_soon(self._flush)

    async def close(self) -> None:
        """Send nothing more; the call under way ends, by its time-out at the latest."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _flush(self) -> None:
        if self._closed:
            return
        lanes, self._lanes = self._lanes, set()
        sent = self._loop.run_in_executor(self._thread, self._enqueue, lanes)
        sent.add_done_callback(self._sent)

    def _enqueue(self, lanes: set[int]) -> None:
        for message in _messages(lanes):
            self._broker.enqueue(message)

    def _sent(self, sent: asyncio.Future[None]) -> None:
        if sent.cancelled():
            return
        error = sent.exception()
        if error is not None:
            self._link.lost(error)
            self._loop.call_later(_PAUSE, self._again)
            return
        self._link.found()
        self._again()

    def _again(self) -> None:
        if self._lanes:
            self._flush()
        else:
            self._busy = False


def _messages(lanes: Iterable[int]) -> Iterator[Message[None]]:
    ordered = sorted(lanes)
    for start in range(0, len(ordered), _WIDTH):
        chunk = ordered[start : start + _WIDTH]
        yield Message(queue_name=QUEUE, actor_name=ACTOR, args=(chunk,), kwargs={}, options={})
