"""A broker with a worker on it, in this process, and what the worker was told."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.broker import ACTOR, NAMESPACE, QUEUE, BrokerWaker, LoopBroker, make_broker
from service.worker import WorkerHost, declare

PATIENCE = 10.0


class Recorder:
    """Stands where the deliver use case stands."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.threads: set[int] = set()
        self.failures = 0
        self.called = asyncio.Event()

    def wake(self, lanes: list[int]) -> None:
        self.calls.append(lanes)
        self.threads.add(threading.get_ident())
        self.called.set()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("an actor that fails")

    @property
    def lanes(self) -> set[int]:
        return {lane for call in self.calls for lane in call}

    async def wait_for(self, lanes: set[int]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not lanes <= self.lanes:
                self.called.clear()
                await self.called.wait()


@dataclass
class Working:
    """A worker at work."""

    broker: LoopBroker
    waker: BrokerWaker
    recorder: Recorder

    async def woken(self, lane: int) -> None:
        """Wake this lane until the worker hears of it: a wake may be lost."""
        async with asyncio.timeout(PATIENCE):
            while lane not in self.recorder.lanes:
                self.waker.wake([lane])
                await asyncio.sleep(0.02)


@asynccontextmanager
async def working(url: str, namespace: str = NAMESPACE) -> AsyncIterator[Working]:
    """A worker on the broker over the Redis at ``url``, or on that in memory."""
    recorder = Recorder()
    broker = make_broker(url, namespace=namespace)
    waker = BrokerWaker(broker)
    declare(broker, recorder.wake, actor=ACTOR, queue=QUEUE)
    host = WorkerHost(broker, broker.taken)
    host.start()
    try:
        yield Working(broker, waker, recorder)
    finally:
        await waker.close()
        await host.stop()
        await broker.disconnect()
