"""Attempts in parts by time, on PostgreSQL: made ahead, dropped whole, never in the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest

from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef, key_floor
from service.store import traffic
from service.store.postgres import migrating, parting
from service.store.postgres.parting import AHEAD, DAY
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.postgres import Databases
from tests.support.world import LEASE, SCHEDULE, World, opened_world

pytestmark = pytest.mark.anyio

HOUR = DAY // 24
WRITE = "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at) VALUES"
#: Parts there are at once: of the days ahead.
PARTS = AHEAD // DAY


@pytest.fixture
def place(url: str) -> Place:
    return url


@pytest.fixture
async def parted(world: World) -> World:
    """A world on a day that has a part."""
    await renewed(world)
    world.clock.advance(DAY)
    await renewed(world)
    return world


@pytest.fixture
async def other(world: World, clock: FakeClock) -> AsyncIterator[World]:
    """Another sweeper."""
    async with opened_world(world.place, clock) as other:
        yield other


def name_of(at: int) -> str:
    """The part of a moment."""
    return f"attempts_{datetime.fromtimestamp(at / 1000, UTC):%Y%m%d}"


async def parts(world: World) -> list[str]:
    rows = await world.sql(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'attempts'::regclass ORDER BY 1"
    )
    return [row[0] for row in rows]


async def where(world: World) -> dict[str, int]:
    """How many attempts are in which part."""
    return dict(
        await world.sql("SELECT tableoid::regclass::text, count(*) FROM attempts GROUP BY 1")
    )


async def renewed(world: World, retention: int = DAY) -> None:
    """All that there is to make and to drop now."""
    async with asyncio.timeout(30):
        while await world.sweep.renew_parts(retention):
            pass


async def ahead(world: World) -> None:
    """The parts of the days to come, and nothing dropped."""
    while await world.sweep.renew_parts(1000 * DAY):
        pass


async def forgotten(world: World, retention: int = DAY) -> None:
    while await world.sweep.forget(retention):
        pass


async def old(world: World, outcome: int = 200) -> list[DeliveryRef]:
    """Two deliveries that came to this end in a part of their own, long ago; their events gone."""
    await renewed(world)
    world.clock.advance(DAY)
    lane = await world.subscribe()
    refs = await world.queued(lane, 2)
    await world.deliver_due(outcome)
    world.clock.advance(2 * DAY + 1)
    await forgotten(world)
    assert await world.log() == []
    return refs


@asynccontextmanager
async def another(world: World, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of somebody else, which has just done this."""
    connection = await asyncpg.connect(str(world.place))
    try:
        await connection.execute("BEGIN")
        await connection.execute(statement)
        yield connection
    finally:
        await connection.close()


# --- made ahead


async def test_parts_are_made_ahead_and_attempts_go_into_that_of_their_event(
    world: World,
) -> None:
    start = world.clock.now()
    assert [await world.sweep.renew_parts(DAY) for _ in range(PARTS + 1)] == [1] * PARTS + [0]
    days = [name_of(start + day * DAY) for day in range(1, PARTS + 1)]
    assert await parts(world) == [*days, "attempts_rest"]
    world.clock.advance(DAY)
    lane = await world.subscribe()

    first, *_ = await world.queued(lane, 2)
    await world.deliver_due(500)
    world.clock.advance(DAY)
    await world.queued(lane, 1)
    await world.deliver_due()
    assert [await world.sweep.renew_parts(DAY) for _ in range(3)] == [1, 1, 0]

    assert await where(world) == {days[0]: 4, days[1]: 1}
    assert [each["number"] for each in await world.attempts(first)] == [1, 2]


async def test_a_day_that_has_begun_gets_no_part(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 2)
    await world.deliver_due()

    await renewed(world)
    await world.queued(lane, 1)
    await world.deliver_due()
    today = world.clock.now()
    world.clock.advance(DAY)
    await world.queued(lane, 1)
    await world.deliver_due()

    assert await where(world) == {"attempts_rest": 3, name_of(today + DAY): 1}
    assert name_of(today) not in await parts(world)
    # what is of no part goes row by row, at its time
    world.clock.advance(1)
    await forgotten(world)
    assert await where(world) == {name_of(today + DAY): 1}


