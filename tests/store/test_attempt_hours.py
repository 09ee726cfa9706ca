"""Attempts of one subscription past their day: by the hour for a month, counted once."""

import asyncio
from collections import Counter

import pytest

from service.domain.subscription import Subscription
from service.domain.tallies import RANGES, Tally
from service.domain.traffic import DAY, HOUR, MINUTE
from service.ports import Attempts
from service.store import hours
from service.store.purging import purge
from service.store.schema_health import attempt_hours, attempt_tallies
from tests.support.databases import ONLY_POSTGRES
from tests.support.world import World, event

pytestmark = pytest.mark.anyio

MONTH = RANGES["30d"]
#: Good, failed, how long they took.
Sums = tuple[int, int, Counter[int]]


async def attempted(world: World, lane: Subscription, good: int, bad: int = 0) -> None:
    """So many attempts, now, that are written down."""
    await world.queued(lane, good + bad)
    claimed = await world.claim(lane.no)
    await world.settle(claimed[:good])
    await world.settle(claimed[good:], 500)
    world.clock.advance(1_000)
    await world.deliver.flush()
    await world.counts.flush()


async def at_the_hour(world: World, past: int = 0) -> int:
    """Wait for the end of an hour, and so many ms more."""
    world.clock.advance(HOUR - world.clock.now() % HOUR + past)
    return world.clock.now() - past


async def tallied(world: World, lane: Subscription, *rows: tuple[int, int, int, int]) -> None:
    """Counts as they were written when they happened: slice, bucket, good, failed."""
    for at, bucket, good, bad in rows:
        await world.sql(
            "INSERT INTO attempt_tallies (subscription_no, slice_at, bucket, succeeded, failed) "
            "VALUES (?, ?, ?, ?, ?)",
            lane.no,
            at,
            bucket,
            good,
            bad,
        )


async def points(world: World, lane: Subscription, name: str = "30d") -> list[Tally]:
    """The points at which anything was counted."""
    found = await world.read.subscription_attempts(lane.no, RANGES[name])
    return [each for each in found if each.took]


async def sums(world: World, lane: Subscription, name: str = "30d") -> Sums:
    found = await points(world, lane, name)
    took: Counter[int] = Counter()
    for each in found:
        took.update(each.took)
    return sum(each.succeeded for each in found), sum(each.failed for each in found), took


async def forget(world: World) -> int:
    """Forget everything that may be; how much that was."""
    total = 0
    while count := await world.deliver.forget_counts():
        total += count
    return total


@pytest.mark.parametrize("name", RANGES)
async def test_every_range_has_its_points_also_where_there_was_nothing(
    world: World, name: str
) -> None:
    lane = await world.subscribe()
    wanted = RANGES[name]

    found = await world.read.subscription_attempts(lane.no, wanted)

    assert len(found) == wanted.span // wanted.step
    assert found[-1].at <= world.clock.now() < found[-1].at + wanted.step
    assert not any(each.took for each in found)


@pytest.mark.parametrize("name", RANGES)
async def test_what_is_just_counted_is_in_the_slice_under_way(world: World, name: str) -> None:
    lane = await world.subscribe()
    await attempted(world, lane, 2)

    found = await world.read.subscription_attempts(lane.no, RANGES[name])

    assert (found[-1].succeeded, found[-1].failed) == (2, 0)
    assert not any(each.took for each in found[:-1])


async def test_what_is_past_its_day_stays_by_the_hour(world: World) -> None:
    lane = await world.subscribe()
    began = await at_the_hour(world)
    await attempted(world, lane, 2)
    world.clock.advance(20 * MINUTE)
    await attempted(world, lane, 0, 1)
    await at_the_hour(world)
    other = await world.subscribe("other")
    await attempted(world, other, 4)
    before = await sums(world, lane)

    world.clock.advance(DAY + 2 * HOUR)
    assert await forget(world) > 0

    assert await world.rows(attempt_tallies) == []
    rows = await world.rows(attempt_hours)
    assert [(row["subscription_no"], row["hour_at"]) for row in rows] == [
        (lane.no, began),
        (other.no, began + HOUR),
    ]
    assert [(row["succeeded"], row["failed"]) for row in rows] == [(2, 1), (4, 0)]
    assert await sums(world, lane) == before
    assert before[:2] == (2, 1)
    assert [each.at for each in await points(world, lane, "7d")] == [began]
    for name in ("6h", "24h"):
        assert await points(world, lane, name) == []
    stats = await world.read.subscription_stats(lane.no)
    assert stats.last_day == Attempts(0, 0)


