"""A Dramatiq broker over Redis for messages that only wake: bounded, handed out once, never kept.

1. A queue is one list of the latest messages; the oldest make room. What Dramatiq's own layout
   keeps besides (bodies, acknowledgements, heartbeats, dead letters, delays) serves messages that
   must not be lost. Losing one of these costs a sweep interval, and keeping one could only leak.
2. A consumer blocks on that list (BLPOP) instead of asking again and again, ever more rarely: an
   idle worker has a wake within a millisecond, and a busy one leaves it to another.
3. Redis may be slow, away or empty at any time. Producers wait a quarter of a second at most and
   never try again; consumers are back as soon as it is. Each says so once.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final, cast

import redis
from dramatiq import Message, Middleware
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DecodeError
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.broker.link import Link

#: Seconds that whoever wakes waits for Redis.
ANSWER: Final = 0.25
#: Messages in a queue: whoever comes back after a while finds the latest, the sweep the rest.
LENGTH: Final = 1_000
#: Seconds that a consumer waits for Redis to say that there is nothing, beyond the wait itself.
_SLACK: Final = 0.75


def connect(url: str, timeout: float) -> redis.Redis:
    """A client that waits so many seconds for an answer, and does nothing twice."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=ANSWER,
        retry=Retry(NoBackoff(), 0),
    )


class WakeBroker(RedisBroker):
    """Dramatiq's Redis broker over lists; see the top of the file."""

    def __init__(self, url: str, middleware: Sequence[Middleware], namespace: str) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # the library's is not annotated
            client=connect(url, ANSWER), middleware=list(middleware), namespace=namespace
        )
        self._url = url

    def close(self) -> None:
        """Disconnect."""
        self.client.close()

    def declare_queue(self, queue_name: str) -> None:
        """Make a queue known, without one for delayed messages beside it."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Take messages, ``prefetch`` at a time at most; waits ``timeout`` ms for the next."""
        client = connect(self._url, timeout / 1000 + _SLACK)
        return _BlockingConsumer(client, self._list(queue_name), prefetch, timeout / 1000)

    def do_enqueue(self, queue_name: str, _message_id: str, data: bytes) -> None:
        """Append to the list and cut its head off.

        Raises:
            redis.RedisError: it could not be done in time; it may be done all the same.
        """
        name = self._list(queue_name)
        if self.client.rpush(name, data) > LENGTH:
            self.client.ltrim(name, -LENGTH, -1)

    def do_purge(self, queue_name: str) -> None:
        """Forget every message of a queue."""
        self.client.delete(self._list(queue_name))

    def do_qsize(self, queue_name: str) -> int:
        """How many messages wait in a queue."""
        return int(self.client.llen(self._list(queue_name)))

    def _list(self, queue_name: str) -> str:
        return f"{self.namespace}:{queue_name}"


class _BlockingConsumer(Consumer):
    """Waits at the list for the next message; see the top of the file."""

    def __init__(self, client: redis.Redis, name: str, prefetch: int, patience: float) -> None:
        self._client = client
        self._name = name
        self._patience = patience
        #: What is taken and not worked off; what does not fit is left to other workers.
        self._room = threading.Semaphore(prefetch)
        self._link = Link("Wakes do not arrive")

    def __next__(self) -> MessageProxy | None:
        """The next message; ``None`` when none came for a while."""
        if not self._room.acquire(timeout=self._patience):
            return None
        message = self._taken()
        if message is None:
            self._room.release()
        return message

    def _taken(self) -> MessageProxy | None:
        try:
            found = self._client.blpop([self._name], timeout=self._patience)
        except (redis.RedisError, OSError) as error:
            self._link.lost(error)
            time.sleep(self._patience)
            return None
        self._link.found()
        return _decoded(cast("bytes", found[1])) if found else None

    def ack(self, message: MessageProxy) -> None:  # noqa: ARG002  the library's name for it
        """Make room for another: Redis has forgotten this one already."""
        self._room.release()

    def nack(self, message: MessageProxy) -> None:
        """Forget a message that failed: there are no dead wakes."""
        self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Leave them: the sweep of another worker looks at their lanes."""

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def _decoded(data: bytes) -> MessageProxy | None:
    """The message; ``None`` for what no version of ours put there."""
    try:
        return MessageProxy(Message.decode(data))
    except (DecodeError, TypeError, ValueError):
        return None
