"""The fault proxy: what goes through, and what does not."""

import asyncio
import random
import socket
import time

import pytest

from service.lab.processes import HOST, free_port
from service.lab.torture.proxy import FaultProxy, Harm
from service.lab.torture.talking import NoAnswerError, Talk
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio


async def test_it_forwards_bodies_of_any_size(proxy: FaultProxy, receiver: Receiver) -> None:
    receiver.script = lambda request: Reply(body=request.body)
    talk = Talk(proxy.port, "key")
    body = b"x" * 3_000_000

    for _ in range(2):
        assert (await talk.ask("POST", "/hook", body)).body == body

    assert receiver.connections == 1
    assert proxy.cuts == 0
    talk.close()


async def test_a_cut_is_counted_where_an_answer_was_due(
    proxy: FaultProxy, receiver: Receiver
) -> None:
    idle, waiting = Talk(proxy.port, "key"), Talk(proxy.port, "key")
    await idle.ask("GET", "/")
    receiver.script = lambda _: Reply(delay=60.0)
    asked = asyncio.create_task(waiting.ask("GET", "/"))
    await receiver.wait_for(2)

    proxy.cut()

    with pytest.raises(NoAnswerError):
        await asked
    assert proxy.cuts == 1
    idle.close()


async def test_who_is_down_takes_nothing(proxy: FaultProxy, receiver: Receiver) -> None:
    talk = Talk(proxy.port, "key")
    proxy.suffer(Harm(is_down=True))
    with pytest.raises(NoAnswerError):
        await talk.ask("GET", "/")
    assert receiver.requests == []

    proxy.suffer(Harm())
    assert (await talk.ask("GET", "/")).status == 200
    talk.close()


async def test_an_answer_is_cut_in_its_middle(proxy: FaultProxy, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(body=b"x" * 1_000)
    proxy.suffer(Harm(limit=100))
    talk = Talk(proxy.port, "key")

    with pytest.raises(NoAnswerError):
        await talk.ask("GET", "/")

    assert len(receiver.requests) == 1
    assert proxy.cuts == 1


async def test_a_delay_holds_for_both_ways(proxy: FaultProxy, receiver: Receiver) -> None:
    talk = Talk(proxy.port, "key")
    await talk.ask("GET", "/")
    proxy.suffer(Harm(delay=0.2))
    begun = time.monotonic()

    await talk.ask("GET", "/")

    assert time.monotonic() - begun >= 0.4
    assert len(receiver.requests) == 2
    talk.close()


async def test_those_that_are_there_hang_and_new_ones_work(
    proxy: FaultProxy, receiver: Receiver
) -> None:
    old, new = Talk(proxy.port, "key"), Talk(proxy.port, "key")
    await old.ask("GET", "/")
    receiver.script = lambda _: Reply(delay=0.2)
    late = Talk(proxy.port, "key")
    answering = asyncio.create_task(late.ask("GET", "/"))
    await receiver.wait_for(2)

    proxy.hang()
    asking = asyncio.create_task(old.ask("GET", "/lost"))

    assert (await new.ask("GET", "/")).status == 200
    done, _ = await asyncio.wait((asking, answering), timeout=0.5)
    assert not done  # neither a request nor an answer gets through
    assert [each.path for each in receiver.requests] == ["/", "/", "/"]

    proxy.cut()
    for each in (asking, answering):
        with pytest.raises(NoAnswerError):
            await each
    new.close()


async def test_it_ends_when_somebody_was_taken_who_is_not_connected_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = asyncio.Event()
    accept = FaultProxy._accept  # noqa: SLF001  nothing else tells when

    def take(proxy: FaultProxy) -> asyncio.Protocol:
        taken.set()
        return accept(proxy)

    monkeypatch.setattr(FaultProxy, "_accept", take)
    with socket.create_server((HOST, 0)) as target:
        port = target.getsockname()[1]
        proxy = FaultProxy(free_port(), port, random.Random(1))  # noqa: S311  guards nothing
        await proxy.__aenter__()
        with socket.create_connection((HOST, proxy.port)):
            await taken.wait()
            async with asyncio.timeout(10):
                await proxy.__aexit__()
