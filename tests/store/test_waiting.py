"""What a delivery that is read is said to wait for, on both databases."""

from collections.abc import AsyncIterator

import pytest

from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.health import Circuit, circuit
from service.domain.ids import DeliveryRef
from service.domain.subscription import Subscription, SubscriptionStatus
from service.domain.times import NEVER
from service.ports import DeliveryFilter, DeliveryView, Span
from service.store import schema
from service.store.schema_health import subscription_health
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.world import World, event, opened_world

pytestmark = pytest.mark.anyio

SECOND = 1_000


@pytest.fixture
async def careful(place: Place, clock: FakeClock) -> AsyncIterator[World]:
    """A process for which circuits count."""
    async with opened_world(place, clock, breaker=True) as world:
        yield world


async def seen(world: World, ref: DeliveryRef) -> DeliveryView:
    """A delivery, which lists show as it shows by itself."""
    one = await world.read.delivery("default", ref)
    page = await world.read.deliveries("default", DeliveryFilter(), Span(100))
    assert one is not None
    assert [each for each in page.items if each.ref == ref] == [one]
    return one


async def chain(world: World, count: int = 3, **members: object) -> list[DeliveryRef]:
    """The deliveries of one operation's events to a subscription that keeps their order."""
    lane = await world.subscribe(ordering="operation", **members)  # type: ignore[arg-type]  # members of many types
    await world.posted(*(event("a") for _ in range(count)))
    rows = await world.rows(schema.delivery_queue, subscription_no=lane.no)
    return [DeliveryRef(row["event_key"], lane.no) for row in rows]


async def behind(world: World, refs: list[DeliveryRef]) -> list[DeliveryRef | None]:
    return [(await seen(world, ref)).behind for ref in refs]


async def hurry(world: World, ref: DeliveryRef) -> None:
    assert await world.replay.replay_one("default", ref, Trigger.MANUAL, "key_test") == ref


# --- circuits


async def broken(world: World) -> tuple[Subscription, DeliveryRef]:
    """A subscription whose circuit has just opened, and one of its deliveries."""
    lane = await world.subscribe()
    refs = await world.queued(lane, 10)
    await world.deliver_due(500)
    return lane, refs[0]


async def test_where_circuits_do_not_count_none_is_told_of(
    careful: World, clock: FakeClock, place: Place
) -> None:
    lane, ref = await broken(careful)
    opens = clock.now() + 30 * SECOND
    assert (await seen(careful, ref)).due_at == opens
    assert (await careful.read.service_stats()).circuits_open == 1
    (own,) = await careful.rows(schema.delivery_queue, **ref._asdict())
    await careful.close()

    async with opened_world(place, clock, breaker=False) as careless:
        for moment in (clock.now(), opens):  # open, then half open
            clock.at = moment
            assert (await seen(careless, ref)).due_at == own["due_at"]
            stats = await careless.read.service_stats()
            assert (stats.circuits_open, stats.circuits_half_open) == (0, 0)
            known, at = await careless.read.healths([lane.no])
            one = (await careless.read.subscription_stats(lane.no)).health
            assert known == {lane.no: one}
            assert circuit(one, at) is Circuit.CLOSED
            assert one.open_until == 0
            assert one.streak == 10  # what else is remembered counts as ever
        (kept,) = await careless.rows(subscription_health)
    assert kept["open_until"] == opens  # for a process for which it counts
    await careful.open()
    assert (await careful.read.service_stats()).circuits_half_open == 1


# --- subscriptions to which nothing goes


@pytest.mark.parametrize("trigger", [None, Trigger.REPLAY])
async def test_what_is_paused_has_no_moment_until_it_is_resumed(
    world: World, trigger: Trigger | None
) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    if trigger is not None:
        await world.exhaust()
        await world.replay.replay_one("default", ref, trigger, "key_test")
    await world.sql("UPDATE subscriptions SET hold_until = ?", world.clock.now() + SECOND)
    assert (await seen(world, ref)).due_at == world.clock.now() + SECOND

    await world.change(lane, status=SubscriptionStatus.PAUSED)
    view = await seen(world, ref)
    assert (view.status, view.due_at, view.is_hurried) == (DeliveryStatus.PENDING, None, False)

    await world.set_status(lane, "active")
    assert (await seen(world, ref)).due_at is not None


async def test_what_goes_to_nobody_any_more_has_no_moment(world: World) -> None:
    disabled, deleted = await world.subscribe("one"), await world.subscribe("two")
    refs = [*await world.queued(disabled, 1)]
    refs += [ref._replace(subscription_no=deleted.no) for ref in refs]
    await world.set_status(disabled, "disabled")
    await world.delete(deleted)

    assert [(await seen(world, ref)).due_at for ref in refs] == [None, None]


# --- what somebody wants sent now


