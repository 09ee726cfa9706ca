"""How long an idle worker takes to hear of a wake: `python -m tests.broker.idle_wakes [--wakes N]`.

From the call that wakes to the actor's first line, in one process that does nothing else; between
two wakes the worker is idle for as long as `--pause` says. Beside it Dramatiq's own Redis broker.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median

import dramatiq
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from service.broker import ACTOR, QUEUE
from service.worker import declare
from tests.broker.working import Recorder, working
from tests.support.valkey import Valkey, namespace

Send = Callable[[int], Awaitable[None] | None]


async def measured(send: Send, recorder: Recorder, count: int, pause: float) -> list[float]:
    """Seconds that each of ``count`` wakes took, shortest first."""
    took = []
    for lane in range(count):
        await asyncio.sleep(pause)  # the worker's idleness is what is measured
        begun = time.perf_counter()
        sending = send(lane)
        if sending is not None:
            await sending
        await recorder.wait_for({lane})
        took.append(time.perf_counter() - begun)
    return sorted(took)


async def ours(url: str, count: int, pause: float) -> list[float]:
    """The figures of this service's broker; without a URL of the one in memory."""
    async with working(url, namespace()) as made:
        return await measured(lambda lane: made.waker.wake([lane]), made.recorder, count, pause)


@asynccontextmanager
async def stock(url: str) -> AsyncIterator[tuple[Send, Recorder]]:
    """Dramatiq's own worker on its own Redis broker."""
    loop, recorder = asyncio.get_running_loop(), Recorder()
    broker = RedisBroker(url=url, middleware=[], namespace=namespace())  # type: ignore[no-untyped-call]  # the library's is not annotated

    def wake(lanes: list[int]) -> None:
        loop.call_soon_threadsafe(recorder.wake, lanes)

    declare(broker, wake, actor=ACTOR, queue=QUEUE)
    worker = dramatiq.Worker(broker, worker_threads=2)
    worker.start()

    async def send(lane: int) -> None:
        message: Message[None] = Message(
            queue_name=QUEUE, actor_name=ACTOR, args=([lane],), kwargs={}, options={}
        )
        await asyncio.to_thread(broker.enqueue, message)

    try:
        yield send, recorder
    finally:
        await asyncio.to_thread(worker.stop)
        broker.client.close()


def report(what: str, took: list[float]) -> None:
    p50, p99 = median(took), took[int(len(took) * 0.99)]
    figures = " ".join(
        f"{name} {seconds * 1000:.2f} ms"
        for name, seconds in (("p50", p50), ("p99", p99), ("max", took[-1]))
    )
    print(f"{what:<28} {figures}")  # noqa: T201  the result of the command


async def main(count: int, pause: float) -> None:
    with Valkey() as server:
        report("in process", await ours("", count, pause))
        report("over Redis", await ours(server.url, count, pause))
        async with stock(server.url) as (send, recorder):
            report("Dramatiq's own over Redis", await measured(send, recorder, count, pause))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--wakes", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.3)
    options = parser.parse_args()
    asyncio.run(main(options.wakes, options.pause))
