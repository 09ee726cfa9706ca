"""Retention done now: what is counted as past is what goes, and what is needed stays."""

import pytest

from service.domain.outcome import Outcome
from service.store import schema
from service.store.pruning import PruneStore
from service.usecases.prune import Prune
from tests.support.world import TTL, World, event, fault

pytestmark = pytest.mark.anyio

DAY = 24 * 3600 * 1000
TABLES = (schema.events, schema.event_ids, schema.deliveries, schema.attempts, schema.operations)


def pruning(world: World, retention: int = DAY) -> Prune:
    steps = (
        lambda: world.sweep.forget(retention),
        world.lifetimes.strip,
        lambda: world.lifetimes.remove_tombstones(retention),
    )
    return Prune(PruneStore(world.database), steps, retention, is_alone=True)


async def finished(world: World, operation: str, outcome: Outcome | None = None) -> None:
    await world.posted(event(operation), event(operation, "COMPLETED"))
    claimed = await world.claim()
    await (world.settle(claimed, outcome) if outcome else world.settle(claimed))


async def test_what_is_counted_is_what_goes(world: World) -> None:
    await world.subscribe()
    await finished(world, "old")
    world.clock.advance(TTL + DAY + 1)
    await finished(world, "new")
    work, told = pruning(world), list[int]()

    before = await work.past()
    assert (before.events, before.deliveries, before.attempts) == (2, 2, 2)
    assert (before.open_deliveries, before.operations, before.tombstones) == (0, 1, 0)
    assert await pruning(world).past() == before  # counting changes nothing

    after = await work.run(told.append)

    assert after.total == 0
    assert told[-1] == told[-2] > 0
    assert [len(await world.rows(table)) for table in TABLES] == [2, 2, 2, 2, 1]
    assert [row["id"] for row in await world.rows(schema.operations)] == ["new"]


async def test_a_step_that_fails_keeps_no_other_from_its_end(world: World) -> None:
    async def fail() -> int:
        raise ValueError("a part that cannot go")

    await world.subscribe()
    for name in ("first", "second"):
        await finished(world, name)
    world.clock.advance(TTL + DAY + 1)
    work, told = pruning(world), list[int]()
    failing = Prune(PruneStore(world.database), (fail, *work._steps), DAY, is_alone=True)  # noqa: SLF001  those of the other

    with pytest.raises(ValueError, match="a part that cannot go"):
        await failing.run(told.append)

    assert (await work.past()).total == 0
    assert await world.rows(schema.events) == []


async def test_what_is_open_becomes_a_dead_letter_first(world: World) -> None:
    await world.subscribe()
    await world.posted(event("old"))
    (claimed,) = await world.claim()
    await world.settle([claimed], fault())
    world.clock.advance(DAY + 1)
    work = pruning(world)

    before = await work.past()
    assert (before.events, before.open_deliveries, before.attempts) == (1, 1, 1)
    after = await work.run(lambda _: None)

    assert after.total == 0
    (letter,) = await world.rows(schema.dead_letters)
    assert letter["reason"] == "expired"
    assert len(await world.rows(schema.attempts)) == 1


async def test_nothing_past_is_nothing_to_do(world: World) -> None:
    await world.subscribe()
    await finished(world, "new")
    work = pruning(world)

    assert (await work.past()).total == 0
    assert (await work.run(lambda _: None)).total == 0
    assert len(await world.rows(schema.events)) == 2
