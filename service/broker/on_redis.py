"""A Dramatiq broker over Redis for messages that only wake: bounded, handed out once, never kept.

1. A queue is one list of the latest messages; the oldest make room. What Dramatiq's own layout
   keeps besides (bodies, acknowledgements, heartbeats, dead letters, delays) serves messages that
   must not be lost. Losing one of these costs a sweep interval, and keeping one could only leak.
2. Who takes blocks on that list (BLPOP) instead of asking again and again, ever more rarely: an
   idle worker has a wake within a millisecond.
3. Redis may be slow, away or empty at any time. Who sends gives up soon and never tries again; who
   takes is back as soon as it is. Each says so once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import redis
from dramatiq import Message, Middleware
from dramatiq.errors import DecodeError
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from service.broker.link import Link
from service.broker.on_loop import LENGTH, LoopBroker

#: Seconds that whoever sends waits for an answer of Redis, and for a connection to it, which takes
#: half a dozen ways to and fro.
ANSWER: Final = 0.25
_CONNECTED: Final = 2.0
#: Seconds between two tries while Redis is away.
_PAUSE: Final = 0.25
#: Seconds until Redis says that there is nothing, and beyond that until it is taken for gone.
_PATIENCE: Final = 2.0
_SLACK: Final = 0.75


class WakeBroker(LoopBroker):
    """See the top of the file."""

    def __init__(self, url: str, middleware: Sequence[Middleware], namespace: str) -> None:
        super().__init__(middleware)
        self._url = url
        self._namespace = namespace
        self._sender = _Line(url, ANSWER)
        self._link = Link("Wakes are not sent")

    async def sent(self) -> None:
        """See :meth:`LoopBroker.sent`; where Redis does not answer, that takes a while."""
        try:
            for name, waiting in self.queues.items():
                await self._append(self._list(name), waiting)
        except (redis.RedisError, OSError) as error:
            self._link.lost(error)
            await asyncio.sleep(_PAUSE)

    async def taken(self, queue_name: str) -> AsyncIterator[Message[None]]:
        """See :meth:`LoopBroker.taken`."""
        link = Link("Wakes do not arrive")
        line = _Line(self._url, _PATIENCE + _SLACK)
        try:
            while True:
                try:
                    found = await line.ask("BLPOP", self._list(queue_name), _PATIENCE)
                except (redis.RedisError, OSError) as error:
                    link.lost(error)
                    await asyncio.sleep(_PAUSE)
                    continue
                link.found()
                message = _decoded(found[1]) if found else None
                if message is not None:
                    yield message
        finally:
            await line.close()

    async def disconnect(self) -> None:
        """See :meth:`LoopBroker.disconnect`."""
        await self._sender.close()

    async def _append(self, name: str, waiting: deque[Message[None]]) -> None:
        if not waiting:
            return
        messages = [message.encode() for message in waiting]
        waiting.clear()
        if await self._sender.ask("RPUSH", name, *messages) > LENGTH:
            await self._sender.ask("LTRIM", name, -LENGTH, -1)
        self._link.found()

    def _list(self, queue_name: str) -> str:
        return f"{self._namespace}:{queue_name}"


class _Line:
    """One connection, which is made when it is used; nothing is done twice on it.

    It is the library's connection without its client above, which takes half as much again.
    """

    def __init__(self, url: str, patience: float) -> None:
        # The library's own time-outs may swallow that a task is cancelled (asyncio.wait_for).
        pool = ConnectionPool.from_url(
            url, socket_timeout=None, socket_connect_timeout=_CONNECTED, retry=Retry(NoBackoff(), 0)
        )
        self._connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call]  # the library's is not annotated
        self._patience = patience

    async def ask(self, *command: bytes | str | float) -> Any:  # noqa: ANN401  as the library has it
        """What Redis answers.

        Raises:
            redis.RedisError, OSError: it did not do it, or not in time: then it may do it yet.
        """
        try:
            await self._connect()
            async with asyncio.timeout(self._patience):
                await self._connection.send_command(*command, check_health=False)
                return await self._connection.read_response()
        except TimeoutError:
            raise redis.TimeoutError("It did not answer in time") from None
        except redis.RedisError:
            await self.close()  # to one that only reads, or refused to let us in, others may lead
            raise

    async def _connect(self) -> None:
        connection = self._connection
        # nothing was asked: what there is to be read is that it was closed meanwhile
        if connection.is_connected and await connection.can_read():
            await self.close()
        if not connection.is_connected:
            async with asyncio.timeout(_CONNECTED):
                await connection.connect_check_health(check_health=False)

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.disconnect(nowait=True)


def _decoded(data: bytes) -> Message[None] | None:
    """The message; ``None`` for what no version of ours put there."""
    try:
        return Message.decode(data)
    except (DecodeError, TypeError, ValueError):
        return None
