"""Subscriptions of one operation only: any number of them, looked up where they are wanted."""

from typing import Any

import pytest

from service.store import feeding, schema, subscribing, sweeping
from service.store.sqlite import compiling
from service.store.sqlite.tx import SqliteTx
from service.store.statements import Statement
from tests.support.databases import ONLY_SQLITE
from tests.support.world import World, event

pytestmark = pytest.mark.anyio

MANY = 300


async def bound(world: World, tenant: str = "default") -> int:
    (row,) = await world.rows(schema.tenants, id=tenant)
    return int(row["bound_subscriptions"])


async def version(world: World) -> int:
    (row,) = await world.rows(schema.tenants, id="default")
    return int(row["config_version"])


async def lanes_of(world: World, *names: str) -> list[set[int]]:
    """Post an event to each of these operations, in one group; who got it."""
    verdicts = await world.posted(*(event(name) for name in names))
    keys = await world.event_keys()
    queue = await world.rows(schema.delivery_queue)
    return [
        {row["subscription_no"] for row in queue if row["event_key"] == keys[verdict.id]}
        for verdict in verdicts
    ]


async def test_each_gets_the_events_of_its_operation(world: World) -> None:
    await world.tenant("other")
    everything = await world.subscribe("all")
    one = await world.subscribe("one", operation_id="one")
    two = await world.subscribe("two", operation_id="two")
    also = await world.subscribe("also", operation_id="two", event_types=("note",))
    await world.subscribe("not", operation_id="two", event_types=("COMPLETED",))
    await world.subscribe("theirs", tenant="other", operation_id="one")

    assert await lanes_of(world, "one", "two", "three") == [
        {everything.no, one.no},
        {everything.no, two.no, also.no},
        {everything.no},
    ]


async def test_every_change_is_seen_by_the_next_event(world: World) -> None:
    lane = await world.subscribe("one", operation_id="op")
    before = await version(world)
    assert await lanes_of(world, "op") == [{lane.no}]

    lane = await world.set_status(lane, "disabled")
    assert await lanes_of(world, "op") == [set()]
    lane = await world.set_status(lane, "paused")
    assert await lanes_of(world, "op") == [{lane.no}]
    lane = await world.change(lane, event_types=("other",))
    assert await lanes_of(world, "op") == [set()]
    lane = await world.change(lane, event_types=("*",), operation_id="op2")
    assert await lanes_of(world, "op", "op2") == [set(), {lane.no}]
    await world.delete(lane)
    assert await lanes_of(world, "op2") == [set()]

    assert await version(world) == before  # and no index was read anew for it


async def test_one_may_become_general_and_back(world: World) -> None:
    lane = await world.subscribe("one", operation_id="op")
    assert await lanes_of(world, "other") == [set()]
    before = await version(world)

    lane = await world.change(lane, operation_id=None)
    assert (await bound(world), await version(world) > before) == (0, True)
    assert await lanes_of(world, "other") == [{lane.no}]
    before = await version(world)
    lane = await world.change(lane, operation_id="op")

    assert (await bound(world), await version(world) > before) == (1, True)
    assert await lanes_of(world, "other", "op") == [set(), {lane.no}]


async def test_they_are_counted_for_each_tenant(world: World) -> None:
    await world.tenant("other")
    for number in range(3):
        await world.subscribe(f"sub{number}", operation_id="op")
    first = await world.subscribe("general")
    theirs = await world.subscribe("theirs", tenant="other", operation_id="op")

    await world.delete(first)
    await world.delete(theirs)

    assert (await bound(world), await bound(world, "other")) == (3, 0)


async def test_no_index_keeps_them(world: World) -> None:
    for number in range(MANY):
        await world.subscribe(f"sub{number}", operation_id=f"op{number}")
    await world.posted(event("op1"))

    (index,) = (kept.index for kept in world.accept._feeds._known.values())  # noqa: SLF001  what it keeps is the point

    assert index.match("note", None, "op1") == []


@ONLY_SQLITE
async def test_where_there_are_none_nobody_looks_for_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.subscribe("general")
    await world.posted(event())
    fetch = SqliteTx.fetch
    asked: list[Statement] = []

    async def spy(self: SqliteTx, statement: Statement, **given: Any) -> list[Any]:  # noqa: ANN401  as it is
        asked.append(statement)
        return await fetch(self, statement, **given)

    monkeypatch.setattr(SqliteTx, "fetch", spy)
    await world.posted(event())
    assert len(asked) == 2  # the operation, the tenant's row

    await world.subscribe("bound", operation_id="op")
    asked.clear()
    await world.posted(event())
    assert len(asked) == 3


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("statement", "wanted", "unwanted"),
    [
        (
            subscribing._BOUND,  # noqa: SLF001  how it is looked up is the point
            "ix_subscriptions_bound (tenant_id=? AND operation_id=?)",
            "ix_subscriptions_tenant_id",
        ),
        (
            feeding._SUBSCRIPTIONS,  # noqa: SLF001  as above
            "ix_subscriptions_general (tenant_id=?)",
            "ix_subscriptions_tenant_id",
        ),
        (
            sweeping._DUE_LANES,  # noqa: SLF001  as above
            "SEARCH subscriptions USING INTEGER PRIMARY KEY",
            "SCAN subscriptions",
        ),
        (
            sweeping._CLOSED,  # noqa: SLF001  as above
            "SEARCH closed USING INTEGER PRIMARY KEY",
            "SCAN closed",
        ),
    ],
)
async def test_a_million_of_them_are_in_nobodys_way(
    world: World, statement: Statement, wanted: str, unwanted: str
) -> None:
    async with world.database.read() as tx:
        compiled = compiling.compiled(statement)
        rows = await tx.sql(f"EXPLAIN QUERY PLAN {compiled.text}", compiled.arguments({}))

    plan = "\n".join(str(row[3]) for row in rows)
    assert wanted in plan
    assert unwanted not in plan