async def test_percentiles_are_the_same_before_and_after(world: World) -> None:
    lane = await world.subscribe()
    began = await at_the_hour(world)
    slices = [began + n * 10 * MINUTE for n in range(6)]
    await tallied(world, lane, *((at, n, n, 1) for n, at in enumerate(slices)))
    world.clock.advance(DAY - HOUR)
    (before,) = await points(world, lane, "7d")

    world.clock.advance(2 * HOUR)
    await forget(world)
    (after,) = await points(world, lane, "7d")

    assert (before.succeeded, before.failed) == (15, 6)
    assert after == before
    assert after.percentile(0.95) == before.percentile(0.95) is not None


@pytest.mark.parametrize("minutes", range(0, 70, 10))
async def test_an_hour_of_which_a_part_is_forgotten_is_whole(world: World, minutes: int) -> None:
    lane = await world.subscribe()
    began = await at_the_hour(world)
    await tallied(world, lane, *((began + n * 10 * MINUTE, 5, 1, 2) for n in range(6)))

    world.clock.advance(DAY + minutes * MINUTE + 1)
    await forget(world)

    left = await world.rows(attempt_tallies)
    assert len(left) == 6 - min(minutes // 10 + 1, 6)
    (whole,) = await points(world, lane, "7d")
    assert (whole.at, whole.succeeded, whole.failed, whole.took) == (began, 6, 12, {5: 18})
    assert await forget(world) == 0


async def test_slices_that_are_forgotten_late_go_to_hours_of_their_own(world: World) -> None:
    lane, other = await world.subscribe(), await world.subscribe("other")
    began = await at_the_hour(world)
    for each in (lane, other):
        await tallied(
            world,
            each,
            *((began + n * 10 * MINUTE, bucket, n, 1) for n in range(72) for bucket in range(5)),
        )
    world.clock.advance(2 * DAY + 12 * HOUR)  # no sweeper ran
    before = [await points(world, each, "7d") for each in (lane, other)]
    assert len(before[0]) == 12

    batches = []
    while count := await world.deliver.forget_counts():
        batches.append(count)
        # whichever part of it has moved
        assert [await points(world, each, "7d") for each in (lane, other)] == before

    assert batches == [500, 220]
    assert len(await world.rows(attempt_hours)) == 24
    assert before[0][0].at == began


async def test_counts_that_come_late_are_added_to_their_hour(world: World) -> None:
    lane = await world.subscribe()
    began = await at_the_hour(world)
    await tallied(world, lane, (began, 3, 1, 0))
    world.clock.advance(3 * DAY)
    await forget(world)
    await tallied(world, lane, (began, 3, 1, 1), (began + 10 * MINUTE, 4, 0, 5))
    await forget(world)

    (hour,) = await points(world, lane, "7d")

    assert (hour.succeeded, hour.failed, hour.took) == (2, 6, {3: 3, 4: 5})


@ONLY_POSTGRES
async def test_two_sweepers_at_once_count_nothing_twice(world: World, other: World) -> None:
    lane = await world.subscribe()
    began = await at_the_hour(world)
    await tallied(
        world, lane, *((began + n * 10 * MINUTE, b, 1, 1) for n in range(140) for b in range(9))
    )
    world.clock.advance(3 * DAY)
    before = await sums(world, lane)

    while await world.rows(attempt_tallies):
        await asyncio.gather(*(each.deliver.forget_counts() for each in (world, other) * 4))

    assert await sums(world, lane) == before
    assert before[:2] == (140 * 9, 140 * 9)


async def test_what_could_not_be_added_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()
    began = await at_the_hour(world)
    await tallied(world, lane, (began, 3, 1, 0))
    world.clock.advance(3 * DAY)

    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(hours, "add", broken)
        with pytest.raises(RuntimeError):
            await world.deliver.forget_counts()
    assert (await sums(world, lane))[:2] == (1, 0)
    await forget(world)

    assert (await sums(world, lane))[:2] == (1, 0)


async def test_hours_are_forgotten_after_a_month(world: World) -> None:
    lane = await world.subscribe()
    began = await at_the_hour(world)
    await tallied(world, lane, (began, 3, 1, 0))
    world.clock.advance(DAY + HOUR)
    await forget(world)
    world.clock.advance(began + MONTH.span - world.clock.now())
    await forget(world)
    assert len(await world.rows(attempt_hours)) == 1  # the oldest point may have it still

    world.clock.advance(DAY + HOUR)

    assert await forget(world) == 1
    assert await world.rows(attempt_hours) == []


async def test_old_hours_go_in_batches(world: World) -> None:
    now = await at_the_hour(world)
    for number in range(700):
        await world.sql(
            "INSERT INTO attempt_hours (subscription_no, hour_at, succeeded, failed, took) "
            "VALUES (?, ?, 1, 0, ?)",
            1,
            now - 40 * DAY - number * HOUR,
            b"[[3,1]]",
        )

    assert await world.deliver.forget_counts() == 500
    assert await world.deliver.forget_counts() == 200
    assert await world.deliver.forget_counts() == 0


async def test_of_what_is_deleted_or_of_one_operation_no_hours_are_kept(world: World) -> None:
    gone, kept = await world.subscribe("gone"), await world.subscribe("kept")
    bound = await world.subscribe("bound", operation_id="op")
    began = await at_the_hour(world)
    for each in (gone, kept, bound):
        await tallied(world, each, (began, 3, 1, 0))
    await world.delete(gone)
    world.clock.advance(2 * DAY)

    await forget(world)

    assert [row["subscription_no"] for row in await world.rows(attempt_hours)] == [kept.no]
    assert await world.rows(attempt_tallies) == []


async def test_of_the_whole_service_no_hours_are_kept_a_second_time(world: World) -> None:
    lane = await world.subscribe()
    await world.posted(event("op"))
    await world.settle(await world.claim(lane.no))
    await world.deliver.flush()
    await world.counts.flush()
    assert {row["subscription_no"] for row in await world.rows(attempt_tallies)} == {0, lane.no}
    world.clock.advance(2 * DAY)
    await world.sql("DELETE FROM attempt_tallies WHERE subscription_no <> 0")

    assert await forget(world) == 1

    assert await world.rows(attempt_hours) == []


@pytest.mark.parametrize("name", ["7d", "30d"])
async def test_a_range_begins_with_a_whole_step(world: World, name: str) -> None:
    lane = await world.subscribe()
    now = await at_the_hour(world, past=25 * MINUTE) + 25 * MINUTE
    first = (await world.read.subscription_attempts(lane.no, RANGES[name]))[0].at
    await tallied(world, lane, (first - 10 * MINUTE, 3, 1, 0), (first, 3, 0, 1))
    await forget(world)

    assert await sums(world, lane, name) == (0, 1, {3: 1})
    assert now - RANGES[name].span < first <= now - RANGES[name].span + RANGES[name].step


async def test_what_a_deleted_tenant_had_is_purged_in_batches(world: World) -> None:
    await world.tenant("acme")
    mine, theirs = await world.subscribe(), await world.subscribe("theirs", tenant="acme")
    last = await world.subscribe("last", tenant="acme")  # the highest number of all stays
    now = await at_the_hour(world)
    for lane, count in ((mine, 3), (theirs, 600), (last, 3)):
        for number in range(count):
            await world.sql(
                "INSERT INTO attempt_hours (subscription_no, hour_at, succeeded, failed, took) "
                "VALUES (?, ?, 1, 0, ?)",
                lane.no,
                now - number * HOUR,
                b"[[3,1]]",
            )
    await world.sql("UPDATE tenants SET deleted_at = ? WHERE id = 'acme'", now)

    left = []
    while await purge(world.database):
        left.append(len(await world.rows(attempt_hours)))

    assert left[:2] == [106, 3]
    assert {row["subscription_no"] for row in await world.rows(attempt_hours)} == {mine.no}
