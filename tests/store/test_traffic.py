"""What is counted over time: what happened, of each tenant and of all; no longer than drawn."""

import pytest

from service.domain.delivery import Trigger
from service.domain.traffic import HOUR, KEPT, MINUTE, RANGES, Gauges, Point, Range
from service.store import schema
from service.store.schema_traffic import traffic
from tests.support.clock import FakeClock
from tests.support.world import SCHEDULE, World, event, opened_world

pytestmark = pytest.mark.anyio

LAST_HOUR = RANGES["1h"]
LAST_MONTH = RANGES["30d"]
DAY = 24 * HOUR


async def counted(world: World, tenant: str | None, wanted: Range = LAST_HOUR) -> list[Point]:
    """The points at which anything was counted, as one sees them when they are over."""
    world.clock.advance(2 * MINUTE)
    return [each for each in await world.traffic.points(tenant, wanted) if not each.is_empty]


async def sums(world: World, tenant: str | None, wanted: Range = LAST_HOUR) -> tuple[int, ...]:
    """Accepted, delivered, failed, dead; how many delivery times."""
    points = await counted(world, tenant, wanted)
    names = ("accepted", "delivered", "failed", "dead")
    totals = [sum(getattr(each, name) for each in points) for name in names]
    return (*totals, sum(sum(each.took) for each in points))


async def flushed(world: World) -> None:
    """Write what waits to be written."""
    world.clock.advance(1_000)
    await world.deliver.flush()
    await world.counts.flush()


async def work(world: World, tenant: str, count: int) -> None:
    """Events of a tenant, delivered all but one, which dies of its failures."""
    lane = await world.subscribe(f"{tenant}-hook", tenant=tenant)
    await world.posted(*(event(f"op{n}") for n in range(count)), tenant=tenant)
    claimed = await world.claim(lane.no)
    world.clock.advance(100)
    await world.settle(claimed[1:])
    await world.settle(claimed[:1], 500)
    for _ in SCHEDULE[1:]:
        world.clock.advance(10 * MINUTE)
        await world.settle(await world.claim(lane.no), 500)
    await flushed(world)


@pytest.mark.parametrize("wanted", RANGES.values(), ids=RANGES)
async def test_what_happened_is_counted_once_for_its_tenant_and_once_for_all(
    world: World, wanted: Range
) -> None:
    await world.tenant("acme")
    await work(world, "default", 5)
    await work(world, "acme", 3)

    assert await sums(world, "default", wanted) == (5, 4, 3, 1, 4)
    assert await sums(world, "acme", wanted) == (3, 2, 3, 1, 2)
    assert await sums(world, None, wanted) == (8, 6, 6, 2, 6)
    assert await sums(world, "nobody", wanted) == (0, 0, 0, 0, 0)


async def test_it_is_counted_when_it_happened_with_how_long_it_took(world: World) -> None:
    world.clock.advance(-world.clock.now() % HOUR)
    began = world.clock.now()
    lane = await world.subscribe()
    for _ in range(3):
        await world.posted(event("op"))
        claimed = await world.claim(lane.no)
        world.clock.advance(900)
        await world.settle(claimed)
        await flushed(world)
        world.clock.advance(10 * MINUTE - 1_900)

    points = await counted(world, "default")

    assert [each.at for each in points] == [began + n * 10 * MINUTE for n in range(3)]
    assert {(each.accepted, each.delivered) for each in points} == {(1, 1)}
    assert all(512 <= (each.percentile(0.5) or 0) <= 1024 for each in points)


