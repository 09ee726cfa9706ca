"""Tables in parts by time, on PostgreSQL: made ahead, dropped whole, never in the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from service.domain.delivery import Trigger
from service.domain.errors import RefusalKind
from service.domain.ids import DeliveryRef, key_floor, key_time
from service.lab.bench.counted import watch
from service.ports import DeliveryFilter, Span, StoreUnavailableError
from service.store import schema, traffic
from service.store.postgres import checkup, excluding, migrating, parting
from service.store.postgres.connections import Address
from service.store.postgres.excluding import Part, Step
from service.store.postgres.parting import AHEAD, DAY
from service.store.pruning import PruneStore
from tests.support.clock import FakeClock
from tests.support.databases import Place
from tests.support.held import started
from tests.support.pooling import SPELLED, Spelled
from tests.support.postgres import Databases
from tests.support.world import LEASE, SCHEDULE, World, event, opened_world, refused

pytestmark = pytest.mark.anyio

HOUR = DAY // 24
WRITE = "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at) VALUES"
#: Parts there are at once: of today and of the days ahead.
PARTS = AHEAD // DAY + 1
TABLES = ("events", "attempts")
#: What the server says of a rest that it does not read.
PROVED = "updated partition constraint for default partition"


@pytest.fixture
def place(url: str) -> Place:
    return url


@pytest.fixture
async def parted(world: World) -> World:
    """A world on a day that has a part."""
    await renewed(world)
    return world


@pytest.fixture
def given() -> Iterator[list[str]]:
    """Every statement that databases are given which are opened after this."""
    given: list[str] = []
    end = watch(lambda sql, _: given.append(sql))
    yield given
    end()


def name_of(at: int, table: str = "attempts") -> str:
    """The part of a moment."""
    return f"{table}_{datetime.fromtimestamp(at / 1000, UTC):%Y%m%d}"


async def parts(world: World, table: str = "attempts") -> list[str]:
    rows = await world.sql(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = ?::text::regclass ORDER BY 1",
        table,
    )
    return [row[0] for row in rows]


async def where(world: World, table: str = "attempts") -> dict[str, int]:
    """How many rows are in which part, those of forgotten events among them."""
    return dict(
        await world.sql(
            f"SELECT tableoid::regclass::text, count(*) FROM {table} GROUP BY 1"  # noqa: S608  a word of this file
        )
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


async def waiting(world: World) -> None:
    """Until somebody waits for a lock."""
    async with asyncio.timeout(10):
        while not await world.sql("SELECT FROM pg_locks WHERE NOT granted"):
            pass


# --- made ahead


async def test_parts_are_made_ahead_and_what_is_of_an_event_goes_into_that_of_its_day(
    world: World,
) -> None:
    start = world.clock.now()
    # one of each table at a time
    assert [await world.sweep.renew_parts(DAY) for _ in range(PARTS + 1)] == [2] * PARTS + [0]
    days = [name_of(start + day * DAY) for day in range(PARTS)]
    assert await parts(world) == [*days, "attempts_rest"]
    of_events = [name_of(start + day * DAY, "events") for day in range(PARTS)]
    assert await parts(world, "events") == [*of_events, "events_rest"]
    lane = await world.subscribe()

    first, *_ = await world.queued(lane, 2)
    await world.deliver_due(500)
    world.clock.advance(DAY)
    await world.queued(lane, 1)
    await world.deliver_due()
    assert [await world.sweep.renew_parts(DAY) for _ in range(2)] == [2, 0]

    assert await where(world) == {days[0]: 4, days[1]: 1}
    assert await where(world, "events") == {of_events[0]: 2, of_events[1]: 1}
    assert [each["number"] for each in await world.attempts(first)] == [1, 2]


async def test_a_day_of_which_there_is_something_already_gets_no_part(world: World) -> None:
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
    tomorrow = name_of(today + DAY, "events")
    assert await where(world, "events") == {"events_rest": 3, tomorrow: 1}
    # what is of no part goes row by row, at its time
    world.clock.advance(1)
    await forgotten(world)
    assert await where(world) == {name_of(today + DAY): 1}
    assert await where(world, "events") == {tomorrow: 1}


async def test_a_day_of_which_there_are_rows_elsewhere_gets_no_part(world: World) -> None:
    ahead = world.clock.now() + 3 * DAY
    await world.sql(f"{WRITE} ({key_floor(ahead)}, 1, 1, 'schedule', 0)")

    await renewed(world)

    days = [name_of(ahead + day * DAY) for day in range(1, PARTS - 3)]
    assert await parts(world) == [*days, "attempts_rest"]


async def test_a_sweep_that_was_away_for_long_goes_on_with_today(world: World) -> None:
    await renewed(world)
    world.clock.advance(AHEAD + 10 * DAY)

    await renewed(world)

    days = [name_of(world.clock.now() + day * DAY) for day in range(PARTS)]
    assert await parts(world) == [*days, "attempts_rest"]


async def test_of_two_sweepers_one_makes_the_parts_and_one_drops_them(
    world: World, other: World
) -> None:
    made = await asyncio.gather(*(each.sweep.renew_parts(DAY) for each in (world, other) * 3))
    there = [name for table in TABLES for name in await parts(world, table)]
    assert len(there) == sum(made) + len(TABLES)
    await old(world)

    gone = [name_of(world.clock.now() - 2 * DAY, table) for table in TABLES]
    await ahead(world)
    done = await asyncio.gather(*(each.sweep.renew_parts(DAY) for each in (world, other) * 3))
    await renewed(world)

    assert 1 <= sum(done) <= len(TABLES)
    for name, table in zip(gone, TABLES, strict=True):
        assert name not in await parts(world, table)


# --- beside a rest of some size


@pytest.fixture
def heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rest is one that takes time to read."""
    monkeypatch.setattr(excluding, "LIGHT", -1)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the server says of what it does, in databases that are opened after this."""
    said: list[str] = []
    connect = Address.connect

    async def listening(self: Address, *given: Any, **named: Any) -> asyncpg.Connection:  # noqa: ANN401  as it takes
        made = await connect(self, *given, **named)
        made.add_log_listener(lambda _, message: said.append(str(message)))
        await made.execute("SET client_min_messages = debug1")
        return made

    monkeypatch.setattr(Address, "connect", listening)
    return said


async def constraints(world: World) -> list[str]:
    """What is left of the proofs that the rest has nothing of a day."""
    rows = await world.sql(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' "
        "AND conrelid IN ('events_rest'::regclass, 'attempts_rest'::regclass)"
    )
    return [row[0] for row in rows]


async def exclude(world: World, table: str, key: str, at: int) -> str:
    """Leave behind what a process does that dies before the part of this time is made."""
    low, high = (key_floor(at - at % DAY + days * DAY) for days in (0, 1))
    name = f"without_{name_of(at, table)}"
    await world.sql(
        f"ALTER TABLE {table}_rest ADD CONSTRAINT {name} "
        f"CHECK ({key} < {low} OR {key} >= {high}) NOT VALID"
    )
    return name


@pytest.mark.usefixtures("heavy")
async def test_a_rest_of_some_size_is_not_read_while_a_part_is_attached(
    said: list[str], world: World
) -> None:
    start = world.clock.now()
    lane = await world.subscribe()
    await world.queued(lane, 2)
    await world.deliver_due()

    await renewed(world)

    # of the day that comes so soon that nobody could be kept from writing, there is none
    days = [start + day * DAY for day in range(2, PARTS)]
    for table in TABLES:
        assert await parts(world, table) == [
            *(name_of(day, table) for day in days),
            f"{table}_rest",
        ]
    assert await constraints(world) == []
    assert len([each for each in said if PROVED in each]) == 2 * len(days)
    world.clock.advance(2 * DAY)
    await world.queued(lane, 1)
    await world.deliver_due()
    for table in TABLES:
        assert await where(world, table) == {f"{table}_rest": 2, name_of(days[0], table): 1}


@pytest.mark.usefixtures("heavy")
async def test_what_is_kept_of_a_part_is_attached_without_reading_the_rest(
    said: list[str], given: list[str], world: World
) -> None:
    await ahead(world)
    world.clock.advance(2 * DAY)
    day = name_of(world.clock.now())
    await old(world, 410)
    said.clear()
    given.clear()

    await renewed(world)

    assert await where(world) == {f"{day}_kept": 2}
    assert await constraints(world) == []
    attached = [sql for sql in given if "ATTACH PARTITION" in sql]
    assert any(f"{day}_kept" in sql for sql in attached)
    assert len([each for each in said if PROVED in each]) == len(attached)


@pytest.mark.usefixtures("heavy")
async def test_a_rest_is_read_beside_who_writes_and_who_reads(world: World) -> None:
    later = world.clock.now() + 3 * DAY
    name = await exclude(world, "attempts", "event_key", later)
    write = f"{WRITE} ({key_floor(world.clock.now())}, 1, 1, 'schedule', 0)"

    async with another(world, write) as writer, another(world, "TABLE attempts"):
        assert await excluding.prove(Address.of(str(world.place)), "attempts", name)
        await writer.execute("COMMIT")

    assert await where(world) == {"attempts_rest": 1}


@pytest.mark.usefixtures("heavy")
async def test_a_day_that_had_rows_before_they_were_refused_gets_no_part(world: World) -> None:
    later = world.clock.now() + 3 * DAY
    await world.sql(f"{WRITE} ({key_floor(later)}, 1, 1, 'schedule', 0)")
    name = await exclude(world, "attempts", "event_key", later)
    assert not await excluding.prove(Address.of(str(world.place)), "attempts", name)

    await renewed(world)

    days = [name_of(later + day * DAY) for day in range(1, PARTS - 3)]
    assert await parts(world) == [*days, "attempts_rest"]
    assert await constraints(world) == []


@pytest.mark.parametrize("size", ["light", "heavy"])
async def test_what_a_crash_leaves_of_a_proof_is_used_or_taken_away(
    world: World, request: pytest.FixtureRequest, size: str
) -> None:
    if size == "heavy":
        request.getfixturevalue("heavy")
    now = world.clock.now()
    for day in (1, 2, 4):
        await exclude(world, "events", "key", now + day * DAY)

    assert await world.sweep.renew_parts(DAY) == 2

    left = [f"without_{name_of(now + 2 * DAY, table)}" for table in TABLES]
    assert sorted(await constraints(world)) == sorted(left if size == "heavy" else [])
    await renewed(world)
    assert await constraints(world) == []
    # and when there is nothing to make
    await exclude(world, "events", "key", now + 100 * DAY)
    assert await world.sweep.renew_parts(DAY) == 0
    assert await constraints(world) == []


@pytest.mark.usefixtures("heavy")
async def test_who_comes_while_another_reads_a_rest_does_not_wait(
    world: World, other: World
) -> None:
    name = await exclude(world, "attempts", "event_key", world.clock.now() + 3 * DAY)
    address = Address.of(str(world.place))
    reading = "LOCK TABLE attempts_rest IN SHARE UPDATE EXCLUSIVE MODE"
    async with another(world, reading) as blocker:
        first = await started(world, excluding.prove(address, "attempts", name))
        assert not first.done()
        async with asyncio.timeout(4):  # less than anybody waits for a lock
            assert not await excluding.prove(address, "attempts", name)
            assert await other.sweep.renew_parts(DAY) <= 1  # that of the other table
        await blocker.execute("COMMIT")
        assert await first


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """A server that is heard of no more once it was asked to read a rest; when that was."""
    asked = asyncio.Event()
    execute = asyncpg.Connection.execute

    async def unanswered(self: asyncpg.Connection, query: str, **how: Any) -> str:  # noqa: ANN401  as it is given
        if "VALIDATE" in query:
            self._transport.pause_reading()  # nothing of the other end comes through any more
            asked.set()
        said: str = await execute(self, query, **how)
        return said

    monkeypatch.setattr(asyncpg.Connection, "execute", unanswered)
    return asked


@pytest.mark.usefixtures("silent")
async def test_a_server_that_is_gone_unseen_while_it_reads_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(excluding, "READING", 1)
    monkeypatch.setattr(excluding, "LATE", 0)
    name = await exclude(world, "events", "key", world.clock.now() + 3 * DAY)
    async with asyncio.timeout(9):  # before any other statement would be given up
        with pytest.raises(StoreUnavailableError):
            await excluding.prove(Address.of(str(world.place)), "events", name)

    (said,) = caplog.messages
    assert f"VALIDATE CONSTRAINT {name}" in said


async def test_who_waits_for_a_rest_to_be_read_can_be_stopped_at_any_time(
    world: World, silent: asyncio.Event
) -> None:
    name = await exclude(world, "events", "key", world.clock.now() + 3 * DAY)
    address = Address.of(str(world.place))
    reading = asyncio.ensure_future(excluding.prove(address, "events", name))
    async with asyncio.timeout(10):
        await silent.wait()
    assert not reading.done()
    reading.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(reading, return_exceptions=True)
    assert reading.cancelled()


async def test_what_cannot_be_read_stops_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old(world)
    monkeypatch.setattr(excluding, "LIGHT", -1)

    async def lost(*_: object) -> bool:
        raise StoreUnavailableError("the server was lost")

    monkeypatch.setattr(excluding, "prove", lost)
    gone = [name_of(world.clock.now() - 2 * DAY, table) for table in TABLES]
    world.clock.advance(3 * DAY)  # there is a part to be made, for which the rest is to be read

    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="was lost"):
            await world.sweep.renew_parts(DAY)

    for name, table in zip(gone, TABLES, strict=True):
        assert name not in await parts(world, table)


async def test_what_no_sweeper_finished_in_time_refuses_for_now_and_is_told_of(
    world: World,
) -> None:
    async def told() -> str | None:
        server = (await checkup.look(str(world.place), world.clock)).server
        assert server is not None
        return server.refusing

    later = world.clock.now() + 3 * DAY
    name = await exclude(world, "events", "key", later)
    await world.posted(event("op"))
    assert await told() is None

    world.clock.at = later
    with pytest.raises(StoreUnavailableError, match=f"left {name}: a sweeper takes that away"):
        await world.posted(event("op"))
    assert await told() == name
    await world.sweep.renew_parts(DAY)

    await world.posted(event("op"))
    assert await told() is None
    assert await world.rows(schema.events)


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
    of_events = [name_of(start + day * DAY, "events") for day in range(3)]
    assert await where(world, "events") == dict.fromkeys(of_events, 2)
    await renewed(world, retention)

    assert await where(world) == dict.fromkeys(days[1:], 2)
    assert await where(world, "events") == dict.fromkeys(of_events[1:], 2)
    assert days[0] not in await parts(world)
    assert of_events[0] not in await parts(world, "events")


async def test_a_part_stays_as_long_as_an_event_of_its_time_does(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    waiting, leased = await world.queued(lane, 2)
    await world.deliver_due(500)
    world.clock.advance(2 * DAY)
    (held,) = await world.claim(lane.no, quota=1)
    await forgotten(world)
    # nothing is forgotten before what came earlier
    assert [row["key"] for row in await world.log()] == sorted(
        {held.ref.event_key, max(waiting, leased).event_key}
    )

    await renewed(world)
    assert len(await world.attempts(held.ref)) == 1
    assert sum((await where(world, "events")).values()) >= 2

    await world.settle([held])
    await forgotten(world)
    assert await world.log() == []
    await renewed(world)
    assert await world.attempts(held.ref) == []
    given_up = leased if held.ref == waiting else waiting
    assert len(await world.attempts(given_up)) == 1


@pytest.mark.parametrize("outcome", [200, 410])
async def test_a_part_that_stays_though_all_of_it_is_forgotten_is_told_of(
    world: World, outcome: int
) -> None:
    async def told() -> str | None:
        server = (await checkup.look(str(world.place), world.clock)).server
        assert server is not None
        return server.overdue

    assert await told() is None
    days = [name_of(world.clock.now(), table) for table in TABLES]
    await old(world, outcome)
    assert await told() is None  # it is due, but not for long
    await ahead(world)
    await world.queued(await world.subscribe("later"), 1)
    await world.deliver_due()
    world.clock.advance(2 * DAY)
    await forgotten(world)

    assert await told() in days

    await renewed(world)
    assert await told() is None


async def test_no_part_is_dropped_in_the_hour_after_its_end(parted: World) -> None:
    world = parted
    day = [name_of(world.clock.now(), table) for table in TABLES]
    world.clock.advance(DAY - world.clock.now() % DAY + HOUR // 2)
    await renewed(world, 1)
    assert day == [(await parts(world, table))[0] for table in TABLES]

    world.clock.advance(HOUR // 2)
    await renewed(world, 1)
    assert not {*await parts(world), *await parts(world, "events")} & set(day)


@pytest.mark.parametrize(
    ("table", "outcome"), [("events", 200), ("attempts", 200), ("attempts", 410)]
)
async def test_what_was_being_written_when_its_part_was_looked_at_is_not_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch, table: str, outcome: int
) -> None:
    day = name_of(world.clock.now(), table)
    (ref, _) = await old(world, outcome)
    await ahead(world)
    monkeypatch.setattr(parting, "_IMPATIENT", "SELECT set_config('lock_timeout', '5000', true)")
    only = [each for each in parting.PARTED if each.table == table]
    monkeypatch.setattr(parting, "PARTED", only)
    before = await where(world, table)
    assert bool(await world.rows(schema.dead_letters)) == (outcome == 410)

    async with another(world, f"LOCK TABLE {day} IN ROW EXCLUSIVE MODE") as writer:
        await writer.execute(
            "INSERT INTO events (key, tenant_id, id, type, operation_key, sequence, created_at, "
            "feed_position, body) VALUES ($1, 'default', 'late', 'note', 7, 1, 0, 99, '')",
            ref.event_key + HOUR,  # a moment later, since a key has other bits besides the time
        )
        renewing = asyncio.create_task(world.sweep.renew_parts(DAY))
        await waiting(world)
        await writer.execute("COMMIT")
        assert await renewing == 0

    assert day in before
    assert await where(world, table) == {**before, day: 2 + (table == "events")}


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


async def test_of_a_part_that_is_dropped_whole_no_event_is_deleted(
    given: list[str], parted: World
) -> None:
    world = parted
    await world.subscribe(retry_schedule=(0.0,))
    await world.posted(*(event(f"op{n}", id=f"e{n}") for n in range(3)))
    await world.deliver_due()
    world.clock.advance(2 * DAY)
    given.clear()

    await forgotten(world)
    await renewed(world)

    assert [sql for sql in given if sql.startswith(("DELETE FROM events ", "UPDATE events "))] == []
    assert any(sql.startswith("DROP TABLE events_") for sql in given)
    for table in (schema.events, schema.event_ids, schema.deliveries, schema.attempts):
        assert await world.rows(table) == []


async def test_an_open_delivery_of_a_dropped_part_goes_on_as_a_dead_letter(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    (said,) = await world.log()
    day = name_of(world.clock.now(), "events")
    world.clock.advance(2 * DAY)

    await forgotten(world)
    await renewed(world)

    assert day not in await parts(world, "events")
    letter = await world.letter(ref)
    assert letter is not None
    assert (letter["state"], letter["reason"]) == ("open", "expired")
    assert letter["body"] == said["body"]
    assert await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test") == ref
    await forgotten(world)  # it lives on the letter's copy, and does not expire again
    (sent,) = await world.claim()
    assert (sent.ref, sent.body) == (ref, said["body"])
    await world.settle([sent])
    await forgotten(world)
    assert await world.letter(ref) is None


async def test_what_lives_on_its_copy_does_not_expire_while_the_event_is_still_there(
    parted: World,
) -> None:
    world = parted
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    world.clock.advance(DAY + 1)
    await forgotten(world)
    assert await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test") == ref

    await forgotten(world)

    assert sum((await where(world, "events")).values()) >= 1
    assert await world.status(ref) == "pending"
    await world.deliver_due()
    assert await world.status(ref) == "delivered"
    await forgotten(world)
    assert await world.rows(schema.deliveries) == []


async def test_a_part_is_kept_for_a_delivery_that_has_nothing_else(parted: World) -> None:
    world = parted
    (made,) = await world.posted(event("op", id="e"))
    key = (await world.event_keys())[made.id]
    lane = await world.subscribe()
    world.clock.advance(2 * DAY)
    await forgotten(world)
    # as if somebody had sent it again who knows nothing of this
    await world.sql(
        "INSERT INTO delivery_queue (event_key, subscription_no, due_at, attempts, step, trigger) "
        "VALUES (?, ?, 0, 0, 0, 'replay')",
        key,
        lane.no,
    )

    await renewed(world)
    assert sum((await where(world, "events")).values()) == 1

    await forgotten(world)  # to be read on the letter's copy
    await renewed(world)
    assert key not in [row["key"] for row in await world.rows(schema.events)]
    assert await world.letter(DeliveryRef(key, lane.no)) is not None


async def test_a_forgotten_event_is_found_by_nobody_while_its_row_is_there(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    await world.posted(event("op", "STARTED", id="first"))
    (delivered,) = await world.deliver_due()
    world.clock.advance(HOUR)
    await world.posted(event("op", id="second"))
    operation = await world.operation()
    world.clock.advance(DAY - HOUR + 1)
    await forgotten(world)
    assert len(await world.rows(schema.events)) == 2

    assert [each.id for each in await world.read.log(operation.key, 0, 9)] == ["second"]
    assert await world.read.event("default", "first") is None
    feed = await world.read.feed("default", 0, 9)
    assert ([each.id for each in feed.events], feed.floor) == (["second"], 1)
    missing = await world.read.undelivered("default", lane, 0, Span(9))
    assert [each.event.id for each in missing.items] == ["second"]
    past = await PruneStore(world.database).past(DAY)
    assert (past.events, past.deliveries) == (0, 0)
    again = await world.replay.replay_one("default", delivered.ref, Trigger.MANUAL, "key_test")
    assert refused(again).kind is RefusalKind.NOT_FOUND
    plan = world.plan(subscription_no=lane.no, only="all")
    run = await world.replay.start_replay(world.replay_operation(), plan, "key_test")
    step = await world.replay.step_replay(run, 9)  # type: ignore[arg-type]  # a run
    assert step.run.replayed == 0
    # and its id is free
    (once_more,) = await world.posted(event("op", id="first"))
    assert (once_more.duplicate, once_more.sequence) == (False, 3)


async def test_a_description_makes_up_for_no_forgotten_event(parted: World) -> None:
    world = parted
    await world.posted(event("op", "STARTED"))
    world.clock.advance(DAY + 1)
    await forgotten(world)

    await world.described(webhook={"event_types": ("*",)})

    assert await world.rows(schema.delivery_queue) == []


async def test_a_tombstone_goes_when_its_events_are_forgotten(parted: World) -> None:
    world = parted
    await world.posted(event("op", "STARTED"), event("op", "COMPLETED"))
    world.clock.advance(DAY + 1)
    await world.lifetimes.strip()
    assert await world.lifetimes.remove_tombstones(DAY) == 0

    await forgotten(world)

    assert len(await world.rows(schema.events)) == 2
    assert await world.lifetimes.remove_tombstones(DAY) == 1


async def test_what_is_younger_than_an_hour_goes_row_by_row(parted: World) -> None:
    world = parted
    await world.posted(event("op"))
    world.clock.advance(HOUR // 2)
    await world.posted(event("op"))
    world.clock.advance(HOUR // 2 + 1)

    await forgotten(world, 1)

    assert await world.log() == []
    assert sum((await where(world, "events")).values()) == 1


async def test_parts_are_forgotten_in_order(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    for _ in range(2):
        await world.queued(lane, 1)
        world.clock.advance(DAY)
    (held,) = await world.claim(lane.no, quota=1)
    await forgotten(world, 1)
    assert len(await world.log()) == 2

    await world.settle([held])
    await forgotten(world, 1)
    assert await world.log() == []


# --- beside what cannot go


async def days_gone(world: World, days: int) -> list[str]:
    """Parts of attempts, a day each, that nobody needs any more; oldest first."""
    await renewed(world)
    lane = await world.subscribe()
    made = []
    for _ in range(days):
        made.append(name_of(world.clock.now()))
        await world.queued(lane, 1)
        await world.deliver_due()
        world.clock.advance(DAY)
        await ahead(world)
    world.clock.advance(DAY)
    await forgotten(world)
    await ahead(world)
    assert {*made} <= {*await parts(world)}
    return made


def of_events(days: list[str]) -> list[str]:
    return [each.replace("attempts", "events") for each in days]


async def reported(world: World, parts: list[str]) -> None:
    """Somebody made a view of each of these parts: they cannot be dropped."""
    for part in parts:
        await world.sql(f"CREATE VIEW report_{part} AS SELECT * FROM {part}")  # noqa: S608  a part's name


@pytest.mark.parametrize("table", TABLES)
async def test_a_part_that_cannot_go_is_in_the_way_of_no_other_table(
    world: World, table: str
) -> None:
    days = await days_gone(world, 2)
    gone = {"events": of_events(days), "attempts": days}
    stuck = gone[table][0]
    await reported(world, [stuck])

    for _ in range(2):
        named = f"{stuck} because .*\n.*view report_{stuck}"
        with pytest.raises(asyncpg.DependentObjectsStillExistError, match=named):
            await renewed(world)

    left = {each for name in TABLES for each in await parts(world, name)}
    assert {*gone["events"], *gone["attempts"]} & left == {stuck}


async def test_parts_that_cannot_go_hold_up_no_other_and_all_are_told_of(world: World) -> None:
    days = await days_gone(world, 6)
    stuck = [*of_events(days[1:3]), *days[:4]]
    await reported(world, stuck)

    with pytest.raises(ExceptionGroup) as failed:
        await renewed(world)

    left = [each for name in TABLES for each in await parts(world, name)]
    assert {*days, *of_events(days)} & {*left} == {*stuck}
    said = [str(each) for each in failed.value.exceptions]
    assert [name for each in said for name in stuck if f"table {name} " in each] == stuck


async def test_what_cannot_be_made_does_not_stop_what_is_to_be_dropped(world: World) -> None:
    days = await days_gone(world, 2)
    world.clock.advance(DAY)
    made = name_of(world.clock.now() + AHEAD)
    await world.sql(f"CREATE TABLE {made} (taken int)")  # somebody has the name

    with pytest.raises(asyncpg.DuplicateTableError, match=made):
        await renewed(world)

    assert not {*days} & {*await parts(world)}


async def test_parts_that_are_put_off_for_ever_let_every_other_have_its_turn(world: World) -> None:
    days = await days_gone(world, 9)
    free = [days[4], days[8]]
    async with AsyncExitStack() as stack:
        for day in days:
            if day not in free:
                await stack.enter_async_context(another(world, f"TABLE {day}"))
        for _ in range(4):
            began = time.monotonic()
            await world.sweep.renew_parts(DAY)
            assert time.monotonic() - began < 5
        left = [each for each in days if each in await parts(world)]
        assert left == [each for each in days if each not in free]

    await renewed(world)
    assert not {*days} & {*await parts(world)}


async def test_a_round_ends_soon_when_the_store_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = await days_gone(world, 6)
    await reported(world, days)
    write, tried = world.database.write, 0

    async def away(*given: Any) -> Any:  # noqa: ANN401  as it is given
        nonlocal tried
        tried += 1
        if tried <= after:
            return await write(*given)
        raise StoreUnavailableError("away")

    monkeypatch.setattr(world.database, "write", away)
    for after in range(18):
        tried = 0
        with suppress(StoreUnavailableError, ExceptionGroup):
            await world.sweep.renew_parts(DAY)
            pytest.fail("nobody was told")
        assert tried <= after + 4, after


async def test_what_the_server_has_no_room_for_is_not_tried_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = await days_gone(world, 8)
    tried: list[str] = []

    async def full(_tx: object, _parted: object, part: Part) -> Step:
        tried.append(part.name)
        raise asyncpg.DiskFullError("no space left on device")

    monkeypatch.setattr(parting, "_drop", full)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="no space left"):
            await world.sweep.renew_parts(DAY)

    assert len(tried) <= 3 * 2 * 3
    assert {*tried} == {*days, *of_events(days)}  # each had its turn


async def test_of_a_table_of_somebody_elses_nothing_is_dropped_but_of_ones_own(
    world: World, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    days = await days_gone(world, 2)
    role = f"plain_{world.place}".rpartition("/")[2].partition("?")[0]
    await world.sql(f"CREATE ROLE {role}")
    try:
        await world.sql(f"GRANT CREATE ON SCHEMA public TO {role}")
        for kind in ("TABLES", "SEQUENCES"):
            await world.sql(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}")
        for table in ("attempts", *await parts(world)):
            await world.sql(f"ALTER TABLE {table} OWNER TO {role}")
        mark = "&" if "?" in str(world.place) else "?"
        async with opened_world(f"{world.place}{mark}role={role}", clock) as plain:
            await renewed(plain)
            await renewed(plain)
        left = {*await parts(world, "events"), *await parts(world)}
        assert left & {*days, *of_events(days)} == {*of_events(days)}
        (said,) = caplog.messages
        assert "Let the sweeper's database user own the tables" in said
    finally:
        await world.sql(f"REASSIGN OWNED BY {role} TO CURRENT_USER")
        await world.sql(f"DROP OWNED BY {role}")
        await world.sql(f"DROP ROLE {role}")


# --- unique, and in order


@pytest.mark.parametrize("days", [0, 1])
@pytest.mark.parametrize(
    ("operation", "sequence", "position", "index"),
    [(7, 3, 9, "operation_key_sequence"), (8, 1, 4, "tenant_id_feed_position")],
)
async def test_within_a_part_numbers_are_unique(
    world: World, days: int, operation: int, sequence: int, position: int, index: str
) -> None:
    world.clock.advance(DAY)
    await renewed(world)
    low = key_floor(world.clock.now() - days * DAY)  # in a part, or in the rest
    text = (
        "INSERT INTO events (key, tenant_id, id, type, operation_key, sequence, created_at, "
        "feed_position, body) VALUES ($1, 'default', 'e', 'note', $2, $3, 0, $4, '')"
    )
    connection = await asyncpg.connect(str(world.place))
    try:
        await connection.execute(text, low, 7, 3, 4)
        with pytest.raises(asyncpg.UniqueViolationError) as error:
            await connection.execute(text, low + 1, operation, sequence, position)
        assert index in str(error.value)
    finally:
        await connection.close()


async def test_a_log_over_several_parts_is_one(parted: World) -> None:
    world = parted
    for _ in range(3):
        await world.posted(event("op"))
        world.clock.advance(DAY)
        await ahead(world)
    operation = await world.operation()

    assert len(await where(world, "events")) == 3
    found = await world.read.log(operation.key, 0, 9)
    assert [each.sequence for each in found] == [1, 2, 3]
    feed = await world.read.feed("default", 1, 9)
    assert [each.feed_position for each in feed.events] == [2, 3]


@SPELLED
async def test_a_part_that_is_dropped_while_the_feed_is_read_is_not_passed_over(
    parted: World, spelled: Spelled
) -> None:
    world = parted
    today = name_of(world.clock.now(), "events")
    await world.posted(event("op"))
    world.clock.advance(DAY)
    await world.posted(event("op"))

    dropping = "LOCK TABLE events IN ACCESS EXCLUSIVE MODE"
    async with (
        opened_world(spelled(str(world.place)), world.clock) as reader,
        another(world, dropping) as connection,
    ):
        reading = await started(world, reader.read.feed("default", 0, 9))
        assert not reading.done()
        floor = key_floor(world.clock.now())
        await connection.execute("UPDATE retention SET forgotten_before = $1", floor)
        await connection.execute("UPDATE tenants SET feed_floor = 1")
        await connection.execute(f"DROP TABLE {today}")
        await connection.execute("COMMIT")
        feed = await reading

    # who was at the beginning learns that something is gone
    assert ([each.feed_position for each in feed.events], feed.floor, feed.end) == ([2], 1, 2)


async def test_a_delivery_whose_event_is_dropped_while_it_is_read_is_gone(parted: World) -> None:
    world = parted
    lane = await world.subscribe()
    today = name_of(world.clock.now(), "events")
    await world.queued(lane, 1)
    (delivered,) = await world.deliver_due()
    world.clock.advance(DAY)
    await world.queued(lane, 1)

    dropping = "LOCK TABLE events IN ACCESS EXCLUSIVE MODE"
    async with another(world, dropping) as connection:
        reading = await started(world, world.read.deliveries("default", DeliveryFilter(), Span(9)))
        looking = await started(world, world.read.delivery("default", delivered.ref))
        assert not reading.done()
        assert not looking.done()
        await connection.execute("DELETE FROM deliveries")
        await connection.execute(f"DROP TABLE {today}")
        await connection.execute("COMMIT")
        page, found = await reading, await looking

    assert [each.status for each in page.items] == ["pending"]
    assert found is None


@pytest.mark.parametrize("hours", [2, 24, 72])
async def test_a_log_is_whole_however_far_ahead_its_operation_was_made(
    parted: World, other: World, hours: int
) -> None:
    world, now = parted, parted.clock.at
    world.clock.advance(hours * HOUR)
    await world.described()
    world.clock.at = now
    await other.subscribe(operation_id="op")
    await other.posted(event("op", id="one"), event("op", "COMPLETED", id="two"))
    operation = await world.operation()

    assert [each.id for each in await world.read.log(operation.key, 0, 9)] == ["one", "two"]
    which = DeliveryFilter(operation_id="op")
    assert len((await world.read.deliveries("default", which, Span(9))).items) == 2
    await other.deliver_due()
    world.clock.advance(30 * DAY)
    assert await world.lifetimes.strip() == 1
    assert await world.lifetimes.remove_tombstones(DAY) == 0


async def test_an_operation_made_ahead_makes_nobody_go_ahead(parted: World, other: World) -> None:
    now = parted.clock.at
    parted.clock.advance(2 * HOUR)
    await parted.described()
    parted.clock.at = now

    await other.posted(event("op"))
    await other.posted(event("another"))

    assert [key_time(row["key"]) for row in await parted.log()] == [now, now]


async def test_what_earlier_versions_wrote_of_an_operation_made_ahead_is_found(
    parted: World,
) -> None:
    world = parted
    await world.posted(event("op", "STARTED"), event("op", "COMPLETED"))
    two_hours = key_floor(key_time(0) + 2 * HOUR)
    for text in ("operations SET key = key", "events SET operation_key = operation_key"):
        await world.sql(f"UPDATE {text} + {two_hours}")

    operation = await world.operation()
    assert [each.sequence for each in await world.read.log(operation.key, 0, 9)] == [1, 2]
    await world.described(webhook={"event_types": ("*",)})
    assert len(await world.rows(schema.delivery_queue)) == 2
    which = DeliveryFilter(operation_id="op")
    assert len((await world.read.deliveries("default", which, Span(9))).items) == 2
    await world.deliver_due()
    world.clock.advance(30 * DAY)
    assert await world.lifetimes.strip() == 1
    assert await world.lifetimes.remove_tombstones(DAY) == 0


# --- in nobody's way


@pytest.mark.parametrize("begins", ["at once", "later"])
async def test_events_are_accepted_while_parts_are_made_and_dropped(
    world: World, other: World, begins: str
) -> None:
    for _ in range(3 if begins == "later" else 0):
        await ahead(world)
        await world.posted(event("op", "note"))
        world.clock.advance(DAY)
    done = asyncio.Event()

    async def tidies() -> None:
        while not done.is_set():
            await world.sweep.forget(DAY)
            await world.sweep.renew_parts(DAY)
            await asyncio.sleep(0)

    async def posts(world: World) -> None:
        for _ in range(40):
            await world.posted(event("op"), event("shared"))

    tidying = asyncio.create_task(tidies())
    await asyncio.gather(posts(world), posts(other))
    done.set()
    await tidying

    operation = await world.operation("shared")
    log = await world.read.log(operation.key, 0, 100)
    assert [each.sequence for each in log] == list(range(1, 81))
    days = [name_of(world.clock.now() - day * DAY, "events") for day in (3, 2)]
    assert not set(days) & set(await parts(world, "events"))


@pytest.mark.parametrize("table", TABLES)
async def test_a_part_that_somebody_reads_is_dropped_later(world: World, table: str) -> None:
    await old(world)
    await ahead(world)
    before = await parts(world, table)

    async with another(world, f"TABLE {table}"):
        began = time.monotonic()
        assert await world.sweep.renew_parts(DAY) == 1  # that of the other table
        assert time.monotonic() - began < 5
        assert await parts(world, table) == before

    assert await world.sweep.renew_parts(DAY) == 1
    assert await where(world, table) == {}


async def test_parts_are_made_beside_somebody_who_writes_results(world: World) -> None:
    await renewed(world)
    world.clock.advance(DAY)

    async with another(world, f"{WRITE} ({key_floor(world.clock.now())}, 1, 1, 'schedule', 0)"):
        assert await world.sweep.renew_parts(10 * DAY) == 2


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
        assert await where(world, "events") == {"events_past": 3}
        assert len(await world.attempts(first)) == 1
        assert [row["sequence"] for row in await world.log()] == [1, 1, 2]

        await renewed(world)
        days = [name_of(clock.now() + day * DAY) for day in range(2, PARTS)]
        assert await parts(world) == [*days, "attempts_past", "attempts_rest"]
        of_events = [name_of(clock.now() + day * DAY, "events") for day in range(2, PARTS)]
        assert await parts(world, "events") == [*of_events, "events_past", "events_rest"]
        clock.advance(2 * DAY)
        (last,) = await world.queued(lane, 1)
        await world.deliver_due()
        assert await where(world) == {"attempts_past": 3, days[0]: 1}
        assert await where(world, "events") == {"events_past": 3, of_events[0]: 1}

        await forgotten(world)
        assert await where(world) == {days[0]: 1}
        assert await where(world, "events") == {of_events[0]: 1}
        assert len(await world.attempts(last)) == 1
        await renewed(world)
        assert "attempts_past" in await parts(world)  # its time is not over
        assert "events_past" in await parts(world, "events")
        clock.advance(DAY)
        await renewed(world)
        assert "attempts_past" not in await parts(world)
        assert "events_past" not in await parts(world, "events")


async def test_where_there_was_nothing_before_there_is_no_part_of_it(before: str) -> None:
    await migrating.migrate(before)
    database = await asyncpg.connect(before)
    for table in TABLES:
        assert await database.fetchval(f"SELECT to_regclass('{table}_past')") is None
    await database.close()


async def test_on_a_new_database_nothing_goes_into_the_rest_before_the_first_sweep(
    before: str, clock: FakeClock
) -> None:
    now = time.time()
    await migrating.migrate(before)
    async with opened_world(before, clock) as world:
        first = (await parts(world, "events"))[0].removeprefix("events_")
        today = datetime.strptime(f"{first}+0000", "%Y%m%d%z").timestamp()
        assert -60 < now - today < DAY / 1000
        clock.at = int(today * 1000)
        lane = await world.subscribe()
        for _ in range(2):
            await world.queued(lane, 1)
            await world.deliver_due()
            clock.advance(DAY)
        at = [clock.at - day * DAY for day in (2, 1)]

        for table in TABLES:
            days = [name_of(day, table) for day in at]
            assert await where(world, table) == dict.fromkeys(days, 1)
            assert await parts(world, table) == [*days, f"{table}_rest"]
        clock.at = at[0] + 1
        await renewed(world)
        for table in TABLES:
            days = [name_of(at[0] + day * DAY, table) for day in range(PARTS)]
            assert await parts(world, table) == [*days, f"{table}_rest"]


@pytest.mark.parametrize("events", [0, 1])
async def test_who_could_work_with_a_table_can_work_with_its_parts(
    before: str, clock: FakeClock, events: int
) -> None:
    role = before.rpartition("/")[2].partition("?")[0].replace("ringback", "Plain")
    wanted = ["SELECT", "INSERT", "UPDATE", "DELETE"]
    async with opened_world(before, clock) as world:
        if events:
            lane = await world.subscribe()
            await world.queued(lane, events)
            await world.deliver_due()
        await world.sql(f'CREATE ROLE "{role}"')
        for table in TABLES:
            await world.sql(f'GRANT {", ".join(wanted)} ON {table} TO "{role}"')
        try:
            await migrating.migrate(before)

            for table in TABLES:
                rows = await world.sql(
                    "SELECT privilege FROM unnest(?::text[]) AS privilege "
                    "WHERE has_table_privilege(?::text, ?::text, privilege)",
                    [*wanted, "TRUNCATE"],
                    role,
                    table,
                )
                assert [row[0] for row in rows] == wanted
        finally:
            await world.sql(f'DROP OWNED BY "{role}"')
            await world.sql(f'DROP ROLE "{role}"')
