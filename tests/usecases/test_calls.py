"""How many of our functions are called for each event and each delivery: counted, so it is exact.

What Python costs is mostly calls. Counted is what one more of a batch adds, so what a batch costs
as a whole is left out, and a machine may be as busy as it likes. A number that grows means: work
that was done once for a batch is now done for each of it (a model built, a row converted, a value
looked up again, a coroutine more on the way), which no test of behaviour would see. The bounds are
what it takes now: a change that needs fewer lowers them, one that needs more says why here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.broker import BrokerWaker, make_broker
from service.domain.ids import keyed
from service.pubsub.in_process import InProcessBackplane
from service.usecases.accept import Accept
from service.usecases.compose import Composer, Wire
from service.worker import declare
from tests.support.clock import FakeClock
from tests.support.counting import Counting, added
from tests.support.dice import SeededDice
from tests.support.sending import OpenVault
from tests.support.world import World, event

pytestmark = pytest.mark.anyio

#: Two sizes of a batch, neither of them so large that it is split.
FEW, MANY = 100, 300


async def each(run: Callable[[int], Awaitable[object]]) -> tuple[float, list[str]]:
    """Calls that one more of a batch adds, and what they are of."""
    await run(FEW)  # what is done once and kept is none of it
    few, many = Counting(), Counting()
    with few:
        await run(FEW)
    with many:
        await run(MANY)
    return added(few, many, MANY - FEW)


def ignore(_: list[int]) -> None:
    """Do nothing about a wake."""


async def test_a_request_to_accept_an_event(world: World) -> None:
    await world.subscribe("hook")
    broker = make_broker("")
    declare(broker, ignore, actor="deliver", queue="lanes")
    accept = Accept(world.accept, BrokerWaker(broker), InProcessBackplane())
    runs = iter(range(10))

    async def run(count: int) -> None:
        name = f"r{next(runs)}"
        requests = (accept.events("default", [event(f"{name}-{n // 4}")]) for n in range(count))
        await asyncio.gather(*requests)

    calls, of = await each(run)

    assert calls <= 28.4, of


async def test_a_delivery_that_is_claimed_and_settled(world: World) -> None:
    lane = await world.subscribe("hook")
    await world.posted(*(event(f"op{n // 4}") for n in range(2 * FEW + MANY)))

    async def claim(count: int) -> None:
        claimed.append(await world.claim(lane.no, quota=count))

    async def settle(_: int) -> None:
        await world.deliver.settle(settlements.pop(0))

    claimed: list[list[Any]] = []
    claims, of_claims = await each(claim)
    settlements = [[world.settlement(one) for one in some] for some in claimed]
    settles, of_settles = await each(settle)

    assert claims <= 1, of_claims
    assert settles <= 12.1, of_settles


async def test_a_request_that_is_composed_and_signed(world: World, clock: FakeClock) -> None:
    lane = await world.subscribe("hook")
    await world.posted(*(event(f"op{n}") for n in range(MANY)))
    claim = await world.claim_all(lane.no, quota=MANY)
    wire = Wire("Ringback/test", "http://ringback.test", 20.0)
    composer = Composer(OpenVault(), clock, SeededDice(), wire)

    async def run(count: int) -> None:
        for claimed in claim.deliveries[:count]:
            composer.compose(claim.lanes[lane.no], claimed)

    calls, of = await each(run)

    assert calls <= 20, of


async def test_one_more_call_for_each_is_seen() -> None:
    async def run(count: int) -> None:
        for number in range(count):
            keyed("evt", number, b"salt")

    assert await each(run) == (1, ["ids.keyed 1"])
