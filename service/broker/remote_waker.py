"""Wakes over Redis, which whoever wakes never waits for."""

import asyncio
import threading
from collections.abc import Iterable
from typing import Final

import redis
from dramatiq import Broker

from service.broker.link import Link
from service.broker.waker import messages

#: Lanes that wait for Redis; the sweep finds the others.
_MOST: Final = 100_000
#: Seconds after a message in which lanes gather for the next one. A message costs both sides
#: together 0.5 ms of CPU: so they are never the most of it, however many single events come.
_GATHER: Final = 0.002
#: Seconds between two tries while Redis is away.
_PAUSE: Final = 0.25


class RemoteWaker:
    """See :class:`service.ports.Waker`.

    It enqueues in a thread of its own, one call at a time; lanes woken meanwhile go together
    afterwards. What cannot be enqueued is dropped: the sweep finds it.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lanes: set[int] = set()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closing = threading.Event()
        self._link = Link("Wakes are not sent")
        self._thread = threading.Thread(target=self._run, name="wakes", daemon=True)
        self._thread.start()

    def wake(self, lanes: Iterable[int]) -> None:
        """Have these lanes looked at; returns at once, whatever state Redis is in."""
        with self._lock:
            if len(self._lanes) < _MOST:
                self._lanes.update(lanes)
        self._news.set()

    async def close(self) -> None:
        """Send nothing more; the call under way ends, by its time-out at the latest."""
        self._closing.set()
        self._news.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if self._closing.is_set():
                return
            with self._lock:
                lanes, self._lanes = self._lanes, set()
            self._closing.wait(self._send(lanes))

    def _send(self, lanes: set[int]) -> float:
        """Send what wakes these lanes; seconds until the next may be sent."""
        try:
            for message in messages(lanes):
                self._broker.enqueue(message)
        except (redis.RedisError, OSError) as error:
            self._link.lost(error)
            return _PAUSE
        if lanes:
            self._link.found()
        return _GATHER
