"""A Dramatiq broker whose queues are this process's memory.

Losing what is in it costs nothing: the store is the truth, and the sweep wakes again what is due.
"""

from collections import defaultdict
from collections.abc import Sequence

from dramatiq import Middleware
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker


class InProcessBroker(StubBroker):
    """Dramatiq's in-memory broker, made fit to run for months.

    The original keeps every failed message with its traceback for ever, for tests to look at; this
    one forgets them at once.
    """

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        super().__init__(list(middleware))
        self.dead_letters_by_queue = defaultdict(_Nothing)


class _Nothing(list[MessageProxy]):
    """A queue's dead letters: none, ever."""

    def append(self, _message: MessageProxy, /) -> None:
        """Keep nothing."""
