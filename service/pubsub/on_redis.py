"""The backplane of many processes: a Redis channel; bounded, and lossy by design.

1. Who listens in the publishing process is called at once, whatever state Redis is in.
2. What other processes are to hear waits in memory while a call is under way, each note once; what
   does not fit, or cannot be sent, is dropped. Every watcher looks at the store now and then.
3. Redis says how many heard a message. Where it was nobody but ourselves, as with a single API
   process, the notes of the next second stay here: who begins to listen looks at the store anyway.
4. The subscription is made anew, less and less often, until it holds; one that has gone silent is
   asked for a sign of life, so that a connection that died unseen does not last.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from service.ports import Moved
from service.pubsub.in_process import InProcessBackplane

#: Seconds that a note waits for Redis.
_ANSWER: Final = 0.25
#: Notes in one message, and notes that wait to be sent.
_WIDTH: Final = 1_000
_MOST: Final = 10_000
#: Seconds between two messages of a process, in which notes gather; and after one that failed.
_GATHER: Final = 0.005
_PAUSE: Final = 0.25
#: Seconds for which a process that nobody else listens to keeps its notes to itself.
_ALONE: Final = 1.0
#: Seconds without a message after which the subscription is to give a sign of life, and as many
#: until it has to.
_SILENCE: Final = 5.0
#: Seconds until the next try to subscribe.
_SHORTEST: Final = 0.1
_LONGEST: Final = 2.0

_logger = logging.getLogger(__name__)


class RedisBackplane:
    """See :class:`service.ports.Backplane`. Call it on one event loop.

    ``origin`` is this process's name among all, ``namespace`` what the channel's name begins with.
    """

    def __init__(self, url: str, origin: str, namespace: str) -> None:
        self._here = InProcessBackplane()
        self._origin = origin
        self._publisher = _client(url, _ANSWER)
        # what is read there comes when it comes
        self._subscriber = _client(url, None)
        database = self._publisher.connection_pool.connection_kwargs.get("db", 0)
        # channels, unlike keys, are the same in all databases of a server
        self._channel = f"{namespace}:{database}:moved"
        self._waiting: dict[Moved, None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._is_listening = False
        #: Until when nobody else is told of anything (monotonic).
        self._alone_until = 0.0

    def publish(self, notes: Sequence[Moved]) -> None:
        """Tell everybody who listens, in every process; returns at once."""
        self._here.publish(notes)
        if asyncio.get_running_loop().time() < self._alone_until:
            return
        self._waiting.update(dict.fromkeys(islice(notes, _MOST - len(self._waiting))))
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="backplane")

    def listen(self, heard: Callable[[Sequence[Moved]], None]) -> None:
        """Hear what is published from now on; by other processes, while :meth:`run` runs."""
        self._here.listen(heard)

    async def run(self) -> None:
        """Hear what other processes publish, until cancelled."""
        pause, lost = _SHORTEST, False
        while True:
            try:
                async with self._subscriber.pubsub() as subscription:
                    async with asyncio.timeout(_LONGEST):
                        await subscription.subscribe(self._channel)
                    if lost:
                        _logger.warning("Redis is back: notes of other processes are heard.")
                    pause, lost, self._is_listening = _SHORTEST, False, True
                    await self._hear(subscription)
            except (redis.RedisError, OSError) as error:
                if not lost:
                    _logger.warning("Redis: %s. Watchers look every 2 s until it is back.", error)
                lost = True
            self._is_listening = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST)

    async def close(self) -> None:
        """Send nothing more and disconnect."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._publisher.aclose()
        await self._subscriber.aclose()

    async def _send(self) -> None:
        while self._waiting:
            notes = list(islice(self._waiting, _WIDTH))
            for note in notes:
                del self._waiting[note]
            try:
                heard = await self._publisher.publish(
                    self._channel, json.dumps([self._origin, notes])
                )
                self._heard_by(int(heard) - self._is_listening)
            except (redis.RedisError, OSError):
                self._waiting.clear()
                await asyncio.sleep(_PAUSE)
            else:
                await asyncio.sleep(_GATHER)

    def _heard_by(self, others: int) -> None:
        if others <= 0:
            self._alone_until = asyncio.get_running_loop().time() + _ALONE
            self._waiting.clear()

    async def _hear(self, subscription: PubSub) -> None:
        asked = False
        while True:
            message = await subscription.get_message(timeout=_SILENCE)
            if message is None:
                if asked:
                    raise redis.ConnectionError("It gave no sign of life")
                await subscription.ping()
            elif message["type"] == "message":
                self._take(message["data"])
            asked = message is None

    def _take(self, data: bytes) -> None:
        origin, notes = _decoded(data)
        if origin != self._origin and notes:
            self._here.publish(notes)


def _client(url: str, timeout: float | None) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=_ANSWER,
        retry=Retry(NoBackoff(), 0),
    )


def _decoded(data: bytes) -> tuple[str, list[Moved]]:
    """Who published it, and the notes; no notes in what no version of ours published."""
    try:
        origin, notes = json.loads(data)
        return str(origin), [(str(tenant), str(operation)) for tenant, operation in notes]
    except (TypeError, ValueError):
        return "", []
