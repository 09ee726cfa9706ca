"""Retention and those who send something again: whichever comes first, nothing is left half there.

Each test stops the one in the middle of its real transaction and lets the other run into it.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from service.domain.delivery import Trigger
from service.domain.errors import RefusalKind
from service.domain.ids import DeliveryRef
from service.ports import Described
from service.store import schema
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.held import Held, started
from tests.support.world import World, event, opened_world, refused

pytestmark = pytest.mark.anyio

DAY = 86_400_000
#: Milliseconds after which what was written in a part may be dropped with it.
LONG = DAY // 8
#: Stops whoever is to write into the audit log: nearly the last that a change does.
BEFORE_THE_NOTE = "LOCK TABLE audit_log IN SHARE MODE"
#: Stops retention after it has looked for what is queued, before it deletes any event.
BEFORE_THE_DELETION = "SELECT id FROM event_ids FOR UPDATE"
#: Stops retention after it has deleted.
AFTER_THE_DELETION = "SELECT id FROM tenants FOR UPDATE"


@pytest.fixture
def place(url: str) -> Place:
    """What is shown here needs a database that can be shared."""
    return url


@pytest.fixture(params=["rest", "part"])
async def world(
    request: pytest.FixtureRequest, place: Place, clock: FakeClock
) -> AsyncIterator[World]:
    """A world whose events go row by row, or one in which they go with their part."""
    async with opened_world(place, clock) as world:
        if request.param == "part":
            await world.sweep.renew_parts(10**12)
            world.clock.advance(DAY)
        yield world


async def delivered(world: World) -> DeliveryRef:
    """A delivery past retention."""
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.deliver_due()
    world.clock.advance(LONG)
    return ref


async def dead(world: World) -> DeliveryRef:
    """A delivery past retention with an open dead letter."""
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.exhaust()
    world.clock.advance(LONG)
    return ref


async def forgotten(world: World) -> None:
    """Let retention take all that it takes."""
    while await world.sweep.forget(1):
        pass


def again(world: World, ref: DeliveryRef) -> Awaitable[Any]:
    return world.replay.replay_one("default", ref, Trigger.MANUAL, "key_test")


# --- one delivery is sent again


async def test_a_retry_that_comes_first_keeps_its_event(world: World, other: World) -> None:
    ref = await delivered(world)
    async with Held(world, BEFORE_THE_NOTE):
        retry = await started(world, again(other, ref))
        assert not retry.done()
        forgetting = await started(world, world.sweep.forget(1))

    assert await retry == ref
    assert await forgetting == 0
    assert [each.ref for each in await world.claim()] == [ref]


@pytest.mark.parametrize("stop", [BEFORE_THE_DELETION, AFTER_THE_DELETION])
async def test_a_retry_that_comes_second_finds_nothing(
    world: World, other: World, stop: str
) -> None:
    ref = await delivered(world)
    async with Held(world, stop):
        forgetting = await started(world, world.sweep.forget(1))
        assert not forgetting.done()
        retry = await started(world, again(other, ref))
        assert not retry.done()

    assert await forgetting == 1
    assert refused(await retry).kind is RefusalKind.NOT_FOUND
    assert await world.log() == []
    for table in (schema.deliveries, schema.delivery_queue):
        assert await world.rows(table) == []


async def resolved(world: World) -> DeliveryRef:
    """A delivery that went through after its event was gone: of it there is only the copy."""
    ref = await dead(world)
    await forgotten(world)
    assert await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test") == ref
    await world.deliver_due()
    return ref


async def test_a_retry_that_comes_first_keeps_its_dead_letter(world: World, other: World) -> None:
    ref = await resolved(world)
    async with Held(world, BEFORE_THE_NOTE):
        retry = await started(world, again(other, ref))
        assert not retry.done()
        forgetting = await started(world, world.sweep.forget(1))

    assert await retry == ref
    await forgetting
    assert [each.ref for each in await world.claim()] == [ref]


async def test_a_retry_that_comes_after_its_dead_letter_finds_nothing(
    world: World, other: World
) -> None:
    ref = await resolved(world)
    async with Held(world, "SELECT status FROM deliveries FOR UPDATE"):
        forgetting = await started(world, world.sweep.forget(1))
        assert not forgetting.done()
        retry = await started(world, again(other, ref))
        assert not retry.done()

    assert await forgetting == 1
    assert refused(await retry).kind is RefusalKind.NOT_FOUND
    assert await world.rows(schema.delivery_queue) == []


# --- what was missed is made up for


async def late(world: World) -> None:
    """An operation that nobody described yet, its events past retention."""
    await world.posted(event("op", "STARTED"), event("op", "note"))
    world.clock.advance(LONG)


def described(world: World) -> Awaitable[Any]:
    return world.describe(webhook={"event_types": ("*",)})


async def test_a_description_that_comes_first_keeps_the_events_it_makes_up_for(
    world: World, other: World
) -> None:
    await late(world)
    async with Held(world, BEFORE_THE_NOTE):
        describing = await started(world, described(other))
        assert not describing.done()
        forgetting = await started(world, world.sweep.forget(1))

    assert isinstance(await describing, Described)
    assert await forgetting == 0
    assert len(await world.claim()) == 2


async def test_a_description_that_comes_second_makes_up_for_nothing(
    world: World, other: World
) -> None:
    await late(world)
    async with Held(world, BEFORE_THE_DELETION):
        forgetting = await started(world, world.sweep.forget(1))
        assert not forgetting.done()
        describing = await started(world, described(other))

    assert await forgetting == 2
    assert isinstance(await describing, Described)
    assert await world.rows(schema.delivery_queue) == []


async def test_a_bulk_replay_that_comes_second_makes_nothing(world: World, other: World) -> None:
    await world.posted(event("op1"), event("op2"))
    lane = await world.subscribe()
    plan = world.plan(subscription_no=lane.no, only="missing")
    run = await world.replay.start_replay(world.replay_operation(), plan, "key_test")
    world.clock.advance(LONG)
    async with Held(world, BEFORE_THE_DELETION):
        forgetting = await started(world, world.sweep.forget(1))
        assert not forgetting.done()
        stepping = await started(world, other.replay.step_replay(run, 10))  # type: ignore[arg-type]  # a run
        assert not stepping.done()

    assert await forgetting == 2
    assert (await stepping).run.replayed == 0
    assert await world.rows(schema.delivery_queue) == []


# --- a dead letter is discarded


async def test_a_dead_letter_that_is_discarded_meanwhile_leaves_no_delivery(
    world: World, other: World
) -> None:
    ref = await dead(world)
    async with Held(world, AFTER_THE_DELETION):
        forgetting = await started(world, world.sweep.forget(1))
        assert not forgetting.done()
        discarding = await started(world, other.replay.discard("default", ref, "key_test"))
        assert not discarding.done()

    await forgetting
    assert await discarding is None
    await forgotten(world)
    assert await world.log() == []
    assert await world.sql("SELECT number FROM attempts_rest") == []
    for table in (schema.deliveries, schema.dead_letters):
        assert await world.rows(table) == []
