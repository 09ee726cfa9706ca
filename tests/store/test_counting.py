"""Counts wait in memory: what stands in the way of counting stands in the way of nothing else."""

import asyncio
from typing import Any

import pytest

from service.domain.traffic import HOUR, MINUTE, RANGES, Gauges
from service.ports import Attempts, StoreBusyError, StoreUnavailableError, UnknownCommitError
from service.store import counting, tallying
from service.store.database import Use
from service.store.schema_health import attempt_tallies, subscription_health
from service.store.schema_traffic import traffic
from service.usecases import sweep
from service.usecases.sweep import Chore, Rounds
from tests.support.databases import ONLY_POSTGRES
from tests.support.held import Held
from tests.support.world import World, event

pytestmark = pytest.mark.anyio

#: What a process locks while it writes counts, of whatever rows.
COUNTING = "LOCK TABLE traffic, attempt_tallies IN SHARE ROW EXCLUSIVE MODE"
JUDGING = "LOCK TABLE subscription_health IN EXCLUSIVE MODE"
#: Seconds that waiting for a lock, if anything did, would last longer than.
PROMPT = 3.0
DAY = RANGES["24h"]


async def sums(world: World) -> tuple[int, ...]:
    """Accepted, delivered, failed, dead."""
    world.clock.advance(2 * MINUTE)
    points = await world.traffic.points("default", DAY)
    names = ("accepted", "delivered", "failed", "dead")
    return tuple(sum(getattr(each, name) for each in points) for name in names)


@ONLY_POSTGRES
async def test_a_process_that_stands_still_while_it_counts_is_in_the_way_of_no_other(
    world: World, other: World
) -> None:
    lane = await world.subscribe()
    closed = await world.subscribe("closed")
    await world.queued(lane, 4)
    claimed = await world.claim(lane.no)
    await world.delete(closed)

    async with Held(other, COUNTING), asyncio.timeout(PROMPT):
        for turn in range(2):
            await world.posted(event("more"))
            await world.settle(claimed[turn : turn + 1])
            await world.settle(claimed[turn + 2 : turn + 3], 500)
            world.clock.advance(10_000)
            assert await world.deliver.flush() > 0
            assert await world.counts.flush() > 0
        assert await world.sweep.retire() == 4
        await world.traffic.sample(Gauges(1, 1, 1, 1))
    assert await world.deliver.flush() == 0

    assert await sums(world) == (6, 2, 2, 4)
    assert (await world.read.subscription_stats(lane.no)).last_day == Attempts(2, 2)


@ONLY_POSTGRES
async def test_nor_is_one_that_judges_what_is_no_more_than_a_count(
    world: World, other: World
) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 4)
    claimed = await world.claim()

    async with Held(other, JUDGING), asyncio.timeout(PROMPT):
        for turn in range(2):
            await world.settle(claimed[turn : turn + 1])
            world.clock.advance(10_000)
            assert await world.deliver.flush() == 1  # while the counts are written
            assert (await world.read.subscription_stats(lane.no)).last_day == Attempts(turn + 1, 0)
    assert await world.rows(subscription_health) == []
    assert await world.deliver.flush() == 0

    (row,) = await world.rows(subscription_health)
    assert row["last_success_at"] == world.clock.now()


async def test_what_is_written_late_counts_when_it_happened(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.advance(-world.clock.now() % HOUR)
    began = world.clock.now()
    lane = await world.subscribe()
    await world.queued(lane, 2)
    await world.deliver_due()
    with monkeypatch.context() as patch:
        refuse(world, patch, StoreBusyError("busy"))
        assert await world.counts.flush() > 0
    world.clock.advance(5 * MINUTE)
    await world.queued(lane, 1)
    await world.counts.flush()
    world.clock.advance(2 * MINUTE)

    points = await world.traffic.points("default", RANGES["1h"])
    found = {(p.at - began) // MINUTE: (p.accepted, p.delivered) for p in points if not p.is_empty}

    assert found == {0: (2, 2), 5: (1, 0)}
    assert {row["slice_at"] % HOUR for row in await world.rows(attempt_tallies)} == {0}


def refuse(world: World, patch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the database take nothing."""

    async def write(*_: object) -> None:
        raise error

    patch.setattr(world.database, "write", write)


async def test_while_the_store_is_away_they_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.posted(event("a"), event("b"))
    for _ in range(2):
        with monkeypatch.context() as patch:
            refuse(world, patch, StoreUnavailableError("away"))
            with pytest.raises(StoreUnavailableError, match="away"):
                await world.counts.flush()
        await world.posted(event("c"))

    assert await world.counts.flush() == 0
    assert (await sums(world))[0] == 4


async def both_wait(world: World) -> None:
    """A result that was only counted waits to be judged, and to be counted."""
    lane = await world.subscribe()
    await world.queued(lane, 1)
    await world.counts.flush()
    await world.deliver_due()
    world.clock.advance(10_000)


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), ValueError("a bug")])
async def test_counts_are_written_though_what_is_judged_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await both_wait(world)
    write = world.database.write

    async def refuse(job: Any, use: Use = Use.REST) -> Any:  # noqa: ANN401  as it is given
        if use is Use.SETTLE:
            raise error
        return await write(job, use)

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "write", refuse)
        with pytest.raises(type(error), match=str(error)):
            await world.deliver.flush()

    assert await sums(world) == (1, 1, 0, 0)
    assert await world.rows(subscription_health) == []
    assert await world.deliver.flush() == 0
    assert len(await world.rows(subscription_health)) == 1


async def test_who_stops_waits_for_a_store_that_does_not_answer_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await both_wait(world)
    asked: list[Use] = []

    async def hang(_job: object, use: Use = Use.REST) -> None:
        asked.append(use)
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "write", hang)
        patch.setattr(sweep, "_LAST", 0.05)
        async with asyncio.timeout(PROMPT):
            chore = Chore("results only counted", 1.0, world.deliver.flush, keeps=True)
            await Rounds(world.clock, [chore]).finish()

    assert asked == [Use.SETTLE]
    assert await world.deliver.flush() == 0  # nothing of it is lost
    assert await sums(world) == (1, 1, 0, 0)


async def test_what_may_be_written_is_not_counted_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.posted(event("a"))
    with monkeypatch.context() as patch:
        refuse(world, patch, UnknownCommitError("who knows"))
        with pytest.raises(UnknownCommitError):
            await world.counts.flush()

    assert await world.counts.flush() == 0
    assert (await sums(world))[0] == 0


async def test_no_more_wait_than_there_is_room_for_the_newest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST", 3)
    with monkeypatch.context() as patch:
        refuse(world, patch, StoreBusyError("busy"))
        for count in range(1, 6):
            world.counts.add(tallying.accepted(["default"] * count, world.clock.now()))
            world.clock.advance(MINUTE)
            assert await world.counts.flush() == min(count, 3)

    assert await world.counts.flush() == 0
    rows = await world.rows(traffic, length=MINUTE, tenant_id="default")
    assert [row["accepted"] for row in rows] == [3, 4, 5]
