"""What is written by one statement, judged by what nobody is kept from changing meanwhile."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from service.domain.acceptance import NewEvent
from service.runtime.clock import SystemClock
from service.store import feeding, schema
from service.store.announcing import lock_tenants
from service.store.database import Tx, Use
from service.store.feeding import Feeds, Luck
from service.store.postgres import PostgresDatabase
from service.store.statements import Row
from tests.support.databases import Place
from tests.support.world import World, event

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(url: str) -> Place:
    """What is shown here needs a database that can be shared."""
    return url


def before_it_is_written(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]]
) -> None:
    """Do something once the next group is judged, and not written yet."""
    write = feeding.write

    async def late(*given: Any) -> None:  # noqa: ANN401  as it is
        monkeypatch.setattr(feeding, "write", write)
        await work()
        await write(*given)

    monkeypatch.setattr(feeding, "write", late)


async def test_what_was_said_of_an_operation_while_its_event_was_judged_stays(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.posted(event("op", "STARTED"))
    before_it_is_written(
        monkeypatch, lambda: other.described(timeout_ms=60_000, ttl_ms=1_000, type="report")
    )

    (made,) = await world.posted(event("op"))

    assert made.sequence == 2
    (row,) = await world.rows(schema.operations, id="op")
    assert (row["described"], row["type"], row["timeout_ms"]) == (1, "report", 60_000)
    assert row["silent_at"] == world.clock.now() + 60_000


async def test_events_that_waited_while_order_began_to_matter_are_sent_in_order(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.posted(event("op", "STARTED"))  # nobody wants it
    lane = await other.subscribe("ordered", ordering="operation")
    number = Feeds.number
    later: list[asyncio.Task[Any]] = []

    async def numbered(feeds: Feeds, tx: Tx, new: list[NewEvent]) -> Sequence[Row]:
        if not later:  # it is learnt in a moment that there are others
            later.append(asyncio.ensure_future(world.posted(event("op"), event("op"))))
            await asyncio.sleep(0.1)
        return await number(feeds, tx, new)

    monkeypatch.setattr(Feeds, "number", numbered)
    await world.posted(event("else", "STARTED"))
    await later[0]

    assert len(await world.claim(lane.no)) == 2  # the first of each operation


async def test_the_time_of_a_job_that_begins_late_is_not_ahead_of_the_server(url: str) -> None:
    database = PostgresDatabase(url, SystemClock())
    await database.open()
    await asyncio.sleep(1.1)  # then it asks again

    async def late(tx: Tx) -> None:
        await asyncio.sleep(0.5)
        await tx.sql("SELECT 1")

    async def alone(tx: Tx) -> None:
        await asyncio.sleep(0.5)
        await tx.lease([(1, 0, 1, None, None)], 0, 1)

    for job in (late, alone):
        await database.write(job, Use.CLAIM)
        async with database.read() as tx:
            ((there,),) = await tx.sql("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        assert database.clock.now() - there < 200
    await database.close()


async def test_names_are_locked_in_an_order_that_no_language_of_a_database_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group locks some by one statement and some one after the other, in the order of Python."""
    fetch = asyncpg.Connection.fetch
    texts: set[str] = set()

    async def noting(connection: Any, query: str, *args: Any, **kw: Any) -> Any:  # noqa: ANN401  as it is
        texts.add(" ".join(query.split()))
        return await fetch(connection, query, *args, **kw)

    monkeypatch.setattr(asyncpg.Connection, "fetch", noting)
    await world.posted(event("op", "STARTED"))  # step by step
    await world.posted(event("op"))  # by one statement

    async def tenants(tx: Tx) -> None:
        await lock_tenants(tx, ["default"])

    await world.database.write(tenants)
    in_order = [text for text in texts if re.search(r"ORDER BY \S+ (.*)FOR UPDATE", text)]
    assert len(in_order) == 3
    assert all('id COLLATE "C" FOR UPDATE' in text for text in in_order)


@pytest.mark.parametrize("is_alone", [True, False])
async def test_what_is_looked_up_slowly_is_not_taken_for_a_clock_that_was_set(
    url: str, *, is_alone: bool
) -> None:
    database = PostgresDatabase(url, SystemClock())
    await database.open()
    tries: list[int] = []

    async def job(tx: Tx) -> None:
        tries.append(tx.now)
        await asyncio.sleep(1.2)  # as on a server that has much to do
        if not is_alone:
            await tx.sql("SELECT 1")
        await tx.lease([(1, 0, 1, None, None)], 0, 1)

    await database.write(job, Use.CLAIM)
    assert len(tries) == 1
    await database.close()


def test_what_others_make_fail_is_tried_now_and_then_only() -> None:
    luck = Luck()
    tried = []
    for _ in range(20):
        tried.append(luck.is_tried())
        if tried[-1]:
            luck.failed()
    assert [place for place, is_tried in enumerate(tried) if is_tried] == [0, 2, 6, 14]

    while not luck.is_tried():
        pass  # others are done in turn
    luck.held()
    assert luck.is_tried()
    luck.failed()
    assert [luck.is_tried(), luck.is_tried()] == [False, True]
