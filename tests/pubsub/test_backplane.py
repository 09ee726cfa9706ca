"""What every backplane does, in this process or over Redis; each kind is put through the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from service.ports import Moved
from service.pubsub import RunningBackplane, make_backplane
from tests.support.valkey import namespace

pytestmark = pytest.mark.anyio

Notes = Sequence[Moved]

KINDS = ["in process", "over Redis"]


@asynccontextmanager
async def running(url: str) -> AsyncIterator[RunningBackplane]:
    made = make_backplane(url, "a", namespace())
    run = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await made.close()


@pytest.fixture(params=KINDS)
async def backplane(request: pytest.FixtureRequest) -> AsyncIterator[RunningBackplane]:
    url = "" if request.param == "in process" else request.getfixturevalue("redis_url")
    async with running(url) as made:
        yield made


async def test_everybody_who_listens_hears_every_note_once(backplane: RunningBackplane) -> None:
    heard: list[tuple[str, Notes]] = []
    backplane.listen(lambda notes: heard.append(("first", notes)))
    backplane.listen(lambda notes: heard.append(("second", notes)))

    backplane.publish([("default", "op_1"), ("default", "")])
    await asyncio.sleep(0.1)  # in which it could come a second time, by way of the network

    assert heard == [
        ("first", [("default", "op_1"), ("default", "")]),
        ("second", [("default", "op_1"), ("default", "")]),
    ]


async def test_what_was_published_before_is_not_heard(backplane: RunningBackplane) -> None:
    heard: list[Notes] = []
    backplane.publish([("default", "op_1")])
    backplane.listen(heard.append)
    await asyncio.sleep(0.1)

    assert heard == []


async def test_publishing_waits_for_nothing(backplane: RunningBackplane) -> None:
    heard: list[Moved] = []
    backplane.listen(heard.extend)

    for number in range(1_000):
        backplane.publish([("default", f"op_{number}")])

    assert len(heard) == 1_000
