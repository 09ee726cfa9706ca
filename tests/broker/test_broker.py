"""What every broker does, in this process or over Redis; each kind is put through the same."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from tests.broker.working import Working, working
from tests.support.valkey import namespace

pytestmark = pytest.mark.anyio

KINDS = ["in process", "over Redis"]


@pytest.fixture(params=KINDS)
async def at_work(request: pytest.FixtureRequest) -> AsyncIterator[Working]:
    url = "" if request.param == "in process" else request.getfixturevalue("redis_url")
    async with working(url, namespace()) as made:
        yield made


async def test_a_wake_reaches_the_actor_on_the_loop(at_work: Working) -> None:
    at_work.waker.wake([3, 1])
    await at_work.recorder.wait_for({1, 3})
    assert at_work.recorder.threads == {threading.get_ident()}


async def test_wakes_of_one_turn_share_a_message_that_names_each_lane_once(
    at_work: Working,
) -> None:
    for lane in (5, 4, 5, 4):
        at_work.waker.wake([lane])
    await at_work.recorder.wait_for({4, 5})
    assert at_work.recorder.calls == [[4, 5]]


async def test_many_lanes_go_as_several_messages(at_work: Working) -> None:
    lanes = set(range(2_500))
    at_work.waker.wake(lanes)
    await at_work.recorder.wait_for(lanes)
    assert sorted(len(call) for call in at_work.recorder.calls) == [500, 1000, 1000]


async def test_no_lanes_make_no_message(at_work: Working) -> None:
    at_work.waker.wake([])
    await asyncio.sleep(0)
    at_work.waker.wake([1])
    await at_work.recorder.wait_for({1})
    assert at_work.recorder.calls == [[1]]


async def test_one_wake_after_another_arrives(at_work: Working) -> None:
    for lane in range(50):
        at_work.waker.wake([lane])
        await at_work.recorder.wait_for({lane})
    assert sorted(at_work.recorder.calls) == [[lane] for lane in range(50)]


async def test_a_failing_actor_is_neither_retried_nor_remembered(
    at_work: Working, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = at_work.recorder
    recorder.failures = 6  # more than a worker holds at a time
    for lane in range(6):
        at_work.waker.wake([lane])
        await recorder.wait_for({lane})
    at_work.waker.wake([8])
    await recorder.wait_for({8})
    assert sorted(recorder.calls) == [[lane] for lane in (0, 1, 2, 3, 4, 5, 8)]
    assert caplog.text.count("RuntimeError: an actor that fails") == 6
