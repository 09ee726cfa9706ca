"""Deadlines behave as ``asyncio.timeout`` does."""

import asyncio

import pytest

from service.sender.deadline import Deadlines


async def test_a_block_that_is_done_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    with deadlines.within(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    deadlines.close()


async def test_a_block_that_takes_longer_is_interrupted() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.within(0.05):
        await asyncio.sleep(5)
    await asyncio.sleep(0)  # nothing of the cancellation is left
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    deadlines.close()


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines = Deadlines()

    async def block() -> None:
        with deadlines.within(5):
            await asyncio.sleep(5)

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


async def test_a_cancellation_from_outside_wins_over_the_deadline() -> None:
    deadlines = Deadlines()

    async def block() -> None:
        with deadlines.within(0.05):
            try:
                await asyncio.sleep(5)
            finally:
                task.cancel()

    task = asyncio.create_task(block())
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


async def test_an_earlier_deadline_overtakes() -> None:
    deadlines, ended = Deadlines(), list[float]()

    async def block(seconds: float) -> None:
        try:
            with deadlines.within(seconds):
                await asyncio.sleep(5)
        except TimeoutError:
            ended.append(seconds)

    await asyncio.gather(*(block(each) for each in (0.15, 0.05, 0.1, 0.05)))
    assert ended == [0.05, 0.05, 0.1, 0.15]
    deadlines.close()


async def test_the_blocks_own_failure_gets_out() -> None:
    deadlines = Deadlines()
    with pytest.raises(LookupError), deadlines.within(5):
        raise LookupError
    deadlines.close()
