"""The in-process broker and worker: wakes reach the actor on the service's own loop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.broker import ACTOR, QUEUE, BrokerWaker, InProcessBroker
from service.worker import LentLoop, WorkerHost, declare

pytestmark = pytest.mark.anyio

_PATIENCE = 5.0


class Recorder:
    """Stands where the deliver use case stands."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.threads: set[int] = set()
        self.failures = 0
        self.called = asyncio.Event()

    async def serve(self, lanes: list[int]) -> None:
        self.calls.append(lanes)
        self.threads.add(threading.get_ident())
        self.called.set()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("an actor that fails")

    async def wait_for(self, lanes: set[int]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not lanes <= {lane for call in self.calls for lane in call}:
                self.called.clear()
                await self.called.wait()


@asynccontextmanager
async def working(recorder: Recorder) -> AsyncIterator[tuple[InProcessBroker, BrokerWaker]]:
    loop = asyncio.get_running_loop()
    broker = InProcessBroker([LentLoop(loop)])
    declare(broker, recorder.serve, actor=ACTOR, queue=QUEUE)
    host = WorkerHost(broker)
    host.start()
    try:
        yield broker, BrokerWaker(broker, loop)
    finally:
        await host.stop()


async def test_a_wake_reaches_the_actor_on_the_loop_that_was_lent() -> None:
    recorder = Recorder()
    async with working(recorder) as (_, waker):
        waker.wake([3, 1])
        await recorder.wait_for({1, 3})
    assert recorder.threads == {threading.get_ident()}


async def test_wakes_of_one_turn_share_a_message_that_names_each_lane_once() -> None:
    recorder = Recorder()
    async with working(recorder) as (_, waker):
        for lane in (5, 4, 5, 4):
            waker.wake([lane])
        await recorder.wait_for({4, 5})
    assert recorder.calls == [[4, 5]]


async def test_many_lanes_go_as_several_messages() -> None:
    recorder = Recorder()
    lanes = set(range(2_500))
    async with working(recorder) as (_, waker):
        waker.wake(lanes)
        await recorder.wait_for(lanes)
    assert sorted(len(call) for call in recorder.calls) == [500, 1000, 1000]


async def test_no_lanes_make_no_message() -> None:
    recorder = Recorder()
    async with working(recorder) as (_, waker):
        waker.wake([])
        await asyncio.sleep(0)
        waker.wake([1])
        await recorder.wait_for({1})
    assert recorder.calls == [[1]]


async def test_a_failing_actor_is_neither_retried_nor_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder()
    recorder.failures = 1
    async with working(recorder) as (broker, waker):
        waker.wake([7])
        await recorder.wait_for({7})
        waker.wake([8])
        await recorder.wait_for({8})
        await asyncio.to_thread(broker.join, QUEUE, timeout=5_000)
        assert broker.dead_letters == []
    assert recorder.calls == [[7], [8]]
    assert "an actor that fails" in caplog.text