async def test_a_day_of_which_there_are_rows_elsewhere_gets_no_part(world: World) -> None:
    ahead = world.clock.now() + 3 * DAY
    await world.sql(f"{WRITE} ({key_floor(ahead)}, 1, 1, 'schedule', 0)")

    await renewed(world)

    days = [name_of(ahead + day * DAY) for day in range(1, 5)]
    assert await parts(world) == [*days, "attempts_rest"]


async def test_a_sweep_that_was_away_for_long_goes_on_with_tomorrow(world: World) -> None:
    await renewed(world)
    world.clock.advance(AHEAD + 10 * DAY)

    await renewed(world)

    days = [name_of(world.clock.now() + day * DAY) for day in range(1, PARTS + 1)]
    assert await parts(world) == [*days, "attempts_rest"]


async def test_of_two_sweepers_one_makes_the_parts_and_one_drops_them(
    world: World, other: World
) -> None:
    made = await asyncio.gather(*(each.sweep.renew_parts(DAY) for each in (world, other) * 3))
    assert len(await parts(world)) == sum(made) + 1
    await old(world)

    gone = name_of(world.clock.now() - 2 * DAY)
    await ahead(world)
    done = await asyncio.gather(*(each.sweep.renew_parts(DAY) for each in (world, other) * 3))

    assert sorted(done) == [0] * 5 + [1]
    assert gone not in await parts(world)


# --- dropped whole


async def test_a_part_is_dropped_when_all_of_its_events_are_gone(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    start = world.clock.now()
    for _ in range(3):
        await world.queued(lane, 2)
        await world.deliver_due()
        world.clock.advance(DAY)
    days = [name_of(start + day * DAY) for day in range(3)]
    retention = 43 * HOUR  # past it are the events of two days, and the whole of one

    await renewed(world, retention)
    assert await where(world) == dict.fromkeys(days, 2)
    await forgotten(world, retention)
    assert len(await world.log()) == 2
    assert await where(world) == dict.fromkeys(days, 2)
    await renewed(world, retention)

    assert await where(world) == dict.fromkeys(days[1:], 2)
    assert days[0] not in await parts(world)


async def test_a_part_stays_as_long_as_an_event_of_its_time_does(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    waiting, leased = await world.queued(lane, 2)
    await world.deliver_due(500)
    world.clock.advance(2 * DAY)
    (held,) = await world.claim(lane.no, quota=1)
    await forgotten(world)
    assert [row["key"] for row in await world.log()] == [held.ref.event_key]

    await renewed(world)
    assert len(await world.attempts(held.ref)) == 1

    await world.settle([held])
    await forgotten(world)
    await renewed(world)
    assert await world.attempts(held.ref) == []
    given_up = leased if held.ref == waiting else waiting
    assert len(await world.attempts(given_up)) == 1


async def test_of_a_dropped_part_the_attempts_of_dead_letters_are_kept(parted: World) -> None:
    world = parted
    day = name_of(world.clock.now())
    lane, dead = await world.subscribe(), await world.subscribe("dead")
    (fine,) = await world.queued(lane, 1)
    (ref,) = [each.ref for each in await world.claim(dead.no)]
    await world.deliver_due()
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)
    world.clock.advance(2 * DAY)
    await forgotten(world)
    assert await where(world) == {day: 2}

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 1}
    assert await world.attempts(fine) == []
    assert [each["number"] for each in await world.attempts(ref)] == [1]
    # and it goes on from there
    assert await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test") == ref
    await world.deliver_due()
    assert [each["number"] for each in await world.attempts(ref)] == [1, 2]
    await renewed(world)
    assert await where(world) == {f"{day}_kept": 2}
    await forgotten(world)
    await renewed(world)
    assert await where(world) == {}
    assert all(not name.startswith(day) for name in await parts(world))


async def test_a_part_with_very_many_dead_letters_stays_whole(
    parted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parting, "MOST_LETTERS", 1)
    world = parted
    lane = await world.subscribe(retry_schedule=(0.0,))
    refs = await world.queued(lane, 2)
    await world.deliver_due(500)
    day = name_of(world.clock.now())
    world.clock.advance(2 * DAY)
    await forgotten(world)

    await renewed(world)
    assert await where(world) == {day: 2}

    assert await world.replay.discard("default", refs[0], "key_test") is None
    await renewed(world)
    assert await where(world) == {f"{day}_kept": 1}


