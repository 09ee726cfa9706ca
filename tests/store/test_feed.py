"""The feed: every event of a tenant, once, in the order of the commits."""

import pytest

from service.domain.ids import MAX_KEY
from service.ports import EventSpan, FeedSlice
from service.store import forgotten
from service.store.database import Tx
from tests.support.world import World, event

pytestmark = pytest.mark.anyio


def ids(feed: FeedSlice) -> list[str]:
    return [each.id for each in feed.events]


async def test_it_holds_the_events_of_all_operations_of_a_tenant(world: World) -> None:
    await world.tenant("other")
    await world.posted(event("a", id="1"), event("b", id="2"))
    await world.posted(event("c", id="foreign"), tenant="other")
    await world.posted(event("a", id="3", operation_type="report"))

    whole = await world.read.feed("default", 0, 10)
    assert ids(whole) == ["1", "2", "3"]
    assert [each.feed_position for each in whole.events] == [1, 2, 3]
    assert (whole.floor, whole.end) == (0, 3)
    assert whole.events[2].operation_type == "report"
    assert ids(await world.read.feed("default", 1, 1)) == ["2"]
    assert ids(await world.read.feed("default", 3, 10)) == []
    assert await world.read.feed_ends(["default", "other", "none"]) == {"default": 3, "other": 1}


async def test_refused_events_leave_no_gap(world: World) -> None:
    await world.posted(event("a", "COMPLETED", id="1"))
    await world.post(event("a", id="late"), event("b", id="2"))

    feed = await world.read.feed("default", 0, 10)
    assert [(each.id, each.feed_position) for each in feed.events] == [("1", 1), ("2", 2)]


async def test_lists_go_down_from_a_place_between_two_moments(world: World) -> None:
    await world.tenant("other")
    begun = world.clock.now()
    for number in range(1, 7):  # one a second, each in its own transaction
        await world.posted(event(f"op-{number % 2}", "STARTED", id=f"{number}"))
        await world.posted(event("foreign", id=f"f{number}"), tenant="other")
        world.clock.advance(1_000)
    odd = (await world.operation("op-1")).key

    async def feed(span: EventSpan, limit: int = 10) -> list[str]:
        return [each.id for each in await world.read.feed_newest("default", span, limit)]

    async def log(span: EventSpan, limit: int = 10) -> list[tuple[str, int | None]]:
        found = await world.read.log_newest(odd, span, limit)
        return [(each.id, each.sequence) for each in found]

    assert await feed(EventSpan(0, MAX_KEY)) == ["6", "5", "4", "3", "2", "1"]
    assert await feed(EventSpan(2, 6), 2) == ["5", "4"]
    assert await feed(EventSpan(0, MAX_KEY, begun + 1_000, begun + 3_000)) == ["3", "2"]
    assert await feed(EventSpan(0, MAX_KEY, begun + 1_001, begun + 2_000)) == []
    assert await log(EventSpan(0, MAX_KEY)) == [("5", 3), ("3", 2), ("1", 1)]
    assert await log(EventSpan(0, 3), 1) == [("3", 2)]
    assert await log(EventSpan(0, MAX_KEY, begun + 1, begun + 4_001)) == [("5", 3), ("3", 2)]
    (first,) = await world.read.feed_newest("default", EventSpan(0, 2), 1)
    assert (first.type, first.operation_id, first.operation_type) == ("STARTED", "op-1", None)
    assert (first.feed_position, first.created_at) == (1, begun)


async def test_lists_leave_out_what_is_forgotten(world: World) -> None:
    await world.posted(event("a", id="1"), event("a", id="2"))
    (second, _) = await world.read.feed_newest("default", EventSpan(0, MAX_KEY), 2)
    key = (await world.read.feed("default", 1, 1)).events[0].key

    async def job(tx: Tx) -> None:
        await forgotten.move(tx, key)

    await world.database.write(job)

    assert await world.read.feed_newest("default", EventSpan(0, MAX_KEY), 2) == [second]
    operation = await world.operation("a")
    assert await world.read.log_newest(operation.key, EventSpan(0, MAX_KEY), 2) == [second]
