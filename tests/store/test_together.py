"""Several writes as one: what comes of them, and what they save on the way to a server."""

import pytest
from sqlalchemy import select

from service.ports import AcceptRequest
from service.store.database import Database, Expected, Tx, UnexpectedError, Use
from service.store.schema import attempts, event_ids, tenants
from service.store.statements import Change, Insert, Many, Row, Statement, Write
from tests.support.clock import FakeClock
from tests.support.messages import Messages
from tests.support.world import event, opened_world

pytestmark = pytest.mark.anyio

COLUMNS = ("tenant_id", "id", "event_key")
UNLESS_THERE = "ON CONFLICT DO NOTHING RETURNING id"
MOVE = Many(
    "UPDATE event_ids SET event_key = v.column2 + :more FROM {rows} WHERE id = v.column1 "
    "RETURNING event_ids.id",
    event_ids.c.id,
    event_ids.c.event_key,
)
REMOVE = Many("DELETE FROM event_ids WHERE id IN (SELECT column1 FROM {rows})", event_ids.c.id)


async def written(database: Database, *writes: Write) -> list[int]:
    async def job(tx: Tx) -> list[int]:
        return await tx.together(*writes)

    return await database.write(job)


async def kept(database: Database) -> dict[str, int]:
    async with database.read() as tx:
        rows = await tx.query(select(event_ids.c.id, event_ids.c.event_key))
    return {row["id"]: row["event_key"] for row in rows}


async def test_all_of_it_is_written_and_counted(database: Database) -> None:
    old = [("t", f"e{number}", number) for number in range(4)]
    assert await written(database, Insert(event_ids, COLUMNS, old)) == [0]  # nothing RETURNING

    counts = await written(
        database,
        Insert(event_ids, COLUMNS, [("t", "e0", 9), ("t", "new", 5)], UNLESS_THERE),
        Change(MOVE, [("e1", 10), ("e2", 20), ("none", 30)], {"more": 7}),
        Insert(event_ids, COLUMNS, [], UNLESS_THERE),
        Change(REMOVE, [("e3",)]),
        Insert(tenants, ("id", "name", "created_at", "feed_position", "config_version"), []),
    )

    assert counts == [1, 2, 0, 0, 0]
    assert await kept(database) == {"e0": 0, "e1": 17, "e2": 27, "new": 5}


async def test_nothing_to_write_is_nothing(database: Database) -> None:
    assert await written(database) == []
    assert await written(database, Insert(event_ids, COLUMNS, []), Change(REMOVE, [])) == [0, 0]


async def test_more_than_one_statement_takes_goes_in_parts(database: Database) -> None:
    many = [("t", f"e{number}", number) for number in range(5_001)]

    counts = await written(
        database,
        Insert(event_ids, COLUMNS, many, UNLESS_THERE),
        Insert(event_ids, COLUMNS, [("u", "other", 1)], UNLESS_THERE),
    )

    assert counts == [5_001, 1]
    assert len(await kept(database)) == 5_002


async def test_one_of_them_that_fails_keeps_none(database: Database) -> None:
    twice = [("t", "same", 1), ("t", "same", 2)]

    with pytest.raises(Exception, match=r"(?i)unique"):
        await written(
            database,
            Insert(event_ids, COLUMNS, [("t", "good", 1)]),
            Insert(event_ids, COLUMNS, twice),
        )

    assert await kept(database) == {}


async def nothing_is_lost(_tx: Tx) -> bool:
    raise AssertionError


async def alone(database: Database, *writes: Expected) -> None:
    async def job(tx: Tx) -> None:
        await tx.only(*writes, trace=nothing_is_lost)

    await database.write(job, Use.SETTLE)


async def test_what_is_all_that_is_written_is_kept_where_it_comes_out_as_expected(
    database: Database,
) -> None:
    await written(database, Insert(event_ids, COLUMNS, [("t", "e1", 1), ("t", "e2", 2)]))

    await alone(
        database,
        Expected(Change(MOVE, [("e1", 10), ("e2", 20)], {"more": 1}), 2),
        Expected(Insert(event_ids, COLUMNS, [], UNLESS_THERE), 0),
        Expected(Insert(event_ids, COLUMNS, [("t", "new", 5)])),
    )
    await alone(database)

    assert await kept(database) == {"e1": 11, "e2": 21, "new": 5}


@pytest.mark.parametrize(
    "other",
    [
        Expected(Change(MOVE, [("e1", 10), ("none", 20)], {"more": 1}), 2),
        Expected(Insert(event_ids, COLUMNS, [("t", "e1", 9)], UNLESS_THERE), 1),
        Expected(Insert(event_ids, COLUMNS, [("t", "e1", 9)])),  # it is there
    ],
)
async def test_nothing_is_kept_where_one_comes_out_otherwise(
    database: Database, other: Expected
) -> None:
    await written(database, Insert(event_ids, COLUMNS, [("t", "e1", 1)]))

    with pytest.raises(UnexpectedError):
        await alone(database, Expected(Insert(event_ids, COLUMNS, [("t", "new", 5)])), other)

    assert await kept(database) == {"e1": 1}


async def test_more_than_one_statement_takes_is_not_all_that_is_written(url: str) -> None:
    many = [("t", f"e{number}", number) for number in range(5_001)]
    async with opened_world(url, FakeClock(), breaker=True) as world:
        with pytest.raises(UnexpectedError):
            await alone(world.database, Expected(Insert(event_ids, COLUMNS, many)))


async def test_nothing_comes_after_what_is_all(url: str, clock: FakeClock) -> None:
    async def job(tx: Tx) -> None:
        await tx.only(Expected(Insert(event_ids, COLUMNS, [("t", "e", 1)])), trace=nothing_is_lost)
        await tx.together(Insert(event_ids, COLUMNS, [("t", "more", 1)]))

    async with opened_world(url, clock, breaker=True) as world:
        with pytest.raises(RuntimeError, match="followed by more"):
            await world.database.write(job, Use.SETTLE)


async def test_what_is_read_aside_is_no_part_of_it(url: str, clock: FakeClock) -> None:
    """A process that only looked has nothing to commit, and locks nothing."""
    look = Statement(select(event_ids.c.id))

    async def job(tx: Tx) -> list[Row]:
        return await tx.aside(look)

    async with opened_world(url, clock, breaker=True) as world:
        with pytest.MonkeyPatch.context() as patch:
            await world.database.write(job, Use.CLAIM)  # connects
            messages = Messages(patch)
            assert await world.database.write(job, Use.CLAIM) == []
            # it may have asked what time it is besides
            assert set(messages.take()) == {"SELECT"}


@pytest.mark.parametrize("count", [1, 200])
async def test_a_group_takes_as_many_messages_to_the_server_however_large(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def group(name: str) -> list[AcceptRequest]:
        events = [event(f"{name}{number % 50}") for number in range(count)]
        return [AcceptRequest("default", [each]) for each in events]

    async with opened_world(url, clock, breaker=True) as world:
        await world.subscribe("hook")
        await world.accept.accept(group("warm"))
        await world.settle(await world.claim(1, quota=count))
        messages = Messages(monkeypatch)

        await world.accept.accept(group("op"))
        # operations, as they are remembered; feed position; all the writes
        assert messages.take() == ["WITH"]

        claimed = await world.claim(1, quota=count)
        assert len(claimed) == count
        # lanes, as they are remembered; their leases, with the events
        assert messages.take() == ["WITH"]

        await world.settle(claimed)
        # out of the queue, all the writes, which of the lanes are in trouble
        assert messages.take() == ["WITH"]
        assert len(await world.rows(attempts)) == 2 * count
