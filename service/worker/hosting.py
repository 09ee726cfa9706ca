"""Where actors run: Dramatiq's threads hand their coroutines to the service's own event loop."""

import asyncio
import logging
import threading

from dramatiq import Broker, Middleware, Worker
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread

#: Threads that take messages: an actor only claims and starts, so two keep up with any load.
_THREADS = 2
#: Milliseconds after which an idle thread looks whether it is to stop: a stop takes about two.
_LOOK_UP_EVERY = 250
#: Milliseconds for Dramatiq's threads to end; they hold no work that could be lost.
_STOP_WITHIN = 5_000


class _BorrowedLoop(EventLoopThread):
    """An event loop thread that is never started: its loop runs already, in the lender's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        threading.Thread.__init__(self, name="borrowed-loop")
        self.logger = logging.getLogger(__name__)
        self.interrupt_check_ival = 1.0
        self.loop = loop


class LentLoop(Middleware):
    """Stands in for Dramatiq's AsyncIO middleware, which would start a loop of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def before_worker_boot(self, _broker: Broker, _worker: Worker) -> None:
        """Let async actors find the loop."""
        set_event_loop_thread(_BorrowedLoop(self._loop))

    def after_worker_shutdown(self, _broker: Broker, _worker: Worker) -> None:
        """Take the loop back."""
        set_event_loop_thread(None)


class WorkerHost:
    """A running Dramatiq worker."""

    def __init__(self, broker: Broker) -> None:
        self._worker = Worker(broker, worker_threads=_THREADS, worker_timeout=_LOOK_UP_EVERY)

    def start(self) -> None:
        """Begin to take messages."""
        self._worker.start()

    async def stop(self) -> None:
        """Take no more messages. In a thread: it waits for actors that run on this very loop."""
        await asyncio.to_thread(self._worker.stop, _STOP_WITHIN)