async def test_what_is_hurried_has_no_moment_but_now(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.deliver_due(500)
    assert (await seen(world, ref)).due_at is not None

    await hurry(world, ref)

    view = await seen(world, ref)
    assert (view.is_hurried, view.due_at) == (True, None)


async def test_what_is_hurried_is_told_from_what_waits(world: World) -> None:
    first, second, third = await chain(world)
    await world.set_status(await lane_of(world), "paused")

    for ref in (first, third):
        await hurry(world, ref)

    views = [await seen(world, ref) for ref in (first, second, third)]
    assert [view.is_hurried for view in views] == [True, False, True]
    assert [view.due_at for view in views] == [None, None, None]
    # the third goes out of turn; the first stays the one that goes before the second
    assert [view.behind for view in views] == [None, first, None]
    claimed = await world.claim()
    assert {each.ref for each in claimed} == {first, third}
    assert not (await seen(world, first)).is_hurried  # it is under way
    await world.settle(claimed, 500)
    views = [await seen(world, ref) for ref in (first, second, third)]
    assert [view.is_hurried for view in views] == [False, False, False]
    assert [view.behind for view in views] == [None, first, None]


async def lane_of(world: World) -> Subscription:
    found = await world.read.subscription("default", "sub")
    assert found is not None
    return found


# --- what waits for its turn


async def test_what_is_parked_says_which_goes_first(world: World) -> None:
    refs = await chain(world)
    assert await behind(world, refs) == [None, refs[0], refs[0]]
    claimed = await world.claim()
    assert await behind(world, refs) == [None, refs[0], refs[0]]
    assert [(await seen(world, ref)).due_at for ref in refs] == [None, None, None]
    await world.settle(claimed, 500)
    assert await behind(world, refs) == [None, refs[0], refs[0]]

    await world.replay.cancel_delivery("default", refs[0], "key_test")

    assert await behind(world, refs) == [None, None, refs[1]]
    await world.set_status(await lane_of(world), "paused")
    assert await behind(world, refs) == [None, None, refs[1]]


@pytest.mark.parametrize(
    "end",
    ["UPDATE subscriptions SET status = 'disabled'", "UPDATE subscriptions SET deleted_at = 1"],
    ids=["disabled", "deleted"],
)
async def test_where_nothing_goes_any_more_nothing_goes_first(world: World, end: str) -> None:
    """Until all of it is a dead letter, which takes a while where there is much."""
    refs = await chain(world)
    await world.sql(end)

    assert await behind(world, refs) == [None, None, None]


async def test_what_is_of_an_operation_that_ended_waits_for_its_turn_all_the_same(
    world: World,
) -> None:
    lane = await world.subscribe(ordering="operation")
    await world.posted(event("a", "STARTED"), event("a", "COMPLETED"), event("b"))
    rows = await world.rows(schema.delivery_queue, subscription_no=lane.no)
    refs = [DeliveryRef(row["event_key"], lane.no) for row in rows]

    assert await behind(world, refs) == [None, refs[0], None]


async def test_what_is_replayed_waits_for_none(world: World) -> None:
    refs = await chain(world, 2)
    await world.exhaust()
    await world.exhaust()
    await world.posted(event("a"), event("a"))
    await world.replay.replay_one("default", refs[1], Trigger.REPLAY, "key_test")

    rows = await world.rows(schema.delivery_queue)
    assert len(rows) == 3
    new = [DeliveryRef(row["event_key"], row["subscription_no"]) for row in rows]
    assert await behind(world, new) == [None, None, new[1]]


async def test_what_the_sweep_is_about_to_let_go_waits_for_none(world: World) -> None:
    refs = await chain(world)
    await world.change(await lane_of(world), ordering="none")
    assert await behind(world, refs) == [None, None, None]

    await world.change(await lane_of(world), ordering="operation")
    await world.sql("DELETE FROM delivery_queue WHERE due_at < ?", NEVER)
    assert await behind(world, refs[1:]) == [None, refs[1]]


async def test_only_its_own_subscription_keeps_it_waiting(world: World) -> None:
    other = await world.subscribe("other", ordering="operation")
    refs = await chain(world)
    await world.replay.cancel_delivery("default", refs[0], "key_test")
    others = [ref._replace(subscription_no=other.no) for ref in refs]

    assert await behind(world, refs[1:]) == [None, refs[1]]
    assert await behind(world, others) == [None, others[0], others[0]]


async def test_only_its_own_operation_keeps_it_waiting(world: World) -> None:
    lane = await world.subscribe(ordering="operation")
    await world.posted(event("b"), event("a"), event("a"), event("b"))
    rows = await world.rows(schema.delivery_queue, subscription_no=lane.no)
    refs = [DeliveryRef(row["event_key"], lane.no) for row in rows]

    assert await behind(world, refs) == [None, None, refs[1], refs[0]]