async def test_what_was_sent_by_hand_is_delivered_but_its_way_is_no_measure(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.exhaust()
    await world.replay.replay_one("default", ref, Trigger.REPLAY, "key")
    await world.deliver_due()
    await flushed(world)

    accepted, delivered, failed, dead, took = await sums(world, "default", RANGES["24h"])

    assert (accepted, delivered, failed, dead, took) == (1, 1, 3, 1, 0)


async def test_what_a_sweep_buries_is_counted_too(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    await world.delete(lane)
    while await world.sweep.retire():
        pass
    await flushed(world)

    assert await sums(world, "default") == (3, 0, 0, 3, 0)
    assert await sums(world, None) == (3, 0, 0, 3, 0)


async def test_operational_events_are_not_what_producers_sent(world: World) -> None:
    lane = await world.subscribe("hook", event_types=("note",))
    await world.subscribe("ops", event_types=("delivery.dead_lettered",))
    await world.queued(lane, 1)
    await world.exhaust()
    assert await world.told()
    await flushed(world)

    assert (await sums(world, "default", RANGES["24h"]))[0] == 1


async def test_a_crash_costs_what_was_not_written_and_nothing_else(world: World) -> None:
    await work(world, "default", 5)
    await world.posted(event("late"))
    await world.crash()
    await flushed(world)

    assert (await sums(world, "default"))[:2] == (5, 4)


async def test_several_processes_add_up(url: str, clock: FakeClock) -> None:
    async with opened_world(url, clock) as world, opened_world(url, clock) as other:
        await world.subscribe()
        for each in (world, other, world, other):
            await each.posted(event("op"))
            await each.deliver_due()
            await flushed(each)

        assert (await sums(other, "default"))[:2] == (4, 4)
        assert (await sums(world, None))[:2] == (4, 4)


# --- how the queue stood


async def test_of_looks_at_the_queue_the_fullest_is_kept(world: World) -> None:
    world.clock.advance(-world.clock.now() % HOUR)
    await world.traffic.sample(Gauges(1, 20, 300, 4))
    await world.traffic.sample(Gauges(2, 10, 2**40, 0))
    world.clock.advance(5 * MINUTE)
    await world.traffic.sample(Gauges(0, 0, 0, 0))
    world.clock.advance(2 * MINUTE)

    points = await world.traffic.points(None, LAST_HOUR)
    (month,) = [
        each.gauges
        for each in await world.traffic.points(None, LAST_MONTH)
        if each.gauges != Gauges()
    ]

    seen = {each.at: each.gauges for each in points if each.gauges != Gauges()}
    assert list(seen.values()) == [Gauges(2, 20, 2**40, 4), Gauges(0, 0, 0, 0)]
    assert month == Gauges(2, 20, 2**40, 4)
    assert all(each.gauges == Gauges() for each in await world.traffic.points("default", LAST_HOUR))


async def test_looks_and_counts_do_not_undo_each_other(world: World) -> None:
    await world.traffic.sample(Gauges(1, 2, 3, 4))
    await world.posted(event("op"))
    await flushed(world)
    await world.traffic.sample(Gauges(1, 1, 1, 1))

    (point,) = await counted(world, None)

    assert (point.accepted, point.gauges) == (1, Gauges(1, 2, 3, 4))


# --- no longer than it is drawn


async def test_minutes_go_after_a_day_and_hours_after_a_month(world: World) -> None:
    await work(world, "default", 2)
    lengths = {row["length"] for row in await world.rows(traffic)}
    assert lengths == set(KEPT) == {MINUTE, HOUR}
    assert await world.traffic.forget() == 0

    world.clock.advance(DAY + 2 * HOUR)
    assert await world.traffic.forget() > 0
    while await world.traffic.forget():
        pass
    assert {row["length"] for row in await world.rows(traffic)} == {HOUR}
    assert (await sums(world, "default", RANGES["7d"]))[:2] == (2, 1)

    world.clock.advance(31 * DAY)
    while await world.traffic.forget():
        pass
    assert await world.rows(traffic) == []


async def test_a_batch_is_bounded(world: World) -> None:
    async with world.database.read() as tx:
        now = tx.now
    for number in range(700):
        await world.sql(
            "INSERT INTO traffic (tenant_id, length, slice_at) VALUES (?, ?, ?)",
            "default",
            MINUTE,
            now - 3 * DAY - number * MINUTE,
        )

    assert await world.traffic.forget() == 500
    assert await world.traffic.forget() == 200
    assert await world.traffic.forget() == 0


async def test_there_is_one_row_a_slice_however_much_happens(world: World) -> None:
    world.clock.advance(-world.clock.now() % HOUR)
    lane = await world.subscribe()
    for number in range(10):
        await world.posted(*(event(f"op{n}-{number}") for n in range(20)))
        await world.settle(await world.claim(lane.no), 200 if number % 2 else 500)
        await flushed(world)

    rows = await world.rows(traffic)

    assert [(row["tenant_id"], row["length"]) for row in rows] == [
        ("", MINUTE),
        ("", HOUR),
        ("default", MINUTE),
        ("default", HOUR),
    ]
    assert {row["accepted"] for row in rows} == {200}
    assert isinstance(rows[0]["slice_at"], int)
    assert len(await world.rows(schema.deliveries)) == rows[0]["delivered"] > 0
