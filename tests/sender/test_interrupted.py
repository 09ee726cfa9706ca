"""Attempts that are interrupted, wherever they are just then, leave nothing behind."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.domain.request import OutboundRequest
from service.sender import GuardedSender
from service.sender.exchange import Exchange
from tests.sender.conftest import LOOPBACK, Ask
from tests.support.certificates import certificate, server_context
from tests.support.receiver import Receiver

#: An attempt takes more.
FEWEST_TURNS = 4
CONNECTIONS = 8


def pool_of(sender: GuardedSender) -> Any:  # noqa: ANN401  its inside is what this is about
    line = sender._line  # noqa: SLF001  as above
    assert line is not None
    return line._pool  # noqa: SLF001  as above


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


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
    pool = pool_of(sender)
    pool._count(Exchange(next(iter(pool._open)).route, pool._count, pool._forget))  # noqa: SLF001  as above
    async with asyncio.timeout(1):
        await sender.close()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1", "hooks.example"])
async def test_interrupted_in_any_turn(tmp_path: Path, *, host: str, secure: bool) -> None:
    path = certificate(tmp_path)
    sender = GuardedSender(
        LOOPBACK,
        connections=CONNECTIONS,
        # the first address refuses, the second is tried beside it
        lookup=lambda _: ["127.0.0.9", "127.0.0.1"],
        tls=ssl.create_default_context(cafile=str(path)),
    )
    async with Receiver(tls=server_context(path) if secure else None) as receiver:
        request = OutboundRequest(receiver.url(host=host), (), b"{}", 5.0)
        before, turns = descriptors(), 0
        while await is_interrupted(sender, request, turns):
            turns = max(turns + 1, int(turns * 1.1))  # a thread may take any number of them
        async with asyncio.timeout(1):
            await sender.close()
        assert await settled(lambda: descriptors() <= before)
    assert turns > FEWEST_TURNS


async def is_interrupted(sender: GuardedSender, request: OutboundRequest, turns: int) -> bool:
    """Interrupt a send after so many turns of the loop; whether it was still under way."""
    task = asyncio.create_task(sender.send(request))
    for _ in range(turns):
        await asyncio.sleep(0)
        if task.done():
            return False
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    if sender._line is None:  # noqa: SLF001  as above
        return True  # it had not begun
    pool = pool_of(sender)
    assert await settled(lambda: pool._open == set(pool._since)), turns  # noqa: SLF001  as above
    assert pool._free._value == CONNECTIONS, turns  # noqa: SLF001  as above
    for idle in list(pool._since):  # noqa: SLF001  so that the next needs a new connection
        pool._drop(idle)  # noqa: SLF001  as above
    return True
