"""Where actors run: on the service's own event loop, which takes their messages itself."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from dramatiq import Broker, Message

Taken = Callable[[str], AsyncIterator[Message[None]]]

_logger = logging.getLogger(__name__)

#: Seconds until messages are taken again after a fault that nobody foresaw.
_PAUSE: Final = 1.0


class WorkerHost:
    """Calls the actors of a broker with the messages that are ``taken`` from its queues.

    An actor returns at once. One that fails is neither called again nor remembered: there are no
    dead wakes.
    """

    def __init__(self, broker: Broker, taken: Taken) -> None:
        self._broker = broker
        self._taken = taken
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take messages."""
        queues = self._broker.get_declared_queues()
        self._tasks = [asyncio.create_task(self._take(name), name=name) for name in queues]

    async def stop(self) -> None:
        """Take no more messages; one that is on its way is lost, and the sweep makes up for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, queue: str) -> None:
        while True:
            try:
                async for message in self._taken(queue):
                    self._call(message)
            except Exception:
                _logger.exception("Messages could not be taken. They are again in a second.")
                await asyncio.sleep(_PAUSE)

    def _call(self, message: Message[None]) -> None:
        """Call the actor that a message is for, with what middleware does around that."""
        try:
            self._broker.emit_before("process_message", message)
            self._broker.get_actor(message.actor_name)(*message.args, **message.kwargs)
        except Exception as error:
            _logger.exception("An actor failed. The sweep makes up for it.")
            self._broker.emit_after("process_message", message, exception=error)
        else:
            self._broker.emit_after("process_message", message, result=None)
