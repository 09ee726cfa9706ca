"""Attempts that are interrupted, wherever they are just then, leave nothing behind."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from service.sender import GuardedSender
from service.sender.exchange import Exchange
from service.sender.pool import Pool
from tests.sender.conftest import Ask
from tests.support.receiver import Receiver

#: More than an attempt of these tests takes.
TURNS = 200


def pool_of(sender: GuardedSender) -> Any:  # noqa: ANN401  its inside is what this is about
    line = sender._line  # noqa: SLF001  as above
    assert line is not None
    return line._pool  # noqa: SLF001  as above


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(fits: Callable[[], bool]) -> bool:
    """Whether it comes about; what was closed ends some turns of the loop later."""
    for _ in range(200):
        if fits():
            return True
        await asyncio.sleep(0.005)
    return False


async def test_interrupted_in_the_turn_in_which_the_connection_came_about(
    sender: GuardedSender, receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[asyncio.Task[object]] = []
    made = Exchange.connection_made

    def interrupt(self: Exchange, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        tasks[-1].cancel()  # as a deadline does

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "connection_made", interrupt)
        for _ in range(5):
            tasks.append(asyncio.create_task(sender.send(ask())))
            with pytest.raises(asyncio.CancelledError):
                await tasks[-1]
    assert await settled(lambda: descriptors() == before)
    assert pool_of(sender)._open == set()  # noqa: SLF001  as above
    async with asyncio.timeout(1):
        await sender.close()
    assert receiver.requests == []


async def test_closing_waits_for_no_connection_that_never_ends(
    sender: GuardedSender, receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.sender.pool._CLOSE_SECONDS", 0.05)
    await sender.send(ask())
    assert len(receiver.requests) == 1
    pool: Pool = pool_of(sender)
    pool._count(Exchange(next(iter(pool._open)).route, pool._count, pool._forget))  # noqa: SLF001  as above
    async with asyncio.timeout(1):
        await sender.close()