async def test_a_result_that_comes_when_its_part_is_gone_is_written_down(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    (paused,) = await world.claim(lane.no)
    world.clock.advance(2 * DAY)
    await world.sweep.reclaim(SCHEDULE)
    await forgotten(world)
    assert await world.replay.discard("default", ref, "key_test") is None
    await renewed(world)
    assert await where(world) == {}

    await world.settle([paused])

    assert await where(world) == {"attempts_rest": 1}
    await renewed(world)
    assert await where(world) == {"attempts_rest": 1}


# --- in nobody's way


async def test_a_part_that_somebody_reads_is_dropped_later(world: World) -> None:
    await old(world)
    await ahead(world)
    before = await parts(world)

    async with another(world, "SELECT * FROM attempts"):
        began = time.monotonic()
        assert await world.sweep.renew_parts(DAY) == 0
        assert time.monotonic() - began < 5
        assert await parts(world) == before

    assert await world.sweep.renew_parts(DAY) == 1
    assert await where(world) == {}


async def test_parts_are_made_beside_somebody_who_writes_results(world: World) -> None:
    await renewed(world)
    world.clock.advance(DAY)

    async with another(world, f"{WRITE} ({key_floor(world.clock.now())}, 1, 1, 'schedule', 0)"):
        assert await world.sweep.renew_parts(10 * DAY) == 1


async def test_who_may_not_make_tables_deletes_row_by_row_and_says_so_once(
    world: World, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"plain_{world.place}".rpartition("/")[2].partition("?")[0]
    await world.sql(f"CREATE ROLE {role}")
    for kind in ("TABLES", "SEQUENCES"):
        await world.sql(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}")
    try:
        mark = "&" if "?" in str(world.place) else "?"
        async with opened_world(f"{world.place}{mark}role={role}", clock) as plain:
            assert await plain.sweep.renew_parts(DAY) == 0
            assert await plain.sweep.renew_parts(DAY) == 0
            (said,) = caplog.messages
            assert "Let the sweeper's database user own the tables" in said
            await old(plain)
            assert await where(plain) == {}
    finally:
        await world.sql(f"DROP OWNED BY {role}")
        await world.sql(f"DROP ROLE {role}")


# --- from what there was before


@pytest.fixture
def before(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of the version before there were parts."""
    with databases.database(migrated=False) as url:
        monkeypatch.setattr(migrating, "head", lambda: "0006")
        assert asyncio.run(migrating.migrate(url)) == "0006"
        monkeypatch.undo()
        monkeypatch.setattr(traffic, "add", uncounted)
        yield url


async def uncounted(*_: object) -> None:
    """What versions did before there was a table of counts over time."""


async def test_what_there_was_before_is_one_part_and_goes_row_by_row(
    before: str, clock: FakeClock
) -> None:
    clock.at = int(time.time() * 1000)  # the migration goes by the server's
    async with opened_world(before, clock) as world:
        lane = await world.subscribe()
        first, _ = await world.queued(lane, 2)
        await world.deliver_due()
        await migrating.migrate(before)  # while the version before is at work
        await world.queued(lane, 1)
        await world.deliver_due()
        assert await where(world) == {"attempts_past": 3}
        assert len(await world.attempts(first)) == 1

        await renewed(world)
        days = [name_of(clock.now() + day * DAY) for day in range(2, PARTS + 1)]
        assert await parts(world) == [*days, "attempts_past", "attempts_rest"]
        clock.advance(2 * DAY)
        (last,) = await world.queued(lane, 1)
        await world.deliver_due()
        assert await where(world) == {"attempts_past": 3, days[0]: 1}

        await forgotten(world)
        assert await where(world) == {days[0]: 1}
        assert len(await world.attempts(last)) == 1
        await renewed(world)
        assert "attempts_past" in await parts(world)  # its time is not over
        clock.advance(DAY)
        await renewed(world)
        assert "attempts_past" not in await parts(world)


async def test_where_there_was_nothing_before_there_is_no_part_of_it(before: str) -> None:
    await migrating.migrate(before)
    database = await asyncpg.connect(before)
    assert await database.fetchval("SELECT to_regclass('attempts_past')") is None
    await database.close()
