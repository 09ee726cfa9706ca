"""What a Dramatiq broker is here: on one event loop, without threads or calls that block.

Dramatiq's worker takes messages in one thread, works them off in others, and has those wait for the
event loop: each wake is five changes of threads, which take the interpreter's lock from that loop
while it has deliveries to make. Actors here only wake, and so the loop takes the messages itself
and calls them. Measured at 400 wakes a second over Redis, from the call to the actor: 0.2 ms
instead of 1.7, and 0.25 ms of processor for both sides instead of 0.62.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

from dramatiq import Broker, Message, Middleware

#: Messages in a queue: whoever comes back after a while finds the latest, the sweep the rest.
LENGTH: Final = 1_000


class LoopBroker(Broker):
    """See the top of the file. Call it on its event loop."""

    queues: dict[str, deque[Message[None]]]

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        super().__init__(list(middleware))

    def declare_queue(self, queue_name: str) -> None:
        """Make a queue known, without one for delayed messages beside it."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = deque(maxlen=LENGTH)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message[None], *, delay: int | None = None) -> Message[None]:
        """Append to the queue, from which the oldest makes room; :meth:`sent` sends it."""
        self.emit_before("enqueue", message, delay)
        self.declare_queue(message.queue_name)
        self.queues[message.queue_name].append(message)
        self.emit_after("enqueue", message, delay)
        return message

    @abstractmethod
    async def sent(self) -> None:
        """Send what is enqueued; what cannot be sent is dropped, as the sweep finds it."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Send nothing more."""

    @abstractmethod
    def taken(self, queue_name: str) -> AsyncIterator[Message[None]]:
        """The messages of a queue, for ever; each is taken once, by one of all who take."""
