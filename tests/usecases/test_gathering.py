"""Turns of the event loop: as long as others have something to do in them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.usecases.gathering import turns

pytestmark = pytest.mark.anyio

MOST = 5
#: Seconds of work in a turn: more than an empty one takes on any machine.
WORK = 0.001


@contextmanager
def counted(work: float) -> Iterator[list[int]]:
    """Counts turns, and is busy for so long in each."""
    loop = asyncio.get_running_loop()
    count = [0]

    def turn() -> None:
        count[0] += 1
        if work:
            time.sleep(work)
        handle[0] = loop.call_soon(turn)

    handle = [loop.call_soon(turn)]
    yield count
    handle[0].cancel()


async def test_a_busy_loop_goes_round_so_many_times() -> None:
    with counted(WORK) as count:
        await turns(MOST)

    assert count[0] == MOST


async def test_one_that_has_nothing_else_to_do_goes_round_once() -> None:
    taken = []
    for _ in range(100):  # in most of which nothing of another process comes between
        with counted(0) as count:
            await turns(MOST)
        taken.append(count[0])

    assert sorted(taken)[len(taken) // 4] == 1
